//! What was asked of a bench, for its answer: the prompts and the load, so that a file of figures says what they are of.

use crate::{
    options::{Bench, PromptSource},
    text::Lengths,
};
use serde::Serialize;
use servelab_schema::{Nanos, Slo};
use std::num::NonZeroU32;

/// What was asked for. Null is "not asked".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// What was sent.
    pub prompts: AskedPrompts,
    /// How much of it, and when.
    pub load: AskedLoad,
    /// When a request was ended.
    pub timeouts: AskedTimeouts,
    /// Objectives of each request.
    pub objectives: AskedObjectives,
}

/// The prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedPrompts {
    /// `built-in`, `file`, `exact` or `replay`.
    pub source: &'static str,
    /// The file that they come from.
    pub file: Option<String>,
    /// Tokens of each prompt, where one number was asked for; a range stands in `lengths`.
    pub input_tokens: Option<NonZeroU32>,
    /// Most tokens of each answer; null where each prompt says, or 128.
    pub max_tokens: Option<NonZeroU32>,
    /// True where each answer has exactly so many.
    pub ignore_eos: bool,
    /// Turns of each conversation; null for single requests.
    pub turns: Option<NonZeroU32>,
}

/// The load, beside what each result says of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AskedLoad {
    /// Requests to measure, or conversations; null where the prompts or the default say.
    pub requests: Option<NonZeroU32>,
    /// Send for so long, seconds.
    pub duration_s: Option<f64>,
    /// Time over which the load rises, seconds.
    pub ramp_s: Option<f64>,
    /// So many leave together.
    pub batch: Option<NonZeroU32>,
    /// Unmeasured requests before the first measured one.
    pub warm_up: u32,
    /// The load is ended where its first so many measured requests all fail; null: never.
    pub give_up_after: Option<NonZeroU32>,
}

/// When a request was ended, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AskedTimeouts {
    /// From sent to the first token.
    pub ttft_s: f64,
    /// Between two reads of one stream.
    pub idle_s: f64,
    /// From sent to the end of the body.
    pub total_s: f64,
}

/// Objectives, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AskedObjectives {
    /// Longest time to first token.
    pub ttft_s: Option<f64>,
    /// Longest time per output token.
    pub tpot_s: Option<f64>,
    /// Longest end-to-end time.
    pub e2e_s: Option<f64>,
}

impl From<&Bench> for Asked {
    fn from(bench: &Bench) -> Self {
        let seconds = |time: Option<Nanos>| time.map(Nanos::as_secs_f64);
        let (source, file, input_tokens) = match &bench.prompts {
            PromptSource::BuiltIn => ("built-in", None, None),
            PromptSource::File(path) => ("file", Some(path), None),
            PromptSource::Lengths(Lengths { input, .. }) => (
                "exact",
                None,
                Some(input.least()).filter(|least| *least == input.most()),
            ),
            PromptSource::Replay(path) => ("replay", Some(path), None),
        };
        let Slo {
            ttft_ns,
            tpot_ns,
            e2e_ns,
        } = bench.slo;
        Self {
            prompts: AskedPrompts {
                source,
                file: file.map(|path| path.display().to_string()),
                input_tokens,
                max_tokens: bench.most_answer_tokens(),
                ignore_eos: bench.ignores_eos(),
                turns: bench.turns,
            },
            load: AskedLoad {
                requests: bench.requests,
                duration_s: seconds(bench.duration),
                ramp_s: seconds(bench.ramp),
                batch: bench.batch,
                warm_up: bench.warmup,
                give_up_after: bench.give_up_after,
            },
            timeouts: AskedTimeouts {
                ttft_s: bench.ttft_timeout.as_secs_f64(),
                idle_s: bench.idle_timeout.as_secs_f64(),
                total_s: bench.total_timeout.as_secs_f64(),
            },
            objectives: AskedObjectives {
                ttft_s: seconds(ttft_ns),
                tpot_s: seconds(tpot_ns),
                e2e_s: seconds(e2e_ns),
            },
        }
    }
}
