//! Names as people read them: metrics, verdicts, loads, kinds.

use crate::{number, remarks, table::Tone};
use servelab_schema::findings::{Comparison, DescribedMetric, LatencyKind, Verdict, WorseBy};
use servelab_schema::{
    Arrivals, EngineKind, Load, MetricName, Plan, PlannedVariant, RunEnd, Stop, Validity, VariantRole,
};

/// A metric as printed, such as `TTFT p95`.
pub(crate) const fn metric(name: MetricName) -> &'static str {
    match name {
        MetricName::OutputThroughput => "output throughput",
        MetricName::TotalThroughput => "total throughput",
        MetricName::RequestThroughput => "request throughput",
        MetricName::Goodput => "goodput",
        MetricName::TtftMean => "TTFT mean",
        MetricName::TtftP50 => "TTFT p50",
        MetricName::TtftP90 => "TTFT p90",
        MetricName::TtftP95 => "TTFT p95",
        MetricName::TpotMean => "TPOT mean",
        MetricName::TpotP50 => "TPOT p50",
        MetricName::TpotP90 => "TPOT p90",
        MetricName::TpotP95 => "TPOT p95",
        MetricName::E2eMean => "E2E mean",
        MetricName::E2eP50 => "E2E p50",
        MetricName::E2eP90 => "E2E p90",
        MetricName::E2eP95 => "E2E p95",
        MetricName::E2eP99 => "E2E p99",
    }
}

/// A metric's formula.
pub(crate) const fn formula(metric: MetricName) -> &'static str {
    match metric {
        MetricName::OutputThroughput => {
            "output tokens that arrive inside the held window, fillers included, divided by the window's length"
        }
        MetricName::TotalThroughput => {
            "prompt and output tokens of the completed measured requests, divided by the time from the first send to the last \
             completion"
        }
        MetricName::RequestThroughput => "completed measured requests divided by the held window's length",
        MetricName::Goodput => {
            "completed measured requests that meet every declared objective, divided by the held window's length"
        }
        MetricName::TtftMean | MetricName::TtftP50 | MetricName::TtftP90 | MetricName::TtftP95 => {
            "first token chunk − sent; sent is just before the first byte on an open connection"
        }
        MetricName::TpotMean | MetricName::TpotP50 | MetricName::TpotP90 | MetricName::TpotP95 => {
            "(last token chunk − first token chunk) / (N − m₁), m₁ = tokens in the first token chunk; none where N = m₁"
        }
        MetricName::E2eMean | MetricName::E2eP50 | MetricName::E2eP90 | MetricName::E2eP95 => "last token chunk − sent",
        MetricName::E2eP99 => {
            "last token chunk − sent, of all blocks' requests together, failed ones as +∞; compared by the ratio of the \
             percentiles with an interval from resampling whole blocks, and not tested"
        }
    }
}

/// A figure that no verdict is built on, as printed.
pub(crate) const fn described(metric: DescribedMetric) -> &'static str {
    match metric {
        DescribedMetric::InputThroughput => "input throughput",
        DescribedMetric::CompletedOutputThroughput => "completed output throughput",
        DescribedMetric::GoodputRatio => "good requests",
        DescribedMetric::Interactivity => "interactivity",
        DescribedMetric::PerRequestThroughput => "per-request throughput",
        DescribedMetric::Ntpot => "NTPOT",
        DescribedMetric::Icl => "ICL",
        DescribedMetric::TokensPerChunk => "tokens per chunk",
        DescribedMetric::TtftContent => "TTFT of the first text",
        DescribedMetric::TtftFromScheduled => "TTFT from the scheduled time",
        DescribedMetric::Finished => "end of the answer's body",
        DescribedMetric::Connect => "time to connect",
        DescribedMetric::OutputTokens => "output tokens",
        DescribedMetric::PromptTokens => "prompt tokens",
    }
}

