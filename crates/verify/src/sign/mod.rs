//! Signatures of runs: an in-toto statement about the manifest, in a DSSE envelope, by ed25519, beside the run and never in it.
//!
//! Parts: `statement` says what is signed, `envelope` how, `keys` by whom; here a run is signed, and what lies beside one is looked at.
//!
//! Traps: a key id is a claim. Only a key that reached us by another way proves who signed.

mod envelope;
mod keys;
mod statement;

pub use keys::{KeyError, PublicKey, SigningKey};

use crate::report::{Break, Breaks, Kind, Level};
use envelope::Envelope;
use serde::Serialize;
use serde_json::Value;
use servelab_evidence::{EvidenceError, SealedRun, SharedDisk, open_file, write_whole};
use servelab_schema::{EnvironmentRecord, Plan, RunManifest, Sha256Hex};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Ending of the file that holds a run's signatures.
const ENDING: &str = ".intoto.json";

/// Largest envelope that is read, bytes.
const MOST: u64 = 16 << 20;

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A key that was given made it.
    Proven,
    /// It says so; the key was not given.
    Claimed,
    /// The key that it names did not make it.
    Wrong,
}

/// A signature beside a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// SHA-256 of the public key that it names.
    pub keyid: String,
    /// What became of it.
    pub standing: Standing,
    /// The key that made it, as it was given.
    pub by: Option<String>,
}

/// Why a run was not signed.
#[derive(Debug)]
pub enum SignError {
    /// The run does not read.
    Evidence(EvidenceError),
    /// What lies beside it is no envelope of this run.
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl std::fmt::Display for SignError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Evidence(error) => error.fmt(f),
            Self::Other { path, why } => {
                write!(f, "{}: {why}; move it away, and sign again", path.display())
            }
        }
    }
}

impl std::error::Error for SignError {}

impl From<EvidenceError> for SignError {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(error)
    }
}

/// Where the signatures of a run lie: beside its directory, under the name of that.
#[must_use]
pub fn beside(dir: &Path) -> PathBuf {
    // A directory such as `.` has its name only in full.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(ENDING);
    dir.with_file_name(name)
}

/// Signs a run, beside the signatures that are there already. Gives where they lie.
///
/// # Errors
/// [`SignError`] where the run or what lies beside it does not read, or cannot be written.
pub fn sign(run: &SealedRun, key: &SigningKey) -> Result<PathBuf, SignError> {
    let path = beside(run.dir());
    let payload = statement::of(run.fingerprint(), run.manifest(), &run.plan()?, &run.environment()?);
    let other = |why: &str| SignError::Other {
        path: path.clone(),
        why: why.to_owned(),
    };
    let mut envelope = match read(&path) {
        Ok(None) => Envelope::new(payload.clone()),
        // The run went on, and what was signed is its seal before.
        Ok(Some(found)) if is_earlier(&found.payload, run.manifest()) => Envelope::new(payload.clone()),
        Ok(Some(found)) => found,
        Err(why) => return Err(other(&why)),
    };
    if envelope.payload != payload {
        return Err(other("it is of another run, or of another seal of this one"));
    }
    envelope.sign(key);
    write_whole(&SharedDisk, &path, envelope.text().as_bytes())?;
    Ok(path)
}

/// True where a statement is about the run as it was sealed before it went on.
fn is_earlier(payload: &[u8], m: &RunManifest) -> bool {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    let earlier = m.sessions.iter().filter_map(|s| s.earlier.as_ref());
    statement::subject(&value).is_ok_and(|subject| earlier.into_iter().any(|e| e.as_str() == subject))
}

/// The envelope in a file; none where there is no file.
fn read(path: &Path) -> Result<Option<Envelope>, String> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("it cannot be read: {e}")),
    };
    let mut bytes = Vec::new();
    let read = file.take(MOST.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| format!("it cannot be read: {e}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > MOST) {
        return Err("it is larger than any envelope".to_owned());
    }
    Envelope::parse(&bytes).map(Some)
}

