//! Every number of a run is laid out as a row, or is on a short list of those that are not.

use super::*;

/// Gives every number of a JSON value another value, none of them twice.
fn distinct(value: &mut Value, next: &mut u32) {
    match value {
        Value::Number(_) => {
            *next += 1;
            *value = Value::from(*next);
        }
        Value::Object(fields) => fields.values_mut().for_each(|v| distinct(v, next)),
        Value::Array(list) => list.iter_mut().for_each(|v| distinct(v, next)),
        _ => {}
    }
}

/// Every number of a trial's metrics is in some row of that trial: as its value, or as the n beside one.
#[test]
fn every_metric_of_a_trial_has_a_row() {
    let plan = planned();
    let mut findings = findings(&plan, run(&plan, 4, 1));
    let trial = findings.trials.iter_mut().find(|t| t.counts()).unwrap();
    let id = trial.id.clone();
    let metrics = trial.metrics.as_mut().unwrap();
    let mut descriptive = serde_json::to_value(metrics.descriptive).unwrap();
    let empty: Vec<_> = fields(descriptive.clone())
        .into_iter()
        .filter(|(_, v)| v.is_null())
        .collect();
    assert!(empty.is_empty(), "the made-up run must show every field: {empty:?}");
    distinct(&mut descriptive, &mut 1000);
    metrics.descriptive = serde_json::from_value::<Descriptive>(descriptive.clone()).unwrap();
    // It is a metric of its own, and there it has its row.
    let total = metrics.descriptive.total_throughput_tokens_per_s.unwrap();
    metrics.values.get_mut(&MetricName::TotalThroughput).unwrap().value = total;
    let metrics = metrics.clone();
    let all = rows(&findings);
    let of_trial: Vec<&Row> = all
        .iter()
        .filter(|r| r.scope == Scope::Trial && r.trial.as_ref() == Some(&id))
        .collect();
    let shown = |x: f64| {
        of_trial
            .iter()
            .any(|r| r.value.is_some_and(|v| v.total_cmp(&x).is_eq()))
    };
    for (field, value) in fields(descriptive) {
        match value {
            Value::Object(summary) => {
                for (part, value) in summary {
                    let x = value.as_f64().unwrap();
                    let n = value.as_u64().is_some_and(|n| of_trial.iter().any(|r| r.n == n));
                    assert!(
                        if part == "n" { n } else { shown(x) },
                        "{field}: no row shows its {part}"
                    );
                }
            }
            // Who counted is no number.
            Value::String(_) => assert_eq!(field, "token_source"),
            value => assert!(shown(value.as_f64().unwrap()), "no row shows {field}"),
        }
    }
    for (name, value) in &metrics.values {
        let row = of_trial.iter().find(|r| r.metric == name.as_str()).unwrap();
        assert_eq!((row.value, row.n), (Some(value.value), u64::from(value.n)), "{name}");
        let failures = metrics.with_failures.get(name);
        assert_eq!(row.with_failures, failures.and_then(|f| f.finite()), "{name}");
    }
}

#[test]
fn every_figure_of_a_gate_has_a_row() {
    let plan = planned();
    let findings = findings(&plan, run(&plan, 4, 2));
    let all = rows(&findings);
    let of_gates: Vec<&Row> = all.iter().filter(|r| r.scope == Scope::Gate).collect();
    let mut figures = 0;
    for trial in &findings.trials {
        for gate in &trial.gates {
            for figure in &gate.figures {
                let name = (gate.gate.as_str(), figure.name.as_str());
                let is_its =
                    |r: &&&Row| (r.metric.as_ref(), r.statistic) == name && r.trial.as_ref() == Some(&trial.id);
                let row = of_gates.iter().find(is_its).unwrap();
                assert_eq!(
                    (row.value, row.at_least, row.at_most, row.unit),
                    (
                        Some(figure.value),
                        figure.at_least,
                        figure.at_most,
                        figure.unit.as_str()
                    ),
                    "{name:?}"
                );
                assert_eq!((&row.variant, &row.load), (&trial.variant, &trial.load));
                figures += 1;
            }
        }
    }
    assert_eq!(of_gates.len(), figures, "a row each");
    assert!(figures > 10 * findings.trials.len(), "{figures}");
}

/// Every number of a finding with the names that lead to it, places in lists left out; none where it is null.
fn numbers(value: &Value, path: &str, out: &mut Vec<(String, Option<f64>)>) {
    match value {
        Value::Number(n) => out.push((path.to_owned(), n.as_f64())),
        Value::Null => out.push((path.to_owned(), None)),
        Value::Array(list) => list.iter().for_each(|v| numbers(v, path, out)),
        Value::Object(fields) => {
            for (name, v) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                numbers(v, &format!("{path}{dot}{name}"), out);
            }
        }
        Value::Bool(_) | Value::String(_) => {}
    }
}

