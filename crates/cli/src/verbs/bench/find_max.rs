//! A search for the highest load, in the terminal: a line for each probe as it ends, then what was found.

use super::{
    command::Command,
    knee::{self, latency, seconds},
};
use crate::output;
use servelab_bench::{
    AtLoad, ResultSet,
    find_max::{FindMax, Found, Look, Probe, Searched, Stopped, Undecided, Verdict, answer::decision_word},
};

/// A load with what it is.
fn named(at: AtLoad) -> String {
    match at {
        AtLoad::RatePerS(_) => at.to_string(),
        AtLoad::Concurrency(_) => format!("concurrency {at}"),
    }
}

/// Requests within an objective's limit; none where none was measured.
fn kept(look: &Look) -> Option<f64> {
    (look.requests > 0).then(|| f64::from(look.requests - look.exceeded.min(look.requests)) / f64::from(look.requests))
}

fn share(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// Each objective's part; a dash where nothing counts.
fn all_kept(probe: &Probe) -> String {
    let looks = probe.objectives.iter();
    let parts: Vec<String> = looks
        .filter_map(|look| Some(format!("{} {}", look.objective.as_str(), share(kept(look)?))))
        .collect();
    if parts.is_empty() {
        "–".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `meets`, or `undecided (time)`.
fn decided(probe: &Probe) -> String {
    let word = decision_word(probe.decision);
    match probe.undecided_by {
        None | Some(Undecided::Looks) => word.to_owned(),
        Some(Undecided::Time) => format!("{word} (time)"),
        Some(Undecided::Client) => format!("{word} (client)"),
        Some(Undecided::Interrupted) => format!("{word} (ended)"),
    }
}

fn requests(probe: &Probe) -> u32 {
    probe.objectives.first().map_or(0, |look| look.requests)
}

/// The line of a probe that has ended: with the objective that is kept by the fewest, so that it fits 80 columns.
pub(super) fn line(probe: &Probe) -> String {
    let again = if probe.repeat { " again" } else { "" };
    let looks = probe.objectives.iter();
    let least = looks
        .filter_map(|look| Some((look, kept(look)?)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b));
    let measured = least.map_or_else(String::new, |(look, kept)| {
        let (name, share, n) = (look.objective.as_str(), share(kept), look.requests);
        format!(", {name} {share} of {n} requests")
    });
    format!(
        "load {}{again}: {}{measured}, {}",
        probe.at,
        decided(probe),
        seconds(probe.elapsed_s)
    )
}

/// True where the bracket is wider than was asked for because nothing lies within it.
fn is_whole(search: &FindMax) -> bool {
    let above = search
        .fails
        .map(|f| f.at)
        .into_iter()
        .chain(search.undecided.iter().copied());
    let above = above.map(AtLoad::number).reduce(f64::min);
    let low = search.meets.map(|f| f.at.number());
    search.searched == Searched::Concurrency
        && low
            .zip(above)
            .is_some_and(|(low, above)| above / low > 1.0 + search.resolution_ratio)
}

/// Why it ended, and what helps.
fn why(search: &FindMax) -> String {
    match &search.stopped {
        Stopped::Resolution if is_whole(search) => {
            "no whole number lies between what meets the objectives and what does not; the lower one was measured twice"
                .to_owned()
        }
        Stopped::Resolution => format!(
            "the bracket is as narrow as {:.0} %, and its lower end was measured twice",
            search.resolution_ratio * 100.0
        ),
        Stopped::Budget => "the time was too short for more; --max-minutes gives more".to_owned(),
        Stopped::Ceiling => "the highest load that is tried meets the objectives".to_owned(),
        Stopped::Floor => "the lowest load that is tried does not meet the objectives".to_owned(),
        Stopped::Instrument { at, .. } => format!("the client was the limit at {}, twice in a row", named(*at)),
        Stopped::Interrupted => "interrupted".to_owned(),
    }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.2}", ratio * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn end(found: Found) -> String {
    let twice = if found.repeated { ", measured twice" } else { "" };
    format!(
        "{} (at least {} sure{twice})",
        named(found.at),
        percent(found.confidence)
    )
}

/// The answer in a sentence.
fn headline(search: &FindMax) -> String {
    let what = match search.searched {
        Searched::Rate => "rate",
        Searched::Concurrency => "concurrency",
    };
    match (search.verdict, search.meets) {
        (Verdict::Highest, Some(found)) => format!("Highest {what} that meets the objectives: {}", named(found.at)),
        (_, Some(found)) => {
            let above = match search.fails {
                Some(fails) => format!(
                    "; {} does not meet them, and what lies between was not settled",
                    named(fails.at)
                ),
                None => ". No load above it was shown not to meet them.".to_owned(),
            };
            format!(
                "Highest {what} that meets the objectives: at least {}{above}",
                named(found.at)
            )
        }
        (_, None) => format!("No {what} was shown to meet the objectives."),
    }
}

/// What was found; the last part of the last load says what was measured where nothing of it counts.
pub(super) fn summary(search: &FindMax, last: Option<&ResultSet>, given: &Command) -> String {
    let quantile = percent(search.quantile);
    let mut text = format!("\n{}", output::paragraph(&headline(search), 2));
    let none = || "none was shown".to_owned();
    let undecided: Vec<String> = search.undecided.iter().map(|at| named(*at)).collect();
    let client = match &search.stopped {
        Stopped::Instrument { why, .. } => why.clone(),
        _ => String::new(),
    };
    let measured = match &search.stopped {
        Stopped::Instrument { .. } => last.map(knee::line).unwrap_or_default(),
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
            format!("{limits}, each kept by {quantile} of the requests (failed ones keep none)"),
        ),
        ("meets", search.meets.map_or_else(none, end)),
        ("does not", search.fails.map_or_else(none, end)),
        (
            "undecided",
            if undecided.is_empty() {
                "–".to_owned()
            } else {
                undecided.join(", ")
            },
        ),
        ("ended", why(search)),
        ("client", client),
        ("measured", measured),
        ("time", seconds(search.elapsed_s)),
    ];
    let rows = search.probes.iter().map(|p| {
        vec![
            p.at.to_string(),
            format!("{}{}", decided(p), if p.repeat { " (again)" } else { "" }),
            requests(p).to_string(),
            all_kept(p),
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
    text.push_str("again:\n");
    // A trace file is never overwritten.
    text.push_str(&output::command(&given.clone().without(&["--traces"]).text(), 2));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_bench::find_max::{Objective, ObjectiveName, Rules};
    use servelab_stats::{Decision, Probability};

    fn look(name: ObjectiveName, exceeded: u32) -> Look {
        Look {
            objective: name,
            requests: 117_248,
            exceeded,
            correlation_time_requests: 1.0,
            decision: Decision::Undecided,
        }
    }

    fn probe(at: AtLoad, undecided_by: Option<Undecided>) -> Probe {
        Probe {
            at,
            repeat: true,
            decision: Decision::Undecided,
            undecided_by,
            objectives: vec![look(ObjectiveName::Ttft, 0), look(ObjectiveName::Tpot, 58_000)],
            looks: 8,
            elapsed_s: 1203.45,
        }
    }

    #[test]
    fn a_probe_is_one_line_of_80_columns() {
        let rate = AtLoad::RatePerS(0.0123);
        for at in [AtLoad::of_search(Searched::Concurrency, 16_384.0), rate] {
            for cause in [
                Undecided::Looks,
                Undecided::Time,
                Undecided::Client,
                Undecided::Interrupted,
            ] {
                let said = line(&probe(at, Some(cause)));
                assert!(said.chars().count() <= 80, "{}: {said}", said.chars().count());
            }
        }
        let said = line(&probe(rate, Some(Undecided::Time)));
        assert!(
            said.starts_with("load 0.0123/s again: undecided (time), tpot 50.5 % of 117248 requests, "),
            "{said}"
        );
        let mut spoilt = probe(rate, Some(Undecided::Client));
        for look in &mut spoilt.objectives {
            look.requests = 0;
        }
        assert_eq!((all_kept(&spoilt), requests(&spoilt)), ("–".to_owned(), 0));
        assert!(line(&spoilt).contains("undecided (client), "), "{}", line(&spoilt));
    }

    /// A search that found 11 of 12, in these words.
    fn found(verdict: Verdict, fails: Option<f64>, stopped: Stopped) -> FindMax {
        let objective = Objective {
            name: ObjectiveName::E2e,
            limit_s: 1.0,
        };
        let rules = Rules::new(Searched::Concurrency, vec![objective], Probability::P95, 60.0);
        let of = |load| AtLoad::of_search(Searched::Concurrency, load);
        let end = |load| Found {
            at: of(load),
            confidence: 0.99,
            repeated: true,
        };
        FindMax {
            searched: rules.searched,
            objectives: rules.objectives.clone(),
            quantile: rules.quantile.get(),
            error_level: rules.error,
            resolution_ratio: rules.resolution_ratio,
            verdict,
            meets: Some(end(11.0)),
            fails: fails.map(end),
            undecided: if fails.is_none() { vec![of(12.0)] } else { Vec::new() },
            stopped,
            elapsed_s: 60.0,
            probes: Vec::new(),
        }
    }

    #[test]
    fn what_time_left_open_is_no_highest_load() {
        let cut = found(Verdict::AtLeast, None, Stopped::Budget);
        assert_eq!(
            headline(&cut),
            "Highest concurrency that meets the objectives: at least concurrency 11. No load above it was shown not to meet them."
        );
        assert!(why(&cut).contains("--max-minutes"));
        assert_eq!(
            headline(&found(Verdict::AtLeast, Some(15.0), Stopped::Budget)),
            "Highest concurrency that meets the objectives: at least concurrency 11; concurrency 15 does not meet them, and what \
             lies between was not settled"
        );
        let whole = found(Verdict::Highest, Some(12.0), Stopped::Resolution);
        assert_eq!(
            headline(&whole),
            "Highest concurrency that meets the objectives: concurrency 11"
        );
        // 12 is 9 % above 11.
        assert!(why(&whole).contains("no whole number"), "{}", why(&whole));
        let narrow = FindMax {
            resolution_ratio: 0.1,
            ..whole
        };
        assert!(why(&narrow).contains("as narrow as 10 %"), "{}", why(&narrow));
    }

    #[test]
    fn what_the_client_limited_is_shown_with_what_helps() {
        let at = AtLoad::of_search(Searched::Concurrency, 12.0);
        let stopped = Stopped::Instrument {
            at,
            why: "client-cpu: 99 %. Lower the load.".to_owned(),
        };
        let mut spoilt = probe(at, Some(Undecided::Client));
        spoilt.objectives.truncate(1);
        spoilt.objectives[0].requests = 0;
        let search = FindMax {
            meets: None,
            probes: vec![spoilt],
            ..found(Verdict::NoLoad, None, stopped)
        };
        let given = Command::of(
            ["servelab", "bench", "--traces", "t", "--url", "u"]
                .map(Into::into)
                .into_iter(),
        );
        let said = summary(&search, None, &given);
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "No concurrency was shown to meet the objectives.",
            "undecided (client)",
            "the client was the limit at concurrency 12, twice in a row",
            "client-cpu: 99\u{a0}%. Lower the load.",
            "again: servelab bench --url u",
        ] {
            assert!(words.replace(" %", "\u{a0}%").contains(part), "no {part:?} in\n{said}");
        }
    }
}
