//! What the places that start a child of servelab have in common.

use crate::{
    Host, Place, PlaceFacts, ProviderError, Start, Started, Task,
    child::{self, ChildEngine},
    command::Command,
    docker::Container,
    guard::Guard,
};
use servelab_schema::{Dialect, EngineSpec, PlannedVariant, WallNanos};
use std::{fmt, time::Duration};

/// How long a completion of an engine that starts may take, wall time: one that compiles on demand takes its time for the
/// first.
const FIRST_STEP: Duration = Duration::from_secs(60);

/// What is started for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) variant: &'a PlannedVariant,
    pub(crate) dialect: Dialect,
    pub(crate) served_model: &'a str,
    /// Port of 127.0.0.1.
    pub(crate) port: u16,
    /// Name of the run.
    pub(crate) run: &'a str,
    pub(crate) host: &'a Host,
}

/// What differs between these places: the command line, and what is known beforehand.
pub(crate) trait Program: fmt::Debug + Send + Sync {
    /// The command line.
    fn command(&self, order: Order<'_>) -> Command;

    /// What is known of the place.
    fn facts(&self, host: &Host) -> PlaceFacts;
}

/// A place whose engines are children of servelab.
#[derive(Debug)]
pub(crate) struct Local<P> {
    dialect: Dialect,
    served_model: String,
    host: Host,
    program: P,
}

impl<P: Program> Local<P> {
    pub(crate) fn new(engine: &EngineSpec, host: &Host, program: P) -> Self {
        Self {
            dialect: engine.dialect,
            served_model: engine.served_model.clone(),
            host: host.clone(),
            program,
        }
    }

    fn command(&self, variant: &PlannedVariant, port: u16, run: &str) -> Command {
        self.program.command(Order {
            variant,
            dialect: self.dialect,
            served_model: &self.served_model,
            port,
            run,
            host: &self.host,
        })
    }

    fn launch(&self, start: Start<'_>) -> Result<Started, ProviderError> {
        let port = child::free_port()?;
        let command = self.command(start.variant, port, start.run);
        let container = command.container.clone().map(|name| Container {
            docker: self.host.docker.clone(),
            name,
        });
        let engine = ChildEngine::launch(&command, port, start.key, start.log, container)?;
        let guard = Guard::over(&self.host.servelab, engine.guarded())?;
        Ok(Started {
            engine: Box::new(engine.with(guard)),
            argv: command.argv(),
        })
    }
}

impl<P: Program> Place for Local<P> {
    fn facts(&self) -> PlaceFacts {
        PlaceFacts {
            starts: true,
            here: true,
            ..self.program.facts(&self.host)
        }
    }

    fn words(&self, variant: &PlannedVariant) -> Vec<String> {
        // Programs and folders are no secrets; what stands behind them is.
        self.command(variant, 0, "").args
    }

    fn start<'a>(&'a self, start: Start<'a>) -> Task<'a, Result<Started, ProviderError>> {
        Box::pin(async move { self.launch(start) })
    }

    fn patience(&self, startup: WallNanos) -> (WallNanos, Duration) {
        (startup, FIRST_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Provider, examples};
    use std::num::NonZeroU32;

    /// Words for an arm without flags, with the profile's model or its own.
    fn words(provider: Provider, own_model: Option<&str>) -> Vec<String> {
        let mut plan = examples::plan();
        plan.engine.provider = provider;
        plan.profile.model = "org/model".into();
        let mut variant = plan.variants.remove(0);
        variant.model = own_model.map(str::to_owned);
        variant.flags.clear();
        let host = Host::new("servelab".into(), ".".into());
        crate::of(&plan.engine, &plan.profile, &host).words(&variant)
    }

    #[test]
    fn the_model_goes_where_the_command_says() {
        let process = |words: &[&str]| Provider::Process {
            command: words.iter().map(|w| (*w).to_owned()).collect(),
        };
        let said = words(process(&["vllm", "serve", "{model}", "--x={model}"]), None);
        assert_eq!(said[..3], ["serve", "org/model", "--x=org/model"]);
        let said = words(process(&["vllm", "serve", "{model}"]), Some("org/model-FP8"));
        assert_eq!(said[..2], ["serve", "org/model-FP8"]);
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
            time_scale: NonZeroU32::MIN,
            seed: 1,
            tokenizer: "t".into(),
            extra_args: Vec::new(),
        };
        assert_eq!(words(sim(), None).last().unwrap(), "--");
        assert_eq!(words(sim(), Some("org/model-FP8")).last().unwrap(), "org/model-FP8");
    }
}
