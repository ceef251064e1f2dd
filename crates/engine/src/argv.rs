//! From a plan's engine and variant to a command line.

use servelab_schema::{EngineSpec, PlannedVariant, Profile, Provider};
use std::path::{Path, PathBuf};

/// A program and its words. No secret is ever among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its words.
    pub args: Vec<String>,
}

impl Command {
    /// Program and words, for the record.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv = vec![self.program.display().to_string()];
        argv.extend(self.args.iter().cloned());
        argv
    }
}

/// The command that serves `variant` on `port` of 127.0.0.1; none where the engine is up already.
///
/// `servelab` is the program that holds the simulated engine. Paths in the plan are relative to `project`.
#[must_use]
pub fn command(
    engine: &EngineSpec,
    profile: &Profile,
    variant: &PlannedVariant,
    port: u16,
    servelab: &Path,
    project: &Path,
) -> Option<Command> {
    let port = port.to_string();
    let address = [
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--served-model-name",
        &engine.served_model,
    ];
    let mut args: Vec<String> = Vec::new();
    let program = match &engine.provider {
        Provider::Sim {
            time_scale,
            seed,
            tokenizer,
            extra_args,
        } => {
            // A simulator without its runner serves nobody: it ends with the process that started it.
            args.extend(["sim".into(), "--exit-with-parent".into()]);
            args.extend(address.map(str::to_owned));
            args.extend(["--profile".into(), profile.name.clone()]);
            args.extend(["--tokenizer-dir".into(), project.join(tokenizer).display().to_string()]);
            args.extend([
                "--time-scale".into(),
                time_scale.to_string(),
                "--seed".into(),
                seed.to_string(),
            ]);
            args.extend(extra_args.iter().cloned());
            args.push("--".into());
            servelab.to_path_buf()
        }
        Provider::Process { command } => {
            args.extend(command.iter().skip(1).cloned());
            args.extend(address.map(str::to_owned));
            PathBuf::from(command.first().map_or("vllm", String::as_str))
        }
        Provider::Url { .. } => return None,
    };
    args.extend(variant.argv());
    Some(Command { program, args })
}
