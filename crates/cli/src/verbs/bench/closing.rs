//! How the answer of a bench ends: what each load came to in one sentence, what failed and what helps, and what to do next.

use super::command::Command;
use crate::output;
use servelab_bench::{Answer, AtLoad, Figures, Latency, LoadEnd, ResultSet};
use servelab_findings::failed_gate;
use servelab_schema::GateOutcome;

/// Whether the figures count, and why not: gate, cause and remedy in words.
pub(super) fn verdict(f: &Figures) -> String {
    let line = |text: &str| output::paragraph(text, 2);
    let mut text = match (f.end, f.requests.gave_up_after) {
        (LoadEnd::GaveUp, Some(first)) => line(&format!(
            "Aborted: the first {first} requests all failed, so the load was ended (--give-up-after {first})."
        )),
        (LoadEnd::Interrupted, _) => line("Interrupted: these figures are of a part of the load."),
        _ if f.all_failed() => line("Invalid: no request completed."),
        _ if f.valid => line(&format!("Valid: {}.", headline(f))),
        _ => line("Invalid: a gate failed; do not compare these figures."),
    };
    // Where nothing completed, the server and not the client is to be looked at.
    if f.all_failed() {
        return text;
    }
    let failed: Vec<String> = f.gates.iter().filter_map(|gate| failed_gate(gate, &f.gates)).collect();
    for sentence in &failed {
        text.push_str(&line(sentence));
    }
    let passed = f.gates.iter().filter(|g| g.outcome == GateOutcome::Passed).count();
    if failed.is_empty() {
        text.push_str(&line(&format!("{passed} gates of validity passed, none failed.")));
    }
    text
}

/// `45.2 requests/s, 723 output tokens/s; TTFT 12.3 ms, TPOT 8.10 ms in the median`.
fn headline(f: &Figures) -> String {
    let throughput = f.throughput.as_ref();
    let rate = |value: Option<f64>, unit: &str| value.map(|v| format!("{} {unit}", super::print::plain(v)));
    let tokens = throughput.and_then(|t| t.output_tokens_per_s.or(t.completed_output_tokens_per_s));
    let rates = [
        rate(throughput.and_then(|t| t.requests_per_s), "requests/s"),
        rate(tokens, "output tokens/s"),
    ];
    let median = |name: &str, latency: Option<&Latency>| {
        latency.map(|l| format!("{name} {} ms", super::print::ms(l.summary_s.p50)))
    };
    let medians = [
        median("TTFT", f.ttft.as_ref()),
        median("TPOT", f.tpot.as_ref()),
        median("E2E", f.e2e.as_ref()),
    ];
    let join = |parts: Vec<String>| parts.join(", ");
    let (rates, medians) = (
        join(rates.into_iter().flatten().collect()),
        join(medians.into_iter().flatten().collect()),
    );
    match (rates.is_empty(), medians.is_empty()) {
        (false, false) => format!("{rates}; median {medians}"),
        (true, false) => format!("median {medians}"),
        _ => rates,
    }
}

/// What to do next: the command that was given, with the change that it needs.
struct Next {
    /// In words.
    why: String,
    command: Command,
    /// What stands behind it, such as where its output goes.
    then: &'static str,
}

/// Options that say how the answer is printed or kept, not what is measured. A trace file is never overwritten.
const OF_OUTPUT: [&str; 2] = ["--traces", "--format"];

/// Numbers as a list of an option has them.
fn list<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// A sweep of these loads, as the option writes it.
fn swept(loads: &[AtLoad]) -> String {
    let key = match loads.first() {
        Some(AtLoad::RatePerS(_)) => "rate",
        _ => "concurrency",
    };
    let numbers: Vec<f64> = loads.iter().map(|at| at.number()).collect();
    format!("{key}={}", list(&numbers))
}

