//! The simulated engine, `servelab sim`, as a child.

use crate::{
    Host, PlaceFacts,
    command::{Command, address},
    local::{Order, Program},
};
use servelab_engine::{flag_words, model_words};
use servelab_schema::Dialect;
use std::{num::NonZeroU32, path::PathBuf};

/// What `servelab sim` is told.
#[derive(Debug)]
pub(crate) struct Sim {
    /// Name of the profile: its model is the simulator's.
    pub(crate) profile: String,
    pub(crate) time_scale: NonZeroU32,
    pub(crate) seed: u64,
    /// Folder of the tokenizer that it counts with.
    pub(crate) tokenizer: PathBuf,
    /// More words for the simulator itself.
    pub(crate) extra_args: Vec<String>,
}

impl Program for Sim {
    fn command(&self, order: Order<'_>) -> Command {
        // A simulator without its runner serves nobody: it ends with the process that started it.
        let mut args: Vec<String> = vec!["sim".into(), "--exit-with-parent".into()];
        args.extend(address("127.0.0.1", &order.port.to_string(), order.served_model));
        let mut say = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        say("--profile", self.profile.clone());
        say("--tokenizer-dir", self.tokenizer.display().to_string());
        say("--time-scale", self.time_scale.to_string());
        say("--seed", self.seed.to_string());
        if order.dialect != Dialect::Vllm {
            say("--dialect", order.dialect.to_string());
        }
        args.extend(self.extra_args.iter().cloned());
        args.push("--".into());
        // It is told another model only: it knows an FP8 checkpoint by its name, as vLLM by its configuration.
        let model = order.variant.model.iter();
        args.extend(model.flat_map(|model| model_words(order.dialect, model)));
        args.extend(flag_words(order.dialect, order.variant));
        Command {
            program: order.host.servelab.clone(),
            args,
            dir: None,
            container: None,
        }
    }

    fn facts(&self, _: &Host) -> PlaceFacts {
        PlaceFacts {
            weights_note: Some("the engine is simulated: it loads no weights"),
            ..PlaceFacts::default()
        }
    }
}
