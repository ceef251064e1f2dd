//! A re-run for pages of CI.

use crate::report::{RerunReport, RunShown, effect, side, why};
use std::fmt::Write;

/// The answer as Markdown: a heading, a sentence, one row a question, and the runs that it rests on.
#[must_use]
pub fn markdown(report: &RerunReport) -> String {
    let simulated = if report.is_simulated() { " (SIMULATED)" } else { "" };
    let mut out = format!(
        "## Pinned re-run `{}`{simulated}: {}\n\n",
        report.pin,
        report.answer.as_str()
    );
    let _ = writeln!(out, "{}.\n", cell(&report.sentence()));
    let _ = writeln!(
        out,
        "{}, margin ±{} %. *Absolute*: the cell then and now. *Relative*: its effect over its control then and now, which a slower machine does \
         not move.\n",
        report.metric, report.delta_percent
    );
    out.push_str("| variant | load | question | pinned | now | change | p, adjusted | answer | why |\n");
    out.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |\n");
    for settled in &report.questions {
        let change = settled.decisive();
        let p = change
            .estimate
            .map_or_else(|| "–".to_owned(), |e| format!("{:.2}", e.p_adjusted));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {p} | {} | {} |",
            change.variant,
            change.load,
            change.of,
            side(change, &change.old),
            side(change, &change.new),
            effect(change),
            settled.answer.as_str(),
            cell(&why(settled))
        );
    }
    out.push('\n');
    for (what, run) in [
        ("pinned", Some(&report.pinned)),
        ("re-run", Some(&report.run)),
        ("suspects again", report.again.as_ref()),
    ] {
        if let Some(run) = run {
            let _ = writeln!(out, "- {what}: {}", run_words(run));
        }
    }
    if report.is_simulated() {
        out.push_str("\nSIMULATED: no GPU gave these numbers.\n");
    }
    out
}

fn run_words(run: &RunShown) -> String {
    let versions = if run.engine_versions.is_empty() {
        String::new()
    } else {
        format!(", engine {}", cell(&run.engine_versions.join(", ")))
    };
    format!("`{}`, fingerprint `{}`{versions}", run.run_id, run.fingerprint.short())
}

/// A text that stays in its cell, whatever an engine said.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '`' | '<' | '>' | '[' | ']' | '\\' | '*' | '_' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