/// What a signature must be of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) fingerprint: &'a Sha256Hex,
    /// What the statement says of the run, where its documents are to be believed.
    pub(crate) run: Option<(&'a RunManifest, &'a Plan, &'a EnvironmentRecord)>,
}

/// Looks at the signatures beside a run. Gives them, and in words by whom it is signed; none where it is not.
pub(crate) fn look(signed: Signed<'_>, keys: &[PublicKey], breaks: &mut Breaks) -> (Vec<Seen>, Option<String>) {
    let path = beside(signed.dir);
    let name = path.display().to_string();
    let mut wrong = |what: &str| {
        let found = Break::new(Level::Signed, Kind::Signature, &name, what);
        breaks.add(found.remedy("ask whoever gave you the run for its signature again"));
    };
    let envelope = match read(&path) {
        Ok(Some(envelope)) => envelope,
        Ok(None) => {
            if !keys.is_empty() {
                wrong("there is no signature beside the run, and --key asks for one");
            }
            return (Vec::new(), None);
        }
        Err(why) => {
            wrong(&why);
            return (Vec::new(), None);
        }
    };
    let sound = is_of(&signed, &envelope.payload, &mut wrong);
    let seen: Vec<Seen> = envelope.signatures.iter().map(|s| seen(&envelope, s, keys)).collect();
    for s in seen.iter().filter(|s| s.standing == Standing::Wrong) {
        let by = s.by.as_deref().unwrap_or_default();
        wrong(&format!(
            "the signature under key id {} is not one that {by} made",
            s.keyid
        ));
    }
    let proven: Vec<&Seen> = seen.iter().filter(|s| s.standing == Standing::Proven).collect();
    if !keys.is_empty() && proven.is_empty() {
        wrong("none of the keys that were given signed this run");
    }
    let by: Vec<String> = proven
        .iter()
        .filter_map(|s| Some(format!("{} ({})", s.by.as_ref()?, short(&s.keyid))))
        .collect();
    let words = (sound && !by.is_empty()).then(|| format!("by {}", by.join(", ")));
    (seen, words)
}

/// The first digits of a key id, for people.
pub(crate) fn short(keyid: &str) -> &str {
    keyid.get(..12).unwrap_or(keyid)
}

fn seen(envelope: &Envelope, signature: &envelope::Signature, keys: &[PublicKey]) -> Seen {
    let made = keys.iter().find(|key| envelope.is_by(signature, key));
    let named = keys.iter().find(|key| key.id() == signature.keyid);
    let standing = match (made, named) {
        (Some(made), _) if made.id() == signature.keyid => Standing::Proven,
        (None, None) => Standing::Claimed,
        _ => Standing::Wrong,
    };
    Seen {
        keyid: signature.keyid.clone(),
        standing,
        by: made.or(named).map(|key| key.name().to_owned()),
    }
}

/// Whether a payload is a statement of this run.
fn is_of(signed: &Signed<'_>, payload: &[u8], wrong: &mut dyn FnMut(&str)) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        wrong("what was signed is no JSON");
        return false;
    };
    match statement::subject(&value) {
        Err(why) => wrong(why),
        Ok(_) if signed.run.is_some_and(|(m, ..)| is_earlier(payload, m)) => {
            wrong("what was signed is the run before it went on; `servelab sign` signs it anew");
        }
        Ok(subject) if subject != signed.fingerprint.as_str() => {
            wrong(
                "what was signed is another manifest: the run was changed and sealed anew, or the signature is of another run",
            );
        }
        Ok(_) => {
            let ours = signed
                .run
                .map(|(m, plan, e)| statement::of(signed.fingerprint, m, plan, e));
            let Some(ours) = ours.filter(|ours| ours != payload) else {
                return true;
            };
            let ours: Value = serde_json::from_slice(&ours).unwrap_or_default();
            let place = crate::pointers::differences(&value, &ours, 1).into_iter().next();
            let place = place.map_or_else(String::new, |d| {
                format!(": at {} it says {}, the run {}", d.pointer, d.stored, d.ours)
            });
            wrong(&format!("what was signed is not what the run says of itself{place}"));
        }
    }
    false
}
