//! Whose flags, pages, metrics and log lines an engine has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose flags, pages, metrics and log lines an engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// vLLM (<https://docs.vllm.ai>).
    Vllm,
    /// SGLang (<https://docs.sglang.ai>).
    Sglang,
}

impl Dialect {
    /// Every dialect, in the order of messages.
    pub const ALL: [Self; 2] = [Self::Vllm, Self::Sglang];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
