//! `servelab seal`: close a run directory that was left open.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::Args;
use serde::Serialize;
use servelab_engine::redact::Secrets;
use servelab_evidence::{
    Disk, EvidenceError, TakeFiles,
    salvage::{Closing, close},
};
use servelab_runner::evaluate_takes;
use servelab_schema::{Bytes, EnvironmentRecord, Plan, RunEnd, RunId, findings::Findings};
use std::{env, path::PathBuf, sync::Arc};

/// As what such a run is sealed.
const WHY: &str = "the runner was killed; sealed by `servelab seal`";

/// Arguments of `servelab seal`.
#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// Name of the run.
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Folder of the run directories; by default runs/ of the project.
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answer {
    run_id: String,
    dir: String,
    fingerprint: String,
    rows_bytes: Bytes,
    rows_packed_bytes: Bytes,
    end: RunEnd,
    finished: usize,
    cut_off: Vec<String>,
    torn: Vec<String>,
}

/// What evidence must be told: secrets, and what the takes say.
struct Closer {
    secrets: Secrets,
}

impl Closing for Closer {
    fn redact(&self, plan: &Plan, text: &str) -> String {
        // The key's variable may have any name.
        let key = plan.engine.api_key_env.as_deref().and_then(|name| env::var(name).ok());
        self.secrets.clone().and(&key.unwrap_or_default()).redact(text)
    }

    fn evaluate(
        &self,
        plan: &Plan,
        environment: &EnvironmentRecord,
        identity: (&RunId, &RunEnd),
        takes: &[TakeFiles],
    ) -> Result<Findings, EvidenceError> {
        evaluate_takes(plan, environment, identity, takes)
    }
}

impl Seal {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        let runs = self.runs.unwrap_or_else(|| project.runs());
        let closer = Closer {
            secrets: Secrets::of_environment(),
        };
        let closed = close(Arc::new(Disk), &runs, &self.run, WHY, &closer).map_err(Failure::environment)?;
        let answer = Answer {
            run_id: self.run.to_string(),
            dir: closed.dir.display().to_string(),
            fingerprint: closed.fingerprint.to_string(),
            rows_bytes: closed.packing.plain,
            rows_packed_bytes: closed.packing.packed,
            end: closed.end,
            finished: closed.finished,
            cut_off: closed.cut_off.iter().map(ToString::to_string).collect(),
            torn: closed.torn,
        };
        if self.format == Format::Json {
            output::json(&answer).map_err(Failure::environment)?;
            return Ok(Exit::Ok);
        }
        let list = |names: &[String]| {
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let mut facts = vec![
            ("run", answer.run_id),
            ("directory", answer.dir),
            ("fingerprint", answer.fingerprint),
            ("takes", format!("{} had ended", answer.finished)),
            ("cut off", list(&answer.cut_off)),
            ("set aside", list(&answer.torn)),
            ("end", format!("aborted: {WHY}")),
        ];
        facts.extend(closed.packing.words().map(|words| ("compressed", words)));
        output::answer(&output::facts(facts));
        Ok(Exit::Ok)
    }
}
