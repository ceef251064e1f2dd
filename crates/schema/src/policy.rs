//! What a plan fixes besides its variants: output, warm-up, timeouts, gates, objectives, margin.

use crate::{Nanos, Ratio, WallNanos};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a generation stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// After exactly `max_new_tokens` (`ignore_eos`): equal work for every variant.
    Fixed,
    /// Where the model stops.
    Natural,
}

/// What is asked of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputPolicy {
    /// When a generation stops.
    pub stop: Stop,
    /// Sampling temperature; 0 is greedy.
    pub temperature: Ratio,
    /// Sampling seed of every request.
    pub seed: u64,
    /// Whether traces keep the text of every answer, and not only its hash: without it no answer can be checked.
    #[serde(default)]
    pub keep_text: bool,
}

/// What happens before the first measured request of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// Unmeasured requests that end before the first measured one is sent.
    pub requests: u32,
}

/// Deadlines: of processes in wall time, of requests in engine time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// From launch to the first good answer, wall time.
    pub startup_ns: WallNanos,
    /// To open a connection.
    pub connect_ns: Nanos,
    /// From sent to the first token.
    pub ttft_ns: Nanos,
    /// Between two reads of one stream.
    pub idle_ns: Nanos,
    /// From sent to the end of the body.
    pub total_ns: Nanos,
    /// From SIGTERM to SIGKILL when the engine is stopped, wall time.
    pub stop_grace_ns: WallNanos,
}

/// Limits beyond which a trial is Invalid. Errors of the client are compared after multiplying them by the time scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Schedule lag p99 may reach this, or `schedule_lag_ttft_ratio` of the median TTFT if that is more.
    pub schedule_lag_p99_ns: Nanos,
    /// See `schedule_lag_p99_ns`.
    pub schedule_lag_ttft_ratio: Ratio,
    /// Event-loop lag p99 of the client; the median may reach an eighth of it, or `event_loop_lag_ttft_ratio` of the median TTFT
    /// if that is more.
    pub event_loop_lag_p99_ns: Nanos,
    /// See `event_loop_lag_p99_ns`.
    pub event_loop_lag_ttft_ratio: Ratio,
    /// Share of the load in which the client was stopped, stolen from, throttled or waiting for a core.
    pub starvation_ratio: Ratio,
    /// Share of δ that the instrument's certified error may take.
    pub certified_error_delta_ratio: Ratio,
    /// CPU use of any client thread, as a share of one core.
    pub client_thread_cpu_ratio: Ratio,
    /// Distance of the achieved from the asked rate (open loop).
    pub achieved_rate_ratio: Ratio,
    /// Least share of the trial that the held window must cover.
    pub held_window_ratio: Ratio,
    /// Least number of measured requests.
    pub min_requests: u32,
    /// Least length of the held window.
    pub min_duration_ns: Nanos,
    /// Largest share of failed measured requests.
    pub failures_ratio: Ratio,
}

impl Default for Gates {
    /// METHOD's limits: what a matrix has that sets none (`[gates]` of `matrix`'s `defaults.toml` says the same, and a test
    /// there holds the two against each other), and what `bench` judges by.
    fn default() -> Self {
        Self {
            schedule_lag_p99_ns: Nanos::from_millis(1),
            schedule_lag_ttft_ratio: Ratio::known(0.01),
            event_loop_lag_p99_ns: Nanos::from_millis(2),
            event_loop_lag_ttft_ratio: Ratio::known(0.01),
            starvation_ratio: Ratio::known(0.02),
            certified_error_delta_ratio: Ratio::known(0.5),
            client_thread_cpu_ratio: Ratio::known(0.8),
            achieved_rate_ratio: Ratio::known(0.02),
            held_window_ratio: Ratio::known(0.6),
            min_requests: 30,
            min_duration_ns: Nanos::from_secs(10),
            failures_ratio: Ratio::known(0.01),
        }
    }
}

/// Service-level objectives of one request; a request is good when it meets all that are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Longest time to first token.
    pub ttft_ns: Option<Nanos>,
    /// Longest time per output token.
    pub tpot_ns: Option<Nanos>,
    /// Longest end-to-end time.
    pub e2e_ns: Option<Nanos>,
}

