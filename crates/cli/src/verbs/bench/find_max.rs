//! A search for the highest load, in the terminal: a line for each probe as it ends, then what was found.

use super::knee::{latency, seconds};
use crate::output;
use servelab_bench::find_max::{FindMax, Found, Probe, Searched, Stopped, answer::decision_word};

/// A load with what it is.
fn named(searched: Searched, load: f64) -> String {
    match searched {
        Searched::Rate => format!("{load}/s"),
        Searched::Concurrency => format!("concurrency {load}"),
    }
}

/// Requests within each objective's limit.
fn kept(probe: &Probe) -> String {
    let of = probe.objectives.iter().map(|look| {
        let kept = f64::from(look.requests - look.exceeded.min(look.requests)) / f64::from(look.requests.max(1));
        format!("{} {:.1} %", look.objective.as_str(), kept * 100.0)
    });
    of.collect::<Vec<_>>().join(", ")
}

/// The line of a probe that has ended.
pub(super) fn line(probe: &Probe) -> String {
    let requests = probe.objectives.first().map_or(0, |look| look.requests);
    let again = if probe.repeat { ", measured again" } else { "" };
    format!(
        "load {}{again}: {} ({requests} requests in {}; within the limit: {})",
        probe.load,
        decision_word(probe.decision),
        seconds(probe.elapsed_s),
        kept(probe)
    )
}

fn why(search: &FindMax) -> String {
    match &search.stopped {
        Stopped::Resolution => format!(
            "the bracket is as narrow as {:.0} %, and its lower end was measured twice",
            search.resolution_ratio * 100.0
        ),
        Stopped::Budget => "the time is over; --max-minutes gives more".to_owned(),
        Stopped::Ceiling => "the highest load that is tried meets the objectives".to_owned(),
        Stopped::Floor => "the lowest load that is tried does not meet the objectives".to_owned(),
        Stopped::Instrument { .. } => "the client was the limit, twice in a row".to_owned(),
        Stopped::Interrupted => "interrupted".to_owned(),
    }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.2}", ratio * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn end(searched: Searched, found: Found) -> String {
    let twice = if found.repeated { ", measured twice" } else { "" };
    format!(
        "{} (at least {} sure{twice})",
        named(searched, found.load),
        percent(found.confidence)
    )
}

/// What was found.
pub(super) fn summary(search: &FindMax, command: Option<&str>) -> String {
    let what = match search.searched {
        Searched::Rate => "rate",
        Searched::Concurrency => "concurrency",
    };
    let quantile = percent(search.quantile);
    let mut text = match search.meets {
        Some(found) => format!(
            "\nHighest {what} that meets the objectives: {}\n",
            named(search.searched, found.load)
        ),
        None => format!("\nNo {what} was shown to meet the objectives.\n"),
    };
    let none = || "none was shown".to_owned();
    let undecided: Vec<String> = search.undecided.iter().map(|l| named(search.searched, *l)).collect();
    let client = match &search.stopped {
        Stopped::Instrument { why } => why.clone(),
        _ => String::new(),
    };
    let limits = search
        .objectives
        .iter()
        .map(|o| format!("{} {}", o.name.as_str(), latency(o.limit_s)));
    let limits = limits.collect::<Vec<_>>().join(", ");
    let facts = [
        (
            "objectives",
            format!("{limits}, each kept by {quantile} of the requests"),
        ),
        ("meets", search.meets.map_or_else(none, |f| end(search.searched, f))),
        ("does not", search.fails.map_or_else(none, |f| end(search.searched, f))),
        (
            "undecided",
            if undecided.is_empty() {
                "–".to_owned()
            } else {
                undecided.join(", ")
            },
        ),
        (
            "rule",
            format!("{quantile} of the requests within each limit; failed ones are not"),
        ),
        ("ended", why(search)),
        ("client", client),
        ("time", seconds(search.elapsed_s)),
        ("again", command.unwrap_or("–").to_owned()),
    ];
    let rows = search.probes.iter().map(|p| {
        vec![
            p.load.to_string(),
            format!(
                "{}{}",
                decision_word(p.decision),
                if p.repeat { " (again)" } else { "" }
            ),
            p.objectives.first().map_or(0, |look| look.requests).to_string(),
            kept(p),
            seconds(p.elapsed_s),
        ]
    });
    if !search.probes.is_empty() {
        text.push_str(&output::table(
            ["load", "objectives", "requests", "within the limit", "time"],
            rows.collect(),
        ));
    }
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&output::paragraph(&format!("{name:<10}  {value}"), 12));
    }
    text
}
