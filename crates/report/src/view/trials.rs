//! Failures, treatments, gates: which trials count, and why the others do not.

use super::Context;
use crate::{
    label, number,
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_findings::advice;
use servelab_schema::{
    GateOutcome, Reason, Validity,
    findings::{FailureWords, TrialFindings},
};
use std::collections::{BTreeMap, BTreeSet};

/// Variant × reason, over every trial.
pub(crate) fn failures(cx: &Context<'_>) -> Table {
    let plan = &cx.run.plan;
    let all = cx.run.findings.cells.iter();
    let reasons: BTreeSet<Reason> = all.flat_map(|c| c.failures_everywhere.keys().copied()).collect();
    let mut columns = vec![
        Column::text("Variant"),
        Column::text("Load"),
        Column::number("Completed", "requests"),
        Column::number("Failed", "requests"),
        Column::number("Failed", "% of measured requests"),
    ];
    columns.extend(reasons.iter().map(|r| Column::number(r.as_str(), "requests")));
    let mut rows = Vec::new();
    for load in &plan.loads {
        for v in &plan.variants {
            let Some(cell) = cx.run.findings.cell(&load.id, &v.id) else {
                continue;
            };
            let failed = cell.failed_everywhere();
            let share = cell.failed_ratio_everywhere().map_or_else(
                || Cell::absent("no measured request"),
                |share| Cell::number(number::share(share), share),
            );
            let tone = if failed > 0 { Tone::Warn } else { Tone::Plain };
            let mut cells = vec![
                Cell::name(v.id.to_string()),
                Cell::text(load.id.to_string()),
                Cell::count(cell.completed_everywhere),
                Cell::count(failed).tone(tone),
                share,
            ];
            let of_reason = |reason| cell.failures_everywhere.get(reason).copied().unwrap_or_default();
            cells.extend(reasons.iter().map(|reason| Cell::count(of_reason(reason))));
            rows.push(Row {
                cells,
                ..Row::default()
            });
        }
    }
    let note = "measured requests of every trial, counted or not; a failed request has no latency";
    Table {
        id: format!("{}-failures-t", cx.anchor),
        title: "Failures by reason".into(),
        note: note.into(),
        columns,
        rows,
    }
}

/// Rows of failures' words that a page shows.
const MOST_DETAILS: usize = 60;

/// What the engine or the operating system said, with the number of different answers.
pub(crate) fn failure_details(cx: &Context<'_>) -> (Table, String) {
    let mut said: BTreeMap<(&str, Reason, Option<u16>, &str), u32> = BTreeMap::new();
    for trial in &cx.run.findings.trials {
        for words in &trial.failure_words {
            let FailureWords {
                reason,
                http_status,
                detail,
                requests,
            } = words;
            *said
                .entry((trial.variant.as_str(), *reason, *http_status, detail))
                .or_default() += requests;
        }
    }
    let different = said.len();
    let mut said: Vec<_> = said.into_iter().collect();
    said.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let rows = said
        .into_iter()
        .take(MOST_DETAILS)
        .map(|((variant, reason, status, detail), n)| Row {
            cells: vec![
                Cell::name(variant),
                Cell::text(reason.as_str()),
                Cell::count(n),
                status.map_or_else(
                    || Cell::absent("no answer"),
                    |s| Cell::number(s.to_string(), f64::from(s)),
                ),
                Cell::long(detail),
            ],
            ..Row::default()
        });
    let table = Table {
        id: format!("{}-failure-details", cx.anchor),
        title: "What failed requests said".to_owned(),
        note: "the most frequent ones first".to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Reason"),
            Column::number("n", "requests"),
            Column::number("HTTP", "status"),
            Column::text("Words"),
        ],
        rows: rows.collect(),
    };
    (table, format!("{different} different ones"))
}

/// How many trials count, in a sentence.
pub(crate) fn validity_summary(cx: &Context<'_>) -> String {
    let brief = &cx.run.findings.brief;
    let again = match cx.run.findings.retakes() {
        0 => String::new(),
        1 => " One take repeats a trial that only the instrument had made invalid.".to_owned(),
        n => format!(" {n} takes repeat trials that only the instrument had made invalid."),
    };
    format!(
        "{} of {} takes are valid, {} invalid, {} aborted. An invalid take is shown with the gates that it failed and is \
         never ranked.{again}",
        brief.valid, brief.takes, brief.invalid, brief.aborted
    )
}

fn strip_anchor(cx: &Context<'_>, r: &TrialFindings) -> String {
    format!("{}-{}", cx.anchor, r.id)
}