/// Metrics that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricName {
    /// Output tokens per second that arrived inside the held window.
    OutputThroughput,
    /// Prompt and output tokens of completed measured requests per second from the first send to the last completion.
    TotalThroughput,
    /// Completed measured requests per second.
    RequestThroughput,
    /// Completed measured requests per second that meet every objective.
    Goodput,
    /// Mean time to first token.
    TtftMean,
    /// Median time to first token.
    TtftP50,
    /// 90th percentile of time to first token.
    TtftP90,
    /// 95th percentile of time to first token.
    TtftP95,
    /// Mean time per output token.
    TpotMean,
    /// Median time per output token.
    TpotP50,
    /// 90th percentile of time per output token.
    TpotP90,
    /// 95th percentile of time per output token.
    TpotP95,
    /// Mean end-to-end time.
    E2eMean,
    /// Median end-to-end time.
    E2eP50,
    /// 90th percentile of end-to-end time.
    E2eP90,
    /// 95th percentile of end-to-end time.
    E2eP95,
    /// 99th percentile of end-to-end time of all blocks' requests together: described, never tested.
    E2eP99,
}

impl MetricName {
    /// Every metric, in the order of tables.
    pub const ALL: [Self; 17] = [
        Self::OutputThroughput,
        Self::TotalThroughput,
        Self::RequestThroughput,
        Self::Goodput,
        Self::TtftMean,
        Self::TtftP50,
        Self::TtftP90,
        Self::TtftP95,
        Self::TpotMean,
        Self::TpotP50,
        Self::TpotP90,
        Self::TpotP95,
        Self::E2eMean,
        Self::E2eP50,
        Self::E2eP90,
        Self::E2eP95,
        Self::E2eP99,
    ];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutputThroughput => "output-throughput",
            Self::TotalThroughput => "total-throughput",
            Self::RequestThroughput => "request-throughput",
            Self::Goodput => "goodput",
            Self::TtftMean => "ttft-mean",
            Self::TtftP50 => "ttft-p50",
            Self::TtftP90 => "ttft-p90",
            Self::TtftP95 => "ttft-p95",
            Self::TpotMean => "tpot-mean",
            Self::TpotP50 => "tpot-p50",
            Self::TpotP90 => "tpot-p90",
            Self::TpotP95 => "tpot-p95",
            Self::E2eMean => "e2e-mean",
            Self::E2eP50 => "e2e-p50",
            Self::E2eP90 => "e2e-p90",
            Self::E2eP95 => "e2e-p95",
            Self::E2eP99 => "e2e-p99",
        }
    }

    /// Unit of its values.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::OutputThroughput | Self::TotalThroughput => "tokens/s",
            Self::RequestThroughput | Self::Goodput => "requests/s",
            _ => "s",
        }
    }

    /// True where a larger value is the better one.
    #[must_use]
    pub const fn higher_is_better(self) -> bool {
        matches!(
            self,
            Self::OutputThroughput | Self::TotalThroughput | Self::RequestThroughput | Self::Goodput
        )
    }

    /// True where a block alone has too few requests for a value: all blocks are pooled, nothing is tested, and the metric
    /// cannot be the primary one.
    #[must_use]
    pub const fn is_pooled(self) -> bool {
        matches!(self, Self::E2eP99)
    }

    /// True where the value depends on what the first timestamp of an answer is: a token or a text.
    #[must_use]
    pub const fn depends_on_first_tokens(self) -> bool {
        !matches!(
            self,
            Self::OutputThroughput | Self::RequestThroughput | Self::TotalThroughput
        )
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Smallest effect that matters, as a ratio: above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct Margin(f64);

impl Margin {
    /// 3 %: where nothing else is declared.
    pub const DEFAULT: Self = Self(0.03);

    /// A checked margin.
    ///
    /// # Errors
    /// Refuses what is not strictly between 0 and 1.
    pub fn new(value: f64) -> Result<Self, String> {
        if value > 0.0 && value < 1.0 {
            Ok(Self(value))
        } else {
            Err(format!(
                "{value} is no margin; give a number between 0 and 1, such as 0.03 for 3 %"
            ))
        }
    }

    /// The ratio.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Margin {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, String> {
        Self::new(value)
    }
}

impl From<Margin> for f64 {
    fn from(value: Margin) -> f64 {
        value.0
    }
}
