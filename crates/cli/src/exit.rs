//! Exit codes, documented in `servelab --help`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// The command line contradicts itself.
    Usage,
    /// A matrix, dataset or prompt file is wrong.
    Configuration,
    /// The machine lacks something: a program, a file, space, a permission.
    Environment,
    /// Interrupted.
    Aborted,
    /// It ran, but some cell has no valid trial.
    Invalid,
    /// It was compared, and something is worse.
    Worse,
    /// It was compared, and nothing was shown.
    NoEvidence,
    /// The simulated engine ended with this code: 1 where the imitated engine would fail, else one of the above.
    Engine(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Environment => 4,
            Exit::Aborted => 5,
            Exit::Invalid => 6,
            Exit::Worse => 7,
            Exit::NoEvidence => 8,
            Exit::Engine(code) => code,
        })
    }
}

/// An error with the exit code it causes.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong, and the remedy.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// The error and its causes. Many of our errors quote their cause already: each thing is said once.
    pub(crate) fn words(&self) -> String {
        let mut words = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !words.contains(&cause) {
                words = format!("{words}: {cause}");
            }
        }
        words
    }

    /// The command line is wrong in a way that its parser cannot see.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// Something in a file of the project is wrong.
    pub(crate) fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Configuration,
            error: error.into(),
        }
    }

    /// Somebody asked for the end before there was anything to keep.
    pub(crate) fn aborted(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Aborted,
            error: error.into(),
        }
    }

    /// Something on the machine is missing or refuses.
    pub(crate) fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Environment,
            error: error.into(),
        }
    }
}