/// Loads around this one that show how it scales.
fn around(at: AtLoad) -> String {
    match at {
        AtLoad::Concurrency(n) => {
            let n = n.get();
            let mut loads = vec![1, n / 4, n, n.saturating_mul(4), n.saturating_mul(16)];
            loads.retain(|load| *load > 0);
            loads.dedup();
            loads.truncate(4);
            format!("concurrency={}", list(&loads))
        }
        AtLoad::RatePerS(rate) => format!("rate={}", list(&[rate / 2.0, rate, rate * 2.0])),
    }
}

fn next_of(answer: &Answer, given: &Command) -> Option<Next> {
    let plain = given.clone().without(&OF_OUTPUT);
    let next = |why: &str, command: Command| {
        Some(Next {
            why: why.to_owned(),
            command,
            then: "",
        })
    };
    let is_interrupted = |set: &&ResultSet| set.figures.end == LoadEnd::Interrupted;
    let cut: Vec<AtLoad> = answer.results.iter().filter(is_interrupted).map(|s| s.at).collect();
    let gave_up = answer.results.iter().any(|set| set.figures.end == LoadEnd::GaveUp);
    let is_ended = !cut.is_empty() || (!answer.not_run.is_empty() && !gave_up);
    if is_ended && given.has("--sweep") {
        let rest = [cut, answer.not_run.clone()].concat();
        return next(
            "nothing is to mend; this measures the rest",
            plain.with("--sweep", &swept(&rest)),
        );
    }
    if is_ended {
        return next("nothing is to mend; the same command measures all of it", plain);
    }
    if answer.results.is_empty() {
        return None;
    }
    if !answer.is_valid() {
        return next("mend that, then the same again", plain);
    }
    match answer.results.as_slice() {
        [_] if given.has("--replay") && given.has("--slo") => Some(Next {
            why: "keep the figures".to_owned(),
            command: plain.with("--format", "json"),
            then: " > replay.json",
        }),
        [_] if given.has("--replay") => next(
            "hold each request against objectives, such as these",
            plain.with("--slo", "ttft=2s,tpot=100ms"),
        ),
        [only] => next(
            "how it scales",
            plain
                .without(&["--concurrency", "--rate", "--batch"])
                .with("--sweep", &around(only.at)),
        ),
        _ => Some(Next {
            why: "one line a load, for a spreadsheet".to_owned(),
            command: plain.with("--format", "csv"),
            then: " > sweep.csv",
        }),
    }
}

/// What to do next.
pub(super) fn next(answer: &Answer, given: &Command) -> String {
    let mut text = String::new();
    if !answer.not_run.is_empty() {
        let loads: Vec<String> = answer.not_run.iter().map(ToString::to_string).collect();
        let line = format!("Not run: {}.", loads.join(", "));
        text.push_str(&output::paragraph(&line, 2));
    }
    if let Some(Next { why, command, then }) = next_of(answer, given) {
        let notes = [
            command.hides().then_some("; put the values of headers back"),
            given.has("--traces").then_some("; --traces takes a new file"),
        ];
        let notes: String = notes.into_iter().flatten().collect();
        text.push_str(&output::paragraph(&format!("next  {why}{notes}:"), 6));
        text.push_str(&output::command(&format!("{}{then}", command.text()), 2));
    }
    let more = "--explain (formulas, gates), --format json, --traces FILE (each request)";
    text.push_str(&output::facts([("more", more)]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn a_sweep_lies_around_the_load_that_was_asked_for() {
        let closed = |n| around(AtLoad::Concurrency(NonZeroU32::new(n).unwrap()));
        for (n, expected) in [
            (1, "concurrency=1,4,16"),
            (2, "concurrency=1,2,8,32"),
            (4, "concurrency=1,4,16,64"),
            (16, "concurrency=1,4,16,64"),
            (40, "concurrency=1,10,40,160"),
        ] {
            assert_eq!(closed(n), expected);
        }
        assert_eq!(around(AtLoad::RatePerS(5.0)), "rate=2.5,5,10");
        assert_eq!(swept(&[AtLoad::RatePerS(0.5), AtLoad::RatePerS(2.0)]), "rate=0.5,2");
    }
}