/// True where a row has this number in any place.
fn shows(row: &Row, x: f64) -> bool {
    let ends = row.interval.map(|i| [i.low, i.high]);
    let numbers = [
        row.value,
        row.certified_bound,
        row.with_failures,
        row.p,
        row.p_adjusted,
        row.p_sign_flip,
        Some(crate::num::count(row.n)),
    ];
    let mut all = numbers.into_iter().flatten().chain(ends.into_iter().flatten());
    all.any(|v| v.total_cmp(&x).is_eq())
}

/// Gives every number of a finding another value, none of which is the sum of others.
fn told_apart(mut finding: Value) -> Value {
    distinct(&mut finding, &mut 10_000);
    finding
}

/// Asserts that every number is in some row, and that none of `no_row` is: names of numbers, and of what holds several.
fn check_rows(finding: &Value, rows: &[&Row], no_row: &[&str]) {
    let mut all = Vec::new();
    numbers(finding, "", &mut all);
    assert!(all.len() > 10, "{all:?}");
    for (path, number) in all {
        let excused = no_row.iter().any(|name| {
            path.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let shown = number.is_some_and(|x| rows.iter().any(|row| shows(row, x)));
        assert_eq!(shown, !excused, "{path}: {number:?}");
    }
}

/// Every number of a comparison is in some row, whatever its word; its word, reason and caveat are in the effect's row alone.
#[test]
fn every_number_of_a_comparison_has_a_row() {
    let plan = planned();
    let mut findings = findings(&plan, run(&plan, 4, 6));
    let not_comparable = |why| Verdict::NotComparable { why };
    for (verdict, word) in [
        (
            Verdict::NoEvidence {
                blocks_to_show: Some(1),
                withheld: Some(Withheld::AaUnknown),
            },
            "no-evidence",
        ),
        (
            not_comparable(Hindrance::LostToEngine {
                would_be: Claim::Better,
                blocks: 1,
            }),
            "not-comparable",
        ),
        (
            not_comparable(Hindrance::NotCertifiable { requests: 1, needs: 1 }),
            "not-comparable",
        ),
    ] {
        let c = &mut findings.study.comparisons[0];
        c.requests = Some(PooledRequests { variant: 1, control: 1 });
        (c.verdict, c.indicative) = (verdict, true);
        let value = told_apart(serde_json::to_value(&*c).unwrap());
        *c = serde_json::from_value(value.clone()).unwrap();
        let c = c.clone();
        let all = rows(&findings);
        let of = |r: &&Row| {
            r.scope == Scope::Comparison
                && (&r.load, &r.variant, &*r.metric) == (&c.load, &c.variant, c.metric.as_str())
                && r.control == Some(c.control.to_string())
        };
        let of: Vec<&Row> = all.iter().filter(of).collect();
        // The requests are the fewer of those that have rows. Single blocks are in findings.json alone.
        let no_row = ["blocks", "lost", "verdict.not-comparable.why.not-certifiable.requests"];
        check_rows(&value, &of, &no_row);
        for row in of {
            let is_effect = row.statistic == "effect";
            assert_eq!(row.verdict, Some(word).filter(|_| is_effect), "{row:?}");
            assert_eq!(
                (row.reason.is_some(), row.indicative),
                (is_effect, is_effect),
                "{row:?}"
            );
            assert!(row.primary && !row.unit.is_empty() && !row.n_of.is_empty(), "{row:?}");
        }
    }
}

#[test]
fn a_reason_is_written_as_in_the_findings() {
    let mut findings = examples::findings();
    let mut reason = |verdict: Verdict| -> Option<&'static str> {
        findings.study.comparisons[0].verdict = verdict;
        let all = rows(&findings);
        all.iter().find(|r| r.scope == Scope::Comparison)?.reason
    };
    let hindrances = [
        Hindrance::NoTrial,
        Hindrance::NoBlock,
        Hindrance::FirstTokens {
            variant: None,
            control: None,
        },
        Hindrance::LostToEngine {
            would_be: Claim::Better,
            blocks: 1,
        },
        Hindrance::NotCertifiable { requests: 1, needs: 2 },
        Hindrance::AmongFailures,
    ];
    let reasons = [
        Withheld::Suspect,
        Withheld::AaUnknown,
        Withheld::AaBeyondDelta,
        Withheld::Descriptive,
    ];
    let open = |withheld| Verdict::NoEvidence {
        blocks_to_show: None,
        withheld,
    };
    let verdicts = [WorseBy::Effect, WorseBy::LostBlocks]
        .map(|by| Verdict::Worse { by })
        .into_iter()
        .chain(reasons.map(|why| open(Some(why))))
        .chain(hindrances.map(|why| Verdict::NotComparable { why }));
    for verdict in verdicts {
        let words = canonical_json(&verdict).unwrap();
        let reason = reason(verdict).unwrap();
        assert!(words.contains(&format!("\"{reason}\"")), "{reason} is not in {words}");
    }
    for verdict in [Verdict::Better, Verdict::Equivalent, open(None)] {
        assert_eq!(reason(verdict), None);
    }
}

#[test]
fn every_number_of_an_aa_result_has_a_row() {
    let plan = planned();
    let mut findings = findings(&plan, run(&plan, 4, 6));
    for (within, word) in [(true, "within-delta"), (false, "beyond-delta")] {
        let a = &mut findings.study.aa[0];
        a.within_delta = Some(within);
        let value = told_apart(serde_json::to_value(&*a).unwrap());
        *a = serde_json::from_value(value.clone()).unwrap();
        let a = a.clone();
        let all = rows(&findings);
        let of = |r: &&Row| r.scope == Scope::Aa && r.variant == a.variant && r.metric == a.metric.as_str();
        let of: Vec<&Row> = all.iter().filter(of).collect();
        // An A/A result is not adjusted.
        let no_row = ["blocks", "lost", "estimate.p_adjusted", "estimate.p_tost_adjusted"];
        check_rows(&value, &of, &no_row);
        assert!(of.iter().any(|r| r.verdict.is_some() && r.reason == Some(word)));
    }
}

/// Fills in what the made-up engine and machine do not tell, and has every percentile certified.
fn complete(cell: &mut CellFindings) {
    let once = OverBlocks {
        mean: 1.0,
        low: 1.0,
        high: 1.0,
        n: 1,
    };
    let bucket = BucketQuantile {
        point_s: Some(1.0),
        low_s: 1.0,
        high_s: Some(1.0),
    };
    let times = EngineTimes {
        n: 1,
        mean_s: 1.0,
        p50: Some(bucket),
        p95: Some(bucket),
    };
    let e = &mut cell.engine;
    for of in [
        &mut e.ttft,
        &mut e.queue,
        &mut e.prefill,
        &mut e.decode,
        &mut e.itl,
        &mut e.e2e,
    ] {
        *of = Some(times);
    }
    e.speculation = Some(Acceptance {
        drafts: Some(1),
        draft_tokens: 1,
        accepted_tokens: 1,
        ratio: Some(1.0),
        per_position: vec![0.8, 0.3],
    });
    let o = &mut cell.outside;
    (o.client_s, o.engine_s, o.outside_s) = (Some(once), Some(once), Some(once));
    cell.gpu.as_mut().unwrap().memory_headroom_bytes = Some(1);
    cell.failures_everywhere.insert(Reason::Stalled, 1);
    let certify = |q: &mut PooledQuantile| {
        q.with_failures = OrInfinite::Finite(1.0);
        q.success_only.certified = Certification::Certified {
            bound: OrInfinite::Finite(1.0),
            rank_from_top: 1,
        };
    };
    let distributions = cell.latencies.iter_mut();
    distributions.flat_map(|d| &mut d.quantiles).for_each(certify);
    for d in cell.groups.iter_mut().flat_map(|g| &mut g.latencies) {
        // A group certifies its median only.
        d.quantiles.truncate(1);
        d.quantiles.iter_mut().for_each(certify);
    }
}

/// Numbers of a cell that are no rows: curves; what is counted again in another way; what only says of what a row is.
const NO_ROW_OF_A_CELL: &[&str] = &[
    "blocks",
    "left_out",
    "failures",
    "completed_everywhere",
    "latencies.ecdf",
    "latencies.failed",
    "latencies.quantiles.success_only.p",
    "latencies.quantiles.success_only.certified.certified.rank_from_top",
    "latencies.summary_s.sd",
    "latencies.summary_s.min",
    "latencies.summary_s.p50",
    "latencies.summary_s.p90",
    "latencies.summary_s.p95",
    "latencies.summary_s.p99",
    "latencies.summary_s.max",
    "groups.completed",
    "groups.failed",
    "groups.latencies.failed",
    "groups.latencies.quantiles.success_only.p",
    "groups.latencies.quantiles.success_only.certified.certified.rank_from_top",
    "groups.latencies.summary_s",
    "quality.trials",
    "quality.answers.hits",
    "quality.against.same_text.hits",
    "quality.against.same_text_of_copy",
    "quality.against.answers.only_variant",
    "quality.against.answers.only_control",
    "quality.against.length.n",
    "engine.speculation.accepted_tokens",
    "outside.trials",
    "outside.requests",
    "outside.why_not",
];

#[test]
fn every_number_of_a_cell_has_a_row() {
    let plan = planned();
    let mut findings = findings(&plan, run(&plan, 4, 6));
    let cell = findings.cells.iter_mut().find(|c| c.variant == vid("C2")).unwrap();
    complete(cell);
    let value = told_apart(serde_json::to_value(&*cell).unwrap());
    *cell = serde_json::from_value(value.clone()).unwrap();
    let cell = cell.clone();
    let all = rows(&findings);
    let scopes = [Scope::Cell, Scope::Failures];
    let of = |r: &&Row| scopes.contains(&r.scope) && (&r.load, &r.variant) == (&cell.load, &cell.variant);
    let of: Vec<&Row> = all.iter().filter(of).collect();
    check_rows(&value, &of, NO_ROW_OF_A_CELL);
}
