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
    Asked,
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

/// Signs a run that was sealed just now. What fails here loses nothing of it.
pub(crate) fn sealed(dir: &Path, run: &RunId, key: &SigningKey) -> Result<(), Failure> {
    let signed = SealedRun::open(dir)
        .map_err(SignError::from)
        .and_then(|run| sign(&run, key));
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
        // A signature vouches for what the run says: nothing is signed that does not follow from its traces.
        let report = verify(&dir, &Asked::default()).report;
        // What is wrong with an earlier signature is said below, in better words.
        let wrong = report.breaks.iter().find(|b| b.level != servelab_verify::Level::Signed);
        if let Some(first) = wrong {
            return Err(Failure::environment(anyhow!(
                "{} is not signed, it does not verify: {}: {}; `servelab verify {}` says all of it",
                dir.display(),
                first.file,
                first.what,
                self.run
            )));
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
