//! `servelab pin`: keep of a sealed run what it takes to run it again and to say whether anything changed.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::Args;
use serde::Serialize;
use servelab_evidence::{SealedRun, SharedDisk};
use servelab_pin::{PinError, file};
use servelab_schema::{EngineKind, Pin as Document, PinName, Provider};

/// Arguments of `servelab pin`.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The run: its name under runs/, or its directory. It must be sealed and complete.
    #[arg(value_name = "RUN")]
    run: String,
    /// Name of the pin: the file is runs/pinned/NAME.json, to be committed.
    #[arg(value_name = "NAME")]
    name: PinName,
    /// Write it in the place of a pin of that name.
    #[arg(long)]
    replace: bool,
    /// A version of the engine that re-runs may find beside those of the run; may be given several times.
    #[arg(long, value_name = "VERSION")]
    allow_engine_version: Vec<String>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answer<'p> {
    engine_kind: EngineKind,
    file: String,
    bytes: usize,
    pin: &'p Document,
}

impl Pin {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dir = project.run_dir(&self.run)?;
        let run = SealedRun::open(&dir)
            .map_err(PinError::Evidence)
            .map_err(Failure::environment)?;
        let pin = servelab_pin::pin(&run, self.name.clone(), &self.allow_engine_version).map_err(failure)?;
        let (path, bytes) = file::write(&SharedDisk, &project.runs(), &pin, self.replace).map_err(failure)?;
        warn_of_places(&pin);
        let answer = Answer {
            engine_kind: pin.engine_kind,
            file: path.display().to_string(),
            bytes,
            pin: &pin,
        };
        if self.format == Format::Json {
            output::json(&answer).map_err(Failure::environment)?;
            return Ok(Exit::Ok);
        }
        let versions = if pin.engine_versions.is_empty() {
            "none said its version".to_owned()
        } else {
            pin.engine_versions.join(", ")
        };
        output::answer(&output::facts([
            ("pin", format!("{} ({})", pin.name, pin.engine_kind)),
            ("file", format!("{} ({bytes} bytes)", answer.file)),
            ("run", format!("{}, fingerprint {}", pin.run_id, pin.fingerprint)),
            ("inputs", format!("{} files by their sha256", pin.inputs.len())),
            ("engine versions", versions),
            ("next", format!("commit it; servelab rerun {}", answer.file)),
        ]));
        Ok(Exit::Ok)
    }
}

/// What cannot be pinned is the run's fault, or the command line's.
fn failure(error: PinError) -> Failure {
    match error {
        PinError::Exists(_) => Failure::usage(error),
        PinError::Refused { .. } | PinError::NoPin { .. } => Failure::configuration(error),
        PinError::Evidence(_) | PinError::Io { .. } => Failure::environment(error),
    }
}

/// A plan for a real engine may hold what is true on one machine only.
fn warn_of_places(pin: &Document) {
    let words: Vec<&String> = match &pin.plan.engine.provider {
        Provider::Process { command } => command.iter().collect(),
        Provider::Docker { volumes, .. } => volumes.iter().collect(),
        Provider::Sim { extra_args, .. } => extra_args.iter().collect(),
        Provider::Url { .. } => Vec::new(),
    };
    let places: Vec<&str> = words
        .into_iter()
        .map(String::as_str)
        .filter(|w| w.starts_with(['/', '~']))
        .collect();
    if !places.is_empty() {
        output::warn(&format!(
            "the plan names places of this machine, which the pin tells whoever reads it: {}",
            places.join(", ")
        ));
    }
}
