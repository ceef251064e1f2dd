//! How the answer of a bench ends: what each load came to in one sentence, what failed and what helps, and what to do next.

use crate::output;
use servelab_bench::{Answer, Figures, Latency, LoadEnd};
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
    let failed: Vec<String> = f.gates.iter().filter_map(failed_gate).collect();
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

/// What to do next.
pub(super) fn next(answer: &Answer) -> String {
    let url = &answer.url;
    let good = answer.is_valid() && answer.results.iter().all(|set| set.figures.end == LoadEnd::Complete);
    let next = match answer.results.as_slice() {
        [] => return String::new(),
        [only] if good && only.concurrency.is_some() => {
            format!("servelab bench --url {url} --sweep concurrency=1,4,16,64 (how it scales)")
        }
        [_] if good => format!("servelab bench --url {url} --sweep rate=1,2,4 (how it scales)"),
        _ if good => "the same with --format csv > sweep.csv (one line a load)".to_owned(),
        _ => "mend that, then the same command again".to_owned(),
    };
    let more = "--explain (formulas, gates), --format json, --traces FILE (each request)";
    output::facts([("next", next.as_str()), ("more", more)])
}
