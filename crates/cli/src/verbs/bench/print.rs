//! The answer of `servelab bench`: tables with units, and formulas where asked for; JSON; or one CSV line for each load.

use super::{BenchFormat, closing, command::Command, csv::csv, find_max, knee};
use crate::output;
use servelab_bench::{Answer, Figures, Latency};
use servelab_schema::{
    EngineKind, GateOutcome, TokenSource, TtftKind,
    findings::{Certification, OrInfinite, Quantile, Summary},
};

/// Prints it.
pub(super) fn print(format: BenchFormat, explain: bool, answer: &Answer, given: &Command) -> anyhow::Result<()> {
    match format {
        BenchFormat::Json => output::json(answer),
        BenchFormat::Csv => {
            output::answer(&csv(answer));
            Ok(())
        }
        BenchFormat::Table => {
            output::answer(&table(answer, explain, given));
            Ok(())
        }
    }
}

/// Milliseconds with three significant digits and more.
pub(super) fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    let digits = if ms >= 1000.0 {
        0
    } else if ms >= 100.0 {
        1
    } else if ms >= 1.0 {
        2
    } else {
        4
    };
    format!("{ms:.digits$}")
}

pub(super) fn plain(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// The rows of one latency: successes, and where requests failed the same with failures as ∞.
fn latency_rows(name: &str, formula: &str, latency: Option<&Latency>, rows: &mut Vec<Vec<String>>) {
    let Some(l) = latency else {
        let mut row = vec![name.to_owned()];
        row.extend(std::iter::repeat_n("–".to_owned(), 6));
        row.push(formula.to_owned());
        rows.push(row);
        return;
    };
    let mut row = vec![name.to_owned(), ms(l.summary_s.mean)];
    row.extend(l.quantiles.iter().map(|q| {
        let mark = if q.success_only.certified.finite_bound().is_some() {
            ""
        } else {
            "*"
        };
        format!("{}{mark}", ms(q.success_only.point))
    }));
    row.extend([ms(l.summary_s.max), formula.to_owned()]);
    rows.push(row);
    if l.failed > 0 {
        let mut row = vec![format!("  {} failed as ∞", l.failed), "–".to_owned()];
        row.extend(
            l.quantiles
                .iter()
                .map(|q| q.with_failures.finite().map_or_else(|| "∞".to_owned(), ms)),
        );
        // Its formula is that of the row above.
        row.extend(["∞".to_owned(), String::new()]);
        rows.push(row);
    }
}

fn spread_row(name: &str, formula: &str, unit_ms: bool, spread: Option<&Summary>) -> Option<Vec<String>> {
    let s = spread?;
    let show = |v: f64| if unit_ms { ms(v) } else { plain(v) };
    Some(vec![
        name.to_owned(),
        show(s.mean),
        show(s.p50),
        show(s.p90),
        show(s.p95),
        show(s.p99),
        show(s.max),
        formula.to_owned(),
    ])
}

/// Which percentiles have a star, and why.
fn uncertified(latency: &Latency) -> impl Iterator<Item = String> {
    latency.quantiles.iter().filter_map(|q| {
        let Quantile { p, n, certified, .. } = q.success_only;
        let requests = u64::from(n) + u64::from(latency.failed);
        let why = match certified {
            Certification::NotCertifiable { needs } => format!("not certifiable (n = {requests}, needs {needs})"),
            Certification::Certified {
                bound: OrInfinite::Infinite,
                ..
            } => {
                format!("certified only as ∞ ({} failed of {requests})", latency.failed)
            }
            Certification::Certified { .. } => return None,
        };
        Some(format!("p{} {why}", p * 100.0))
    })
}

/// A table without its last column, which is printed as a list below it where it is asked for.
fn explained<const N: usize>(explain: bool, header: [&str; N], mut rows: Vec<Vec<String>>) -> String {
    let formulas: Vec<(String, String)> = rows
        .iter_mut()
        .filter_map(|row| {
            row.pop()
                .map(|formula| (row.first().cloned().unwrap_or_default(), formula))
        })
        .collect();
    let mut text = output::table(header, rows);
    if explain {
        text.push_str(&output::facts(
            formulas.into_iter().filter(|(_, formula)| !formula.is_empty()),
        ));
    }
    text
}

fn latencies(f: &Figures, explain: bool) -> String {
    let first = match f.ttft_kind {
        Some(TtftKind::Content) => "first text − sent (no token counts per chunk)",
        Some(TtftKind::Whole) => "none: answers come whole",
        _ => "first token chunk − sent",
    };
    let mut rows = Vec::new();
    latency_rows("TTFT ms", first, f.ttft.as_ref(), &mut rows);
    latency_rows("TPOT ms", "(last − first chunk) / (N − m₁)", f.tpot.as_ref(), &mut rows);
    latency_rows("E2E ms", "last token chunk − sent", f.e2e.as_ref(), &mut rows);
    if f.rates.is_some() {
        latency_rows(
            "TTFT from scheduled ms",
            "first token chunk − scheduled",
            f.ttft_from_scheduled.as_ref(),
            &mut rows,
        );
        latency_rows(
            "E2E from scheduled ms",
            "last token chunk − scheduled",
            f.e2e_from_scheduled.as_ref(),
            &mut rows,
        );
    }
    for (turn, latency) in &f.ttft_by_turn {
        latency_rows(
            &format!("TTFT turn {turn} ms (n = {})", latency.summary_s.n),
            "first token chunk − sent",
            Some(latency),
            &mut rows,
        );
    }
    rows.extend(spread_row("ICL ms", "gap between token chunks", true, f.icl_s.as_ref()));
    rows.extend(spread_row(
        "tokens per chunk",
        "after the first chunk",
        false,
        f.tokens_per_chunk.as_ref(),
    ));
    rows.extend(spread_row(
        "interactivity tok/s",
        "1 / TPOT",
        false,
        f.interactivity_tokens_per_s.as_ref(),
    ));
    rows.extend(spread_row(
        "output tokens",
        match f.token_source {
            Some(TokenSource::Tokenizer) => "counted by --tokenizer",
            Some(TokenSource::ServerTokenize) => "counted by the server's /tokenize",
            Some(TokenSource::Usage) | None => "usage.completion_tokens",
        },
        false,
        f.output_tokens.as_ref(),
    ));
    rows.extend(spread_row(
        "connect ms",
        "kept apart from TTFT",
        true,
        f.connect_s.as_ref(),
    ));
    let header = ["latency", "mean", "p50", "p90", "p95", "p99", "max"];
    let mut text = explained(explain, header, rows);
    let short: Vec<String> = f.ttft.iter().flat_map(uncertified).collect();
    if !short.is_empty() {
        text.push_str(&output::paragraph(&format!("* {}", short.join("; ")), 2));
    }
    if f.mixed_ttft_kinds {
        let mixed =
            "Some answers count tokens per chunk and some do not: their latencies are no one sample and are left out.";
        text.push_str(&output::paragraph(mixed, 2));
    }
    text
}

fn throughput(f: &Figures, explain: bool) -> String {
    let Some(t) = &f.throughput else { return String::new() };
    let mut rows = Vec::new();
    let mut row = |name: &str, value: Option<f64>, unit: &str, formula: &str| {
        if let Some(value) = value {
            rows.push(vec![name.to_owned(), plain(value), unit.to_owned(), formula.to_owned()]);
        }
    };
    row(
        "window",
        Some(t.window_s),
        "s",
        "first send, or end of the ramp → last end, or end of the duration",
    );
    row(
        "requests",
        t.requests_per_s,
        "requests/s",
        "completed inside the window / its length",
    );
    row(
        "output",
        t.output_tokens_per_s,
        "tokens/s",
        "tokens that arrived inside the window / its length",
    );
    row(
        "output of completed",
        t.completed_output_tokens_per_s,
        "tokens/s",
        "Σ completion_tokens / (first send → last completion)",
    );
    row(
        "input",
        t.input_tokens_per_s,
        "tokens/s",
        "Σ prompt_tokens over the same",
    );
    row("total", t.total_tokens_per_s, "tokens/s", "input + output of completed");
    row(
        "goodput",
        t.goodput_requests_per_s,
        "requests/s",
        "completed within every objective / length of the window",
    );
    row(
        "good requests",
        t.goodput_ratio.map(|r| r * 100.0),
        "%",
        "within every objective, of all measured",
    );
    if let Some(r) = &f.rates {
        row(
            "asked rate",
            Some(r.asked_per_s),
            "requests/s",
            "mean of the arrival process",
        );
        row(
            "scheduled rate",
            r.scheduled_per_s,
            "requests/s",
            "of the arrivals that the seed gave",
        );
        row("achieved rate", r.achieved_per_s, "requests/s", "of what was sent");
    }
    explained(explain, ["throughput", "value", "unit"], rows)
}

fn gates(f: &Figures) -> String {
    let rows = f.gates.iter().map(|g| {
        let outcome = match g.outcome {
            GateOutcome::Passed => "passed",
            GateOutcome::Failed => "FAILED",
            GateOutcome::NotApplicable => "–",
        };
        vec![
            g.gate.to_string(),
            outcome.to_owned(),
            g.observed.clone(),
            g.limit.clone(),
        ]
    });
    output::table(["gate", "result", "observed", "limit"], rows.collect())
}

fn counts(f: &Figures) -> String {
    let r = &f.requests;
    let mut text = format!("{} of {} requests completed", r.completed, r.planned);
    if r.failed > 0 {
        text.push_str(&format!(", {} FAILED", r.failed));
    }
    if r.cut_off > 0 {
        text.push_str(&format!(", {} cut off", r.cut_off));
    }
    if r.never_sent > 0 {
        text.push_str(&format!(", {} never sent", r.never_sent));
    }
    if r.warm_up_completed > 0 || r.warm_up_failed > 0 {
        let (done, failed) = (r.warm_up_completed, r.warm_up_failed);
        text.push_str(&format!("; warm-up: {done} completed, {failed} failed, not measured"));
    }
    text.push('\n');
    for (reason, n) in &r.failed_by_reason {
        let example = r.examples.get(reason).map_or("", String::as_str);
        text.push_str(&output::paragraph(&format!("  {n} × {reason}: {example}"), 4));
        if let Some(helps) = r.remedies.get(reason) {
            text.push_str(&output::paragraph(&format!("    What helps: {helps}."), 4));
        }
    }
    text
}

fn table(answer: &Answer, explain: bool, given: &Command) -> String {
    let version = answer
        .engine_version
        .as_deref()
        .map(|v| format!(" {v}"))
        .unwrap_or_default();
    let mut text = String::new();
    if answer.engine_kind == EngineKind::Simulated {
        text.push_str("SIMULATED: no GPU gave these numbers.\n");
    }
    let server = format!("{}{version}, model {}, {}", answer.url, answer.model, answer.endpoint);
    text.push_str(&output::paragraph(&server, 2));
    if let Some(lengths) = &answer.lengths {
        text.push_str(&output::paragraph(&lengths.to_string(), 2));
    }
    for note in &answer.server_notes {
        text.push_str(&output::paragraph(&format!("Note: {note}"), 2));
    }
    if let Some(search) = &answer.find_max {
        text.push_str(&find_max::summary(search, answer.results.last(), given));
        return text;
    }
    for set in &answer.results {
        let kind = if answer.engine_kind == EngineKind::Simulated {
            " (SIMULATED)"
        } else {
            ""
        };
        text.push_str(&format!("\n{}{kind}\n", set.load));
        text.push_str(&counts(&set.figures));
        for note in &set.notes {
            text.push_str(&output::paragraph(&format!("Note: {note}"), 2));
        }
        // Of nothing there are no figures.
        if !set.figures.all_failed() {
            text.push_str(&latencies(&set.figures, explain));
            text.push_str(&throughput(&set.figures, explain));
        }
        if explain {
            text.push_str(&gates(&set.figures));
        }
        text.push_str(&closing::verdict(&set.figures));
    }
    text.push('\n');
    if let Some(knee) = &answer.knee {
        text.push_str(&knee::summary(knee, &answer.results));
        text.push('\n');
    }
    text.push_str(&closing::next(answer, given));
    text
}
