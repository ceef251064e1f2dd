//! The command line of `servelab sim`.

use std::path::PathBuf;

use clap::Args;

use crate::dialect::Dialect;
use crate::error::SimError;

/// Starts the simulated engine: the wire behaviour of vLLM 0.32 or SGLang, timed by a simulated GPU. Everything it says is SIMULATED.
#[derive(Debug, Clone, Args)]
pub struct SimArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes a free one, which the last line of the output names.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Directory with tokenizer.json, tokenizer_config.json and the chat template.
    #[arg(long)]
    pub tokenizer_dir: PathBuf,
    /// Whose flags, pages, metrics and log lines to imitate.
    #[arg(long, value_enum, default_value_t = Dialect::Vllm)]
    pub dialect: Dialect,
    /// GPU and model to simulate.
    #[arg(long, default_value = crate::profile::L4_MISTRAL_7B.name)]
    pub profile: String,
    /// Model name for clients; overrides the engine's flag of the same name.
    #[arg(long)]
    pub served_model_name: Option<String>,
    /// Engine seconds per wall second: 20 runs twenty times faster than real time.
    #[arg(long, default_value_t = 1.0)]
    pub time_scale: f64,
    /// Seed of texts, lengths and speculation.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Fault script (TOML).
    #[arg(long)]
    pub faults: Option<PathBuf>,
    /// Start-up time in engine seconds, divided by the time scale; by default 20 with CUDA graphs and 8 without.
    #[arg(long)]
    pub startup_seconds: Option<f64>,
    /// Chance that a token shows no text, as skipped special tokens and parts of characters do.
    #[arg(long, default_value_t = 0.01)]
    pub empty_token_probability: f64,
    /// For known-answer tests: multiplies the time of every step without saying so anywhere else.
    #[arg(long, default_value_t = 1.0, hide = true)]
    pub hidden_slowdown: f64,
    /// For known-answer tests: only where this engine flag (without dashes) is given, so that one variant is slowed.
    #[arg(long, hide = true)]
    pub hidden_slowdown_flag: Option<String>,
    /// For known-answer tests: this flag (without dashes) is accepted and listed as given, and has no effect. Repeatable.
    #[arg(long, hide = true, value_name = "FLAG")]
    pub hidden_ignore_flag: Vec<String>,
    /// For known-answer tests: where this flag is given it is listed as given, and the engine runs with VALUE. Repeatable.
    #[arg(long, hide = true, value_name = "FLAG=VALUE")]
    pub hidden_substitute: Vec<String>,
    /// For known-answer tests: every byte of every answer leaves this many milliseconds of engine time later than the engine
    /// itself counts, as on a long line.
    #[arg(long, default_value_t = 0.0, hide = true, value_name = "MS")]
    pub network_delay: f64,
    /// Where to write the emission lateness at the end, as one JSON object.
    #[arg(long)]
    pub lateness_log: Option<PathBuf>,
    /// End when the parent process ends.
    #[arg(long)]
    pub exit_with_parent: bool,
    /// What `vllm serve` (or `sglang.launch_server`) would be given, after `--`.
    #[arg(last = true)]
    pub flags: Vec<String>,
}

impl SimArgs {
    /// The hidden factor on the time of every step; 1 unless a known-answer test asks for more.
    #[must_use]
    pub fn slowdown(&self) -> f64 {
        let given = |flag: &String| {
            self.flags
                .iter()
                .any(|word| word.strip_prefix("--") == Some(flag.as_str()))
        };
        if self.hidden_slowdown_flag.as_ref().is_none_or(given) {
            self.hidden_slowdown
        } else {
            1.0
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`SimError::Option`] naming the option, its value and the range.
    pub fn check(&self) -> Result<(), SimError> {
        let option = |option, value: f64, remedy| {
            Err(SimError::Option {
                option,
                value: value.to_string(),
                remedy,
            })
        };
        if !(self.time_scale.is_finite() && self.time_scale > 0.0 && self.time_scale <= 10_000.0) {
            return option("time-scale", self.time_scale, "give a number above 0, at most 10000");
        }
        if !(self.hidden_slowdown.is_finite() && self.hidden_slowdown > 0.0) {
            return option("hidden-slowdown", self.hidden_slowdown, "give a factor above 0");
        }
        if !(0.0..=600_000.0).contains(&self.network_delay) {
            return option(
                "network-delay",
                self.network_delay,
                "give milliseconds from 0 to 600000",
            );
        }
        if !(0.0..=1.0).contains(&self.empty_token_probability) {
            return option(
                "empty-token-probability",
                self.empty_token_probability,
                "give a probability from 0 to 1",
            );
        }
        match self.startup_seconds {
            Some(s) if !(s.is_finite() && s >= 0.0) => option("startup-seconds", s, "give seconds, 0 or more"),
            Some(_) | None => Ok(()),
        }
    }
}
