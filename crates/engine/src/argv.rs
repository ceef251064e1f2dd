//! From a plan's engine and variant to a command line.

use crate::docker::{DOCKER, INNER_PORT, Image, run_words};
use servelab_schema::{EngineSpec, PlannedVariant, Profile, Provider};
use std::path::{Path, PathBuf};

/// A program and its words. No secret is ever among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its words.
    pub args: Vec<String>,
    /// The container that it starts, which must be gone afterwards; none where it starts none.
    pub container: Option<String>,
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

/// Where an engine is started, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The program that holds the simulated engine.
    pub servelab: &'a Path,
    /// What paths in the plan are relative to.
    pub project: &'a Path,
    /// Name of the run, for the label of a container.
    pub run: &'a str,
}

/// The command that serves `variant` on `port` of 127.0.0.1; none where the engine is up already.
#[must_use]
pub fn command(
    engine: &EngineSpec,
    profile: &Profile,
    variant: &PlannedVariant,
    port: u16,
    place: Place<'_>,
) -> Option<Command> {
    let number = port;
    let port = port.to_string();
    let served = ["--served-model-name", &engine.served_model];
    let address = ["--host", "127.0.0.1", "--port", &port];
    let mut args: Vec<String> = Vec::new();
    let mut container = None;
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
            args.extend(served.map(str::to_owned));
            args.extend(["--profile".into(), profile.name.clone()]);
            let tokenizer = place.project.join(tokenizer);
            args.extend(["--tokenizer-dir".into(), tokenizer.display().to_string()]);
            args.extend([
                "--time-scale".into(),
                time_scale.to_string(),
                "--seed".into(),
                seed.to_string(),
            ]);
            args.extend(extra_args.iter().cloned());
            args.push("--".into());
            place.servelab.to_path_buf()
        }
        Provider::Process { command } => {
            args.extend(command.iter().skip(1).cloned());
            args.extend(address.map(str::to_owned));
            args.extend(served.map(str::to_owned));
            PathBuf::from(command.first().map_or("vllm", String::as_str))
        }
        Provider::Docker {
            image,
            gpus,
            volumes,
            env,
            args: words,
        } => {
            let image = Image {
                image,
                gpus,
                volumes,
                env,
                args: words,
            };
            // One servelab has one engine at a time, and a port has one owner: the name is nobody else's.
            let name = format!("servelab-{}-{number}", std::process::id());
            args = run_words(&image, place.run, &name, &port, engine.api_key_env.is_some());
            args.extend(["--host", "0.0.0.0", "--port", INNER_PORT].map(str::to_owned));
            args.extend(served.map(str::to_owned));
            container = Some(name);
            PathBuf::from(DOCKER)
        }
        Provider::Url { .. } => return None,
    };
    args.extend(variant.argv());
    Some(Command {
        program,
        args,
        container,
    })
}
