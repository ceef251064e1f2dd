//! A sweep in the terminal: a line for each load as it ends, then a table, a chart and the knee.

use super::chart::{Ink, Row, chart};
use crate::output;
use servelab_bench::{
    LoadEnd, ResultSet,
    knee::{KneeFound, SweepKnee},
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

/// The load as a sweep names it.
fn load(set: &ResultSet) -> String {
    match (set.concurrency, set.rate_per_s) {
        (Some(n), _) => n.to_string(),
        (None, Some(rate)) => format!("{rate}/s"),
        (None, None) => set.load.clone(),
    }
}

/// What is said of a load, in a word.
fn state(set: &ResultSet) -> &'static str {
    let f = &set.figures;
    if f.end == LoadEnd::Interrupted {
        "interrupted"
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
        load(set),
        or_none(throughput.and_then(|t| t.requests_per_s), digits),
        or_none(throughput.and_then(|t| t.output_tokens_per_s), digits),
        or_none(f.ttft.as_ref().map(|l| l.summary_s.p50), latency),
        or_none(f.e2e.as_ref().map(|l| l.summary_s.p50), latency),
        f.requests.failed.to_string(),
        state(set).to_owned(),
    ]
}

const HEADS: [&str; 7] = ["load", "req/s", "tok/s", "TTFT p50", "E2E p50", "failed", "result"];

/// The line of a load that has ended.
pub(super) fn line(set: &ResultSet) -> String {
    let cells = cells(set);
    let pairs = HEADS.iter().zip(&cells).skip(1);
    let words = pairs.map(|(head, cell)| match *head {
        "req/s" | "tok/s" | "failed" => format!("{cell} {head}"),
        "result" => cell.clone(),
        _ => format!("{head} {cell}"),
    });
    let name = if set.concurrency.is_some() {
        "concurrency"
    } else {
        "rate"
    };
    format!("{name} {}: {}", load(set), words.collect::<Vec<_>>().join(", "))
}

/// The knee in a sentence.
fn sentence(knee: &SweepKnee) -> String {
    let unit = knee.load_unit;
    let why = "where throughput / median E2E (power) is highest";
    match knee.found {
        KneeFound::At { load, lowest, highest } if highest > lowest => {
            format!("Knee: {load} {unit}, {why}: {lowest} to {highest} are within 10 % of it.")
        }
        KneeFound::At { load, .. } => format!("Knee: {load} {unit}, {why}."),
        KneeFound::Beyond => "No knee within the loads tried: at the highest one more load still gains more \
             throughput than it costs latency. Try higher loads."
            .to_owned(),
        KneeFound::Below => "No knee within the loads tried: from the lowest one on more load costs more \
             latency than it gains throughput. Try lower loads."
            .to_owned(),
        KneeFound::Flat => "No knee within the loads tried: throughput / latency hardly differs between them. \
             Try loads further apart."
            .to_owned(),
        KneeFound::TooFew => "No knee: that takes three loads with a throughput and a latency.".to_owned(),
    }
}

/// The sweep at a glance.
pub(super) fn summary(knee: &SweepKnee, results: &[ResultSet]) -> String {
    let mut text = output::table(HEADS, results.iter().map(cells).collect());
    let mark = |load: f64| match knee.found {
        KneeFound::At { load: at, .. } if at.total_cmp(&load).is_eq() => "<- knee",
        _ => "",
    };
    let rows: Vec<Row> = knee
        .points
        .iter()
        .map(|p| Row {
            label: p.load.to_string(),
            left: (p.throughput, digits(p.throughput)),
            right: (p.e2e_p50_s, latency(p.e2e_p50_s)),
            mark: mark(p.load),
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&chart(
            ["load", knee.throughput_unit, "E2E p50"],
            &rows,
            Ink::of_terminal(),
        ));
    }
    text.push_str(&output::paragraph(&sentence(knee), 2));
    if knee.points.iter().any(|p| !p.valid) {
        text.push_str("A load is INVALID: a gate failed, and its figures may be the client's.\n");
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
