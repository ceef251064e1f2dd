//! From a plan's engine and variant to a command line.

use crate::{
    dialect::{flag_words, model_words},
    docker::{DOCKER, INNER_PORT, Image, run_words},
};
use servelab_schema::{Dialect, EngineSpec, PlannedVariant, Profile, Provider};
use std::{
    io,
    path::{self, Path, PathBuf},
};

/// A program and its words. No secret is ever among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its words.
    pub args: Vec<String>,
    /// The folder that it is started in, which relative paths of the command are relative to; none for servelab's own.
    pub dir: Option<PathBuf>,
    /// The container that it starts, which must be gone afterwards; none where it starts none.
    pub container: Option<String>,
}

impl Command {
    /// The program as it is found whatever folder it is started in: a name is looked up on PATH, a path begins at `dir`.
    ///
    /// # Errors
    /// Where the current folder is not known.
    pub(crate) fn executable(&self) -> io::Result<PathBuf> {
        let is_name = self.program.components().nth(1).is_none();
        match &self.dir {
            Some(dir) if !is_name => path::absolute(dir.join(&self.program)),
            _ => Ok(self.program.clone()),
        }
    }

    /// Program and words, for the record.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv = vec![self.program.display().to_string()];
        argv.extend(self.args.iter().cloned());
        argv
    }
}

/// What stands for the model in a command of a matrix.
const MODEL: &str = "{model}";

/// The model that a variant serves: its own, or the profile's.
pub(crate) fn model<'a>(profile: &'a Profile, variant: &'a PlannedVariant) -> &'a str {
    variant.model.as_deref().unwrap_or(&profile.model)
}

/// Words of a matrix with the model in its place.
pub(crate) fn with_model(words: &[String], model: &str) -> Vec<String> {
    words.iter().map(|word| word.replace(MODEL, model)).collect()
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
    let (mut container, mut dir) = (None, None);
    let model = model(profile, variant);
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
            if engine.dialect != Dialect::Vllm {
                args.extend(["--dialect".into(), engine.dialect.to_string()]);
            }
            args.extend(extra_args.iter().cloned());
            args.push("--".into());
            // The simulator's model is its profile's, but it knows an FP8 checkpoint by its name, as vLLM by its configuration.
            args.extend(
                variant
                    .model
                    .iter()
                    .flat_map(|model| model_words(engine.dialect, model)),
            );
            place.servelab.to_path_buf()
        }
        Provider::Process { command } => {
            let mut words = with_model(command, model).into_iter();
            let program = words.next().unwrap_or_else(|| "vllm".to_owned());
            args.extend(words);
            args.extend(address.map(str::to_owned));
            args.extend(served.map(str::to_owned));
            dir = Some(place.project.to_path_buf());
            PathBuf::from(program)
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
                args: &with_model(words, model),
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
    args.extend(flag_words(engine.dialect, variant));
    Some(Command {
        program,
        args,
        dir,
        container,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    fn words(provider: Provider, own_model: Option<&str>) -> Vec<String> {
        let mut plan = examples::plan();
        plan.engine.provider = provider;
        plan.profile.model = "org/model".into();
        let mut variant = plan.variants.remove(0);
        variant.model = own_model.map(str::to_owned);
        variant.flags.clear();
        let place = Place {
            servelab: Path::new("servelab"),
            project: Path::new("."),
            run: "r",
        };
        command(&plan.engine, &plan.profile, &variant, 1, place).unwrap().argv()
    }

    fn process(command: &[&str]) -> Provider {
        Provider::Process {
            command: command.iter().map(|w| (*w).to_owned()).collect(),
        }
    }

    #[test]
    fn the_model_goes_where_the_command_says() {
        let said = words(process(&["vllm", "serve", "{model}", "--x={model}"]), None);
        assert_eq!(said[..4], ["vllm", "serve", "org/model", "--x=org/model"]);
        let said = words(process(&["vllm", "serve", "{model}"]), Some("org/model-FP8"));
        assert_eq!(said[..3], ["vllm", "serve", "org/model-FP8"]);
        let docker = Provider::Docker {
            image: "i".into(),
            gpus: "all".into(),
            volumes: Vec::new(),
            env: Vec::new(),
            args: vec!["--model".into(), "{model}".into()],
        };
        assert!(words(docker, Some("f")).windows(2).any(|w| w == ["--model", "f"]));
    }

    #[test]
    fn the_simulator_is_told_another_model_only() {
        let sim = || Provider::Sim {
            time_scale: std::num::NonZeroU32::MIN,
            seed: 1,
            tokenizer: "t".into(),
            extra_args: Vec::new(),
        };
        assert_eq!(words(sim(), None).last().unwrap(), "--");
        assert_eq!(words(sim(), Some("org/model-FP8")).last().unwrap(), "org/model-FP8");
    }
}
