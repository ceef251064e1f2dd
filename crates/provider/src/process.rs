//! A command of the matrix as a child.

use crate::{
    Host, PlaceFacts,
    command::{Command, address},
    local::{Order, Program},
};
use servelab_engine::{flag_words, with_model};
use servelab_schema::Profile;
use std::path::PathBuf;

/// What the matrix says.
#[derive(Debug)]
pub(crate) struct Process {
    /// The profile's model.
    model: String,
    program: String,
    /// Its words before the flags.
    words: Vec<String>,
}

impl Process {
    /// A command of a plan; without any word it is `vllm`.
    pub(crate) fn new(profile: &Profile, command: &[String]) -> Self {
        let (program, words) = command
            .split_first()
            .map_or(("vllm", [].as_slice()), |(program, words)| (program.as_str(), words));
        Self {
            model: profile.model.clone(),
            program: program.to_owned(),
            words: words.to_vec(),
        }
    }
}

impl Program for Process {
    fn command(&self, order: Order<'_>) -> Command {
        let model = order.variant.model.as_ref().unwrap_or(&self.model);
        let mut args = with_model(&self.words, model);
        args.extend(address("127.0.0.1", &order.port.to_string(), order.served_model));
        args.extend(flag_words(order.dialect, order.variant));
        Command {
            program: PathBuf::from(&self.program),
            args,
            dir: Some(order.host.project.clone()),
            container: None,
        }
    }

    fn facts(&self, _: &Host) -> PlaceFacts {
        PlaceFacts {
            program: Some(self.program.clone()),
            words: self.words.clone(),
            ..PlaceFacts::default()
        }
    }
}