/// The formula of such a figure.
pub(crate) const fn described_formula(metric: DescribedMetric) -> &'static str {
    match metric {
        DescribedMetric::InputThroughput => {
            "prompt tokens of the completed measured requests, divided by the time from the first send to the last completion"
        }
        DescribedMetric::CompletedOutputThroughput => {
            "output tokens of the completed measured requests, divided by the time from the first send to the last completion"
        }
        DescribedMetric::GoodputRatio => "measured requests that meet every declared objective / all measured requests",
        DescribedMetric::Interactivity => "1 / TPOT of each request: the tokens per second that one user sees",
        DescribedMetric::PerRequestThroughput => "N / E2E of each request: its tokens per second, the wait included",
        DescribedMetric::Ntpot => "E2E / N of each request: time per output token, the wait included",
        DescribedMetric::Icl => {
            "inter-chunk latency: gaps between two token chunks; not comparable where chunks hold different numbers of tokens"
        }
        DescribedMetric::TokensPerChunk => "tokens of a chunk after each request's first one",
        DescribedMetric::TtftContent => "first text that is not empty − sent",
        DescribedMetric::TtftFromScheduled => "first token chunk − scheduled: what a user of an open loop waits",
        DescribedMetric::Finished => "end of the answer's body − sent",
        DescribedMetric::Connect => "time to open the connection, of requests that opened one",
        DescribedMetric::OutputTokens => "output tokens of a completed measured request",
        DescribedMetric::PromptTokens => "prompt tokens of a completed measured request",
    }
}

/// A latency as printed.
pub(crate) const fn latency(kind: LatencyKind) -> &'static str {
    match kind {
        LatencyKind::Ttft => "TTFT",
        LatencyKind::Tpot => "TPOT",
        LatencyKind::E2e => "E2E",
    }
}

/// Which way a metric is better.
pub(crate) const fn direction(name: MetricName) -> &'static str {
    if name.higher_is_better() {
        "higher is better"
    } else {
        "lower is better"
    }
}

/// How a verdict looks: sign, words, tone. The words say all that sign and colour say.
pub(crate) const fn verdict(verdict: &Verdict) -> (&'static str, &'static str, Tone) {
    match verdict {
        Verdict::Better => ("▲", "Better", Tone::Better),
        Verdict::Worse { .. } => ("▼", "Worse", Tone::Worse),
        Verdict::Equivalent => ("≈", "Equivalent", Tone::Equal),
        Verdict::NoEvidence { .. } => ("○", "No evidence", Tone::None),
        Verdict::NotComparable { .. } => ("⊘", "Not comparable", Tone::Void),
    }
}

/// What would show an effect, why a word is withheld, what a Worse rests on, and whether the word is only a hint.
pub(crate) fn verdict_short_note(c: &Comparison) -> String {
    let mut notes: Vec<String> = Vec::new();
    match &c.verdict {
        Verdict::NoEvidence {
            blocks_to_show,
            withheld,
        } => {
            let show = |n: u32| format!("about {} would show an effect of this size", number::count(n, "block"));
            notes.extend(blocks_to_show.map(show));
            notes.extend(withheld.map(|why| remarks::withheld(why).to_owned()));
        }
        Verdict::Worse {
            by: WorseBy::LostBlocks,
        } => notes.extend(c.losses.as_ref().map(remarks::losses)),
        _ => {}
    }
    if c.indicative && !matches!(c.verdict, Verdict::NotComparable { .. }) {
        notes.push("indicative only".to_owned());
    }
    notes.join("; ")
}

/// What stands behind a verdict's word: the reason, and what was not counted.
pub(crate) fn verdict_note(c: &Comparison) -> String {
    if let Verdict::NotComparable { why } = &c.verdict {
        return remarks::hindrance(c, why);
    }
    let short = Some(verdict_short_note(c)).filter(|note| !note.is_empty());
    let lost = remarks::lost(&c.lost)
        .into_iter()
        .map(|why| format!("not counted: {why}"));
    short.into_iter().chain(lost).collect::<Vec<_>>().join("; ")
}

