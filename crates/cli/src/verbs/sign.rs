//! `servelab sign`: a signature beside a run. What `run --sign` shares with it is here.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
use servelab_evidence::SealedRun;
use servelab_schema::{RunId, SIGNING_KEY_VARIABLE};
use servelab_verify::{
    Asked, Level,
    sign::{SignError, SigningKey, sign},
    verify,
};
use std::{
    env::{self, VarError},
    path::{Path, PathBuf},
};

/// Arguments of `servelab sign`.
#[derive(Debug, Args)]
#[command(
    after_help = "A key is made by `openssl genpkey -algorithm ed25519 -out key.pem`, and its public one, for those who verify, by \
                        `openssl pkey -in key.pem -pubout -out key.pub.pem`. Without --key the environment variable \
                        SERVELAB_SIGNING_KEY holds the private key itself (PEM), as in CI; no engine is given it."
)]
pub(crate) struct Sign {
    /// Name or directory of the run.
    #[arg(value_name = "RUN")]
    run: String,
    /// The private key: ed25519, PKCS#8 in PEM, readable by you alone.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// The word that stands for the environment variable in place of a file.
const ENVIRONMENT: &str = "env";

/// The key in a file; of the environment variable where none is given, or the word `env`.
pub(crate) fn key(path: Option<&Path>) -> Result<SigningKey, Failure> {
    if let Some(path) = path.filter(|path| *path != Path::new(ENVIRONMENT)) {
        return SigningKey::read(path).map_err(Failure::environment);
    }
    match env::var(SIGNING_KEY_VARIABLE) {
        Ok(pem) => SigningKey::from_pem(SIGNING_KEY_VARIABLE, pem.as_bytes()).map_err(Failure::environment),
        Err(VarError::NotPresent) => Err(Failure::usage(anyhow!(
            "no key to sign with: give its file, or the key itself in {SIGNING_KEY_VARIABLE}; `servelab sign --help` says how to make one"
        ))),
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(anyhow!(
            "{SIGNING_KEY_VARIABLE} is no text; it holds a private key in PEM"
        ))),
    }
}

/// Why a run must not be signed; none where every number of it follows from its traces. A signature vouches for what it says.
fn doubt(dir: &Path) -> Option<String> {
    let report = verify(dir, &Asked::default()).report;
    if report.reached.is_some_and(|level| level >= Level::Consistent) {
        return None;
    }
    // What is wrong with an earlier signature is said in better words where it is read.
    let wrong = report.breaks.iter().find(|b| b.level != Level::Signed);
    let unknown = report.levels.iter().find(|l| l.level == Level::Consistent);
    Some(match (wrong, unknown) {
        (Some(first), _) => format!("it does not verify: {}: {}", first.file, first.what),
        (None, Some(level)) => format!("it does not verify: {}", level.says),
        (None, None) => "it does not verify".to_owned(),
    })
}

/// Signs a run that was sealed just now. What fails here loses nothing of it.
pub(crate) fn sealed(dir: &Path, run: &RunId, key: &SigningKey) -> Result<(), Failure> {
    let signed = match doubt(dir) {
        Some(why) => Err(why),
        None => SealedRun::open(dir)
            .map_err(SignError::from)
            .and_then(|run| sign(&run, key))
            .map_err(|why| why.to_string()),
    };
    match signed {
        Ok(path) => {
            output::note(&format!("signed by key {}: {}", key.public_id(), path.display()));
            Ok(())
        }
        Err(why) => Err(Failure::environment(anyhow!(
            "the run is sealed, and not signed: {why}; `servelab sign {run} --key KEY` signs it later"
        ))),
    }
}

impl Sign {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let key = key(self.key.as_deref())?;
        let dir = project.run_dir(&self.run)?;
        if let Some(why) = doubt(&dir) {
            let (dir, run) = (dir.display(), &self.run);
            let what = anyhow!("{dir} is not signed, {why}; `servelab verify {run}` says all of it");
            return Err(Failure::environment(what));
        }
        let run = SealedRun::open(&dir).map_err(Failure::environment)?;
        let path = sign(&run, &key).map_err(Failure::environment)?;
        output::answer(&output::facts([
            ("run", run.manifest().run_id.as_str()),
            ("fingerprint", run.fingerprint().as_str()),
            ("signature", &path.display().to_string()),
            ("key", key.public_id()),
        ]));
        Ok(Exit::Ok)
    }
}
