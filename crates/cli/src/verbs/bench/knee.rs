//! A sweep in the terminal: a line for each load as it ends, then a table, a chart and the knee.

use super::chart::{Ink, Row, chart};
use crate::output;
use servelab_bench::{
    AtLoad, LoadEnd, ResultSet,
    knee::{KneeFound, KneePoint, LeftOut, LeftOutWhy, SweepKnee},
};
use servelab_schema::Nanos;

/// A number with three digits, or as many as it has before the point.
pub(super) fn digits(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A latency of so many seconds, with its unit.
pub(crate) fn latency(seconds: f64) -> String {
    if seconds >= 0.9995 {
        format!("{} s", digits(seconds))
    } else {
        format!("{} ms", digits(seconds * 1e3))
    }
}

fn or_none(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// What is said of a load, in a word.
fn state(set: &ResultSet) -> &'static str {
    let f = &set.figures;
    if f.end == LoadEnd::Interrupted {
        "ended early"
    } else if f.all_failed() {
        "all failed"
    } else if f.valid {
        "valid"
    } else {
        "INVALID"
    }
}

fn cells(set: &ResultSet) -> Vec<String> {
    let f = &set.figures;
    let throughput = f.throughput.as_ref();
    vec![
        set.at.to_string(),
        or_none(throughput.and_then(|t| t.requests_per_s), digits),
        or_none(throughput.and_then(|t| t.output_tokens_per_s), digits),
        or_none(f.ttft.as_ref().map(|l| l.summary_s.p50), latency),
        or_none(f.e2e.as_ref().map(|l| l.summary_s.p50), latency),
        f.requests.failed.to_string(),
        state(set).to_owned(),
    ]
}

const HEADS: [&str; 7] = ["load", "req/s", "tok/s", "TTFT p50", "E2E p50", "failed", "result"];

/// Columns of a line that is told of a load.
const LINE: usize = 80;

/// Rank of what a line always says.
const LAST: u8 = 6;

/// The line of a load that has ended: as much of it as one line of 80 columns takes.
pub(super) fn line(set: &ResultSet) -> String {
    let f = &set.figures;
    let throughput = f.throughput.as_ref();
    let with = |value: Option<f64>, show: fn(f64) -> String, before: &str, behind: &str| {
        value.map(|v| format!("{before}{}{behind}", show(v)))
    };
    let failed = (f.requests.failed > 0).then(|| format!("{} failed", f.requests.failed));
    let name = if set.at.concurrency().is_some() {
        "concurrency"
    } else {
        "rate"
    };
    let rates = [
        with(throughput.and_then(|t| t.requests_per_s), digits, "", " req/s"),
        with(throughput.and_then(|t| t.output_tokens_per_s), digits, "", " tok/s"),
    ];
    let medians = [
        with(f.ttft.as_ref().map(|l| l.summary_s.p50), latency, "TTFT ", ""),
        with(f.e2e.as_ref().map(|l| l.summary_s.p50), latency, "E2E ", ""),
    ];
    fitting(&format!("{name} {}", set.at), rates, medians, failed, state(set))
}

/// The words in one line: what matters least is left out first where all of it does not fit.
fn fitting(
    name: &str,
    [requests, tokens]: [Option<String>; 2],
    [ttft, e2e]: [Option<String>; 2],
    failed: Option<String>,
    state: &str,
) -> String {
    // Each with its rank; the last is never left out.
    let mut parts = [
        (4, requests),
        (2, tokens),
        (1, ttft),
        (3, e2e),
        (5, failed),
        (LAST, Some(state.to_owned())),
    ];
    loop {
        let words: Vec<&str> = parts.iter().filter_map(|(_, text)| text.as_deref()).collect();
        let line = format!("{name}: {}", words.join(", "));
        let least = parts
            .iter_mut()
            .filter(|(rank, text)| *rank < LAST && text.is_some())
            .min_by_key(|(rank, _)| *rank);
        match least {
            Some((_, text)) if line.chars().count() > LINE => *text = None,
            _ => return line,
        }
    }
}

/// The knee in a sentence.
fn sentence(knee: &SweepKnee, results: usize) -> String {
    let why = "where throughput / median E2E (power) is highest";
    let unit = |at: AtLoad| match at {
        AtLoad::Concurrency(_) => " requests in flight",
        AtLoad::RatePerS(_) => "",
    };
    match knee.found {
        KneeFound::At { at, lowest, highest } if highest != lowest => {
            format!(
                "Knee: {at}{}, {why}: {lowest} to {highest} are within 10 % of it.",
                unit(at)
            )
        }
        KneeFound::At { at, .. } => format!("Knee: {at}{}, {why}.", unit(at)),
        KneeFound::Beyond => "No knee within the loads tried: at the highest one more load still gains more \
             throughput than it costs latency. Try higher loads."
            .to_owned(),
        KneeFound::Below => "No knee within the loads tried: from the lowest one on more load costs more \
             latency than it gains throughput. Try lower loads."
            .to_owned(),
        KneeFound::Flat => "No knee within the loads tried: throughput / latency hardly differs between them. \
             Try loads further apart."
            .to_owned(),
        KneeFound::TooFew if results == knee.points.len() => "No knee: that takes three loads.".to_owned(),
        KneeFound::TooFew => format!(
            "No knee: that takes three loads that count, and {} of {results} do.",
            knee.points.len()
        ),
    }
}

/// Which loads are no part of the knee, and why.
fn left_out(left: &[LeftOut]) -> Option<String> {
    let words = |why| match why {
        LeftOutWhy::EndedEarly => "ended early",
        LeftOutWhy::AllFailed => "all failed",
        LeftOutWhy::Invalid => "INVALID: a gate failed, and its figures may be the client's",
        LeftOutWhy::NoFigures => "no throughput or no latency",
    };
    let kinds = [
        LeftOutWhy::EndedEarly,
        LeftOutWhy::AllFailed,
        LeftOutWhy::Invalid,
        LeftOutWhy::NoFigures,
    ];
    let of = |kind: LeftOutWhy| {
        let loads: Vec<String> = left
            .iter()
            .filter(|l| l.why == kind)
            .map(|l| l.at.to_string())
            .collect();
        (!loads.is_empty()).then(|| format!("{} ({})", loads.join(", "), words(kind)))
    };
    let parts: Vec<String> = kinds.into_iter().filter_map(of).collect();
    (!parts.is_empty()).then(|| format!("Left out of chart and knee: {}.", parts.join("; ")))
}

/// The sweep at a glance.
pub(super) fn summary(knee: &SweepKnee, results: &[ResultSet]) -> String {
    let mut text = output::table(HEADS, results.iter().map(cells).collect());
    let mark = |load: AtLoad| match knee.found {
        KneeFound::At { at, .. } if at == load => "<- knee",
        _ => "",
    };
    let row = |p: &KneePoint| {
        let throughput = p.throughput(knee.by)?;
        Some(Row {
            label: p.at.to_string(),
            left: (throughput, digits(throughput)),
            right: (p.e2e_p50_s, latency(p.e2e_p50_s)),
            mark: mark(p.at),
        })
    };
    let rows: Vec<Row> = knee.points.iter().filter_map(row).collect();
    if !rows.is_empty() {
        text.push_str(&chart(["load", knee.by.unit(), "E2E p50"], &rows, Ink::of_terminal()));
    }
    text.push_str(&output::paragraph(&sentence(knee, results.len()), 2));
    if let Some(left) = left_out(&knee.left_out) {
        text.push_str(&output::paragraph(&left, 2));
    }
    text
}

/// A length of time in whole seconds, for people.
pub(super) fn seconds(seconds: f64) -> String {
    #[expect(
        clippy::as_conversions,
        reason = "float to integer saturates; a length of time is not negative"
    )]
    let ns = (seconds * 1e9) as u64;
    Nanos(ns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_one_line_of_80_columns() {
        let some = |text: &str| Some(text.to_owned());
        let of = |name: &str, failed: Option<&str>, state: &str| {
            let rates = [some("100000 req/s"), some("12345678 tok/s")];
            let medians = [some("TTFT 12.3 ms"), some("E2E 1234 s")];
            fitting(name, rates, medians, failed.map(str::to_owned), state)
        };
        assert_eq!(
            of("rate 2.5/s", None, "valid"),
            "rate 2.5/s: 100000 req/s, 12345678 tok/s, TTFT 12.3 ms, E2E 1234 s, valid"
        );
        assert_eq!(
            of("concurrency 16384", Some("163840 failed"), "ended early"),
            "concurrency 16384: 100000 req/s, E2E 1234 s, 163840 failed, ended early"
        );
        for name in ["concurrency 16384", "rate 123456.789012345/s"] {
            for failed in [None, Some("4294967295 failed")] {
                let line = of(name, failed, "ended early");
                assert!(
                    line.chars().count() <= LINE && line.ends_with(", ended early"),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn what_is_left_out_is_named_with_why() {
        let left = |load, why| LeftOut {
            at: AtLoad::RatePerS(load),
            why,
        };
        assert_eq!(left_out(&[]), None);
        let said = left_out(&[
            left(1.0, LeftOutWhy::Invalid),
            left(2.0, LeftOutWhy::EndedEarly),
            left(4.0, LeftOutWhy::Invalid),
        ]);
        assert_eq!(
            said.unwrap(),
            "Left out of chart and knee: 2/s (ended early); 1/s, 4/s (INVALID: a gate failed, and its figures may be the client's)."
        );
    }
}