/// The word, class and sentence of the banner.
pub(crate) const fn kind(kind: EngineKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        EngineKind::Simulated => (
            "SIMULATED",
            "kind-simulated",
            "No GPU gave these numbers: a simulated engine answered, timed by a model of the hardware. They show what the \
             method finds, not how fast a real server is.",
        ),
        EngineKind::Imported => (
            "IMPORTED",
            "kind-imported",
            "Somebody else measured these numbers; servelab only read them in.",
        ),
        EngineKind::Measured => (
            "MEASURED",
            "kind-measured",
            "A real engine answered on the hardware named below.",
        ),
    }
}

/// A load in words.
pub(crate) fn load(load: &Load) -> String {
    match load {
        Load::Closed { concurrency } => format!("closed loop, {concurrency} in flight"),
        Load::Open { rate_per_s, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Constant => "constant gaps".to_owned(),
                Arrivals::Poisson => "Poisson arrivals".to_owned(),
                Arrivals::Gamma { shape } => format!("gamma arrivals of shape {}", shape.get()),
                Arrivals::Burst { size } => format!("bursts of {size}"),
            };
            format!("open loop, {} requests/s, {arrivals}", rate_per_s.get())
        }
    }
}

/// How a run ended, in words.
pub(crate) fn end(end: &RunEnd) -> String {
    match end {
        RunEnd::Complete => "complete".to_owned(),
        RunEnd::Aborted { why } => format!("aborted: {why}"),
    }
}

/// When generation stops, in words.
pub(crate) const fn stop(stop: Stop) -> &'static str {
    match stop {
        Stop::Fixed => "exactly the packed number of tokens",
        Stop::Natural => "where the model stops",
    }
}

/// True for a variant that changes how drafts are made.
fn is_speculative(variant: &PlannedVariant) -> bool {
    let flag = |name: &String| name.trim_start_matches("no-").starts_with("speculative-");
    variant.role == VariantRole::Treatment && variant.differs_in.iter().any(flag)
}

/// The standing remark on speculative variants under fixed lengths.
pub(crate) fn speculation_note(plan: &Plan) -> Option<String> {
    let ids = plan
        .variants
        .iter()
        .filter(|v| is_speculative(v))
        .map(|v| v.id.as_str());
    let ids: Vec<&str> = ids.collect();
    (plan.output.stop == Stop::Fixed && !ids.is_empty()).then(|| {
        format!(
            "{} speculates under fixed answer lengths: a model that must go on past its end repeats itself, and repeated text \
             is easy to guess, so its effect is flattered. Read a run with stop = \"natural\" beside it.",
            ids.join(", ")
        )
    })
}

/// Whether a trial counts: sign, word, tone.
pub(crate) const fn validity(validity: &Validity) -> (&'static str, &'static str, Tone) {
    match validity {
        Validity::Valid => ("✓", "Valid", Tone::Plain),
        Validity::Invalid { .. } => ("!", "Invalid", Tone::Warn),
        Validity::Aborted { .. } => ("×", "Aborted", Tone::Void),
    }
}

/// A wall-clock time without its fraction of a second: `2026-11-21 10:00:00 UTC`.
pub(crate) fn utc(rfc3339: &str) -> String {
    let whole = rfc3339.split(['.', 'Z']).next().unwrap_or(rfc3339);
    if rfc3339.ends_with('Z') {
        format!("{} UTC", whole.replacen('T', " ", 1))
    } else {
        rfc3339.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_their_fraction_only() {
        assert_eq!(utc("2026-11-21T10:00:00.123456789Z"), "2026-11-21 10:00:00 UTC");
        assert_eq!(utc("2026-11-21T10:00:00Z"), "2026-11-21 10:00:00 UTC");
        assert_eq!(utc("2026-11-21T10:00:00+02:00"), "2026-11-21T10:00:00+02:00");
    }

    #[test]
    fn what_is_described_has_its_row_in_methodology() {
        let text = include_str!("../../../docs/METHODOLOGY.md");
        for metric in DescribedMetric::ALL {
            let row = format!("| {} |", described(metric));
            assert!(text.lines().any(|line| line.starts_with(&row)), "{row}");
        }
    }
}