/// Why trials do not count: one row for each variant, gate, observation and limit.
pub(crate) fn invalid(cx: &Context<'_>) -> Table {
    type Key<'k> = (usize, &'k str, &'k str, &'k str, &'k str, &'k str);
    let mut found: BTreeMap<Key<'_>, Vec<&TrialFindings>> = BTreeMap::new();
    for r in &cx.run.findings.trials {
        let place = cx.run.plan.variants.iter().take_while(|v| v.id != r.variant).count();
        let word = label::validity(&r.validity).1;
        if let Validity::Aborted { why } = &r.validity {
            // What its gates say is of whoever ended it, and not of the engine.
            found.entry((place, word, "", why, "", "")).or_default().push(r);
            continue;
        }
        for gate in r.gates.iter().filter(|g| g.outcome == GateOutcome::Failed) {
            let help = advice(gate, &r.gates).map_or("", |advice| advice.remedy);
            found
                .entry((place, word, gate.gate.as_str(), &gate.observed, &gate.limit, help))
                .or_default()
                .push(r);
        }
    }
    let rows = found
        .into_iter()
        .filter_map(|((_, _, gate, observed, limit, help), records)| {
            let first = records.first()?;
            let (icon, word, tone) = label::validity(&first.validity);
            let names: Vec<&str> = records.iter().map(|r| r.id.as_str()).collect();
            let n = u32::try_from(records.len()).unwrap_or(u32::MAX);
            Some(Row {
                cells: vec![
                    Cell::name(first.variant.to_string()),
                    Cell::text(word).icon(icon).tone(tone),
                    Cell::text(gate),
                    Cell::long(observed),
                    Cell::long(limit),
                    Cell::long(help),
                    Cell::count(n),
                    Cell::long(names.join(", ")).anchor(if n == 1 { strip_anchor(cx, first) } else { String::new() }),
                ],
                ..Row::default()
            })
        });
    Table {
        id: format!("{}-invalid", cx.anchor),
        title: "Trials that do not count".to_owned(),
        note: "one row for each variant and failed gate; trials that failed alike share it".to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Validity"),
            Column::text("Gate"),
            Column::text("Observed"),
            Column::text("Limit"),
            Column::text("What helps"),
            Column::number("n", "trials"),
            Column::text("Trials"),
        ],
        rows: rows.collect(),
    }
}

fn failed_gates(r: &TrialFindings) -> String {
    let failed = r.gates.iter().filter(|g| g.outcome == GateOutcome::Failed);
    failed.map(|g| g.gate.as_str()).collect::<Vec<_>>().join(", ")
}

fn ms_cell(ns: Option<servelab_schema::Nanos>) -> Cell {
    ns.map_or_else(
        || Cell::absent("the engine never started"),
        |ns| Cell::number(number::significant(ns.as_millis_f64(), 3), ns.as_millis_f64()),
    )
}

fn share_cell(ratio: Option<servelab_schema::Ratio>) -> Cell {
    ratio.map_or_else(
        || Cell::absent("not known"),
        |r| Cell::number(number::share(r.get()), r.get()),
    )
}

/// Every trial.
pub(crate) fn trials(cx: &Context<'_>) -> Table {
    // Of a run in one piece everybody knows its session.
    let went_on = !cx.run.manifest.sessions.is_empty();
    let rows = cx.run.findings.trials.iter().zip(&cx.run.takes).map(|(t, take)| {
        let (record, engine) = (&take.record, &take.engine);
        let session = went_on.then(|| Cell::count(record.session.get()));
        let (icon, word, tone) = label::validity(&t.validity);
        let i = record.instrument.as_ref();
        let name = Cell::name(t.id.to_string()).anchor(strip_anchor(cx, t));
        let seconds = |ns: Option<servelab_schema::Nanos>| {
            ns.map_or_else(
                || Cell::absent("never"),
                |ns| Cell::number(number::significant(ns.as_secs_f64(), 3), ns.as_secs_f64()),
            )
        };
        let hits = engine.metrics.as_ref().and_then(|m| m.prefix_cache_hit_ratio);
        let name = if t.stands {
            name
        } else {
            name.below("another take stands for this cell")
        };
        let rest = vec![
            Cell::count(t.block),
            Cell::count(t.order),
            Cell::text(t.variant.to_string()),
            Cell::text(t.load.to_string()),
            Cell::text(word).icon(icon).tone(tone),
            Cell::count(t.counts.completed),
            Cell::count(t.counts.failures()),
            seconds(record.held.map(servelab_schema::Window::length)),
            seconds(engine.startup_ns),
            ms_cell(i.map(|i| i.schedule_lag_p99_ns)),
            ms_cell(i.map(|i| i.event_loop_lag_p99_ns)),
            share_cell(i.map(|i| i.client_thread_cpu_ratio)),
            share_cell(hits),
            Cell::text(failed_gates(t)),
        ];
        Row {
            key: String::new(),
            dim: !t.stands,
            cells: [name].into_iter().chain(session).chain(rest).collect(),
        }
    });
    let session = went_on.then(|| Column::number("Session", ""));
    let rest = vec![
        Column::number("Block", ""),
        Column::number("Order", "in its block"),
        Column::text("Variant"),
        Column::text("Load"),
        Column::text("Validity"),
        Column::number("Completed", "requests"),
        Column::number("Failed", "requests"),
        Column::number("Held window", "s"),
        Column::number("Start-up", "s"),
        Column::number("Schedule lag p99", "ms").hint("sent − scheduled"),
        Column::number("Event-loop lag p99", "ms"),
        Column::number("Client CPU", "% of a core").hint("busiest client thread"),
        Column::number("Prefix-cache hits", "% of prompt tokens"),
        Column::text("Failed gates"),
    ];
    Table {
        id: format!("{}-trials", cx.anchor),
        title: "Every trial".to_owned(),
        note: "times are engine time; lags are the client's own errors, multiplied by the time scale".to_owned(),
        columns: [Column::text("Trial")].into_iter().chain(session).chain(rest).collect(),
        rows: rows.collect(),
    }
}
