//! Whose server is imitated.

use clap::ValueEnum;

use crate::config::VLLM_VERSION;

/// The SGLang version whose names are used in SGLang mode. Read in its source and documentation; no capture was at hand.
pub const SGLANG_VERSION: &str = "0.5.19";

/// Whose flags, pages, metrics, log lines and stream form the simulator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// vLLM 0.32's, as recorded.
    #[default]
    Vllm,
    /// SGLang's, as its source says.
    Sglang,
}

impl Dialect {
    /// The name as given on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }

    /// The version that the server says it is.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Vllm => VLLM_VERSION,
            Self::Sglang => SGLANG_VERSION,
        }
    }
}
