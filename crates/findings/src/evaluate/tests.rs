//! What must hold of every run: small ones are made up and evaluated.

use crate::{
    Row, Scope, Trial, evaluate, rows,
    testkit::{
        completed, content_only, engine, environment, failed, load_id, plan, prompt, record, reduce, trial, vid,
    },
};
use proptest::prelude::*;
use serde_json::{Map, Value};
use servelab_random::SplitMix64;
use servelab_schema::{
    Bucket, Completion, EffectiveField, EngineRecord, MetricName, Nanos, Outcome, Plan, PlannedBlock, PlannedTrial,
    Reason, RunEnd, RunId, Slo, Task, TelemetrySample, Trace, TrialEnd, TrialInstant, TrialRecord, VariantId,
    canonical_json, examples,
    findings::{
        Acceptance, ArmQuality, BucketQuantile, CellFindings, Certification, Claim, Comparison, DescribedMetric,
        Descriptive, EngineTimes, Findings, Hindrance, OrInfinite, OverBlocks, PooledQuantile, PooledRequests,
        Quantile, VariantFindings, Verdict, Withheld, WorseBy,
    },
};

const PROMPTS: u64 = 12;

/// C4 is a setting on top of C2, the others are each one against the baseline.
fn planned() -> Plan {
    let mut plan = plan(&[("C2", "C1"), ("C3", "C1"), ("C4", "C2")]);
    let of = |i: u64| {
        let (task, bucket) = if i.is_multiple_of(3) {
            (Task::Dialogue, Bucket::L)
        } else {
            (Task::Qa, Bucket::S)
        };
        let mut prompt = prompt(&format!("p{i}"), task, bucket);
        prompt.answer = i.is_multiple_of(2).then(|| "yes".to_owned());
        prompt
    };
    plan.prompts.prompts = (0..PROMPTS).map(of).collect();
    plan.slo = Slo {
        ttft_ns: Some(Nanos::from_millis(120)),
        ..Slo::default()
    };
    plan
}

fn with_text(trace: Trace, text: &str) -> Trace {
    let outcome = match trace.outcome {
        Outcome::Completed(c) => Outcome::Completed(Completion::with_text(c, Some(text.to_owned()))),
        failed @ Outcome::Failed(_) => failed,
    };
    Trace {
        outcome,
        connect_ns: Nanos::from_millis(1),
        ..trace
    }
}

/// One take; now and then a request fails, and then the trial is Invalid.
fn take(plan: &Plan, rng: &mut SplitMix64, variant: &VariantId, block: u32, take: u32) -> Trial {
    let mut below = |n: u64| rng.next_u64() % n;
    let traces: Vec<Trace> = (0..PROMPTS)
        .map(|i| {
            let (name, sent) = (format!("p{i}"), i * 500);
            if below(100) == 0 {
                return failed(&name, sent, Reason::Stalled);
            }
            let first = u32::try_from(1 + below(2)).unwrap();
            let trace = completed(&name, sent, 80 + below(60), first, &[(10 + below(20), 2), (15, 1)]);
            with_text(trace, if below(3) == 0 { "no" } else { "yes" })
        })
        .collect();
    let mut record = TrialRecord {
        take,
        order: u32::try_from(1 + below(9)).unwrap(),
        ..record(variant.as_str(), block)
    };
    record.id = servelab_schema::TrialId::new(format!("b{block:02}-{variant}-c8-t{take}")).unwrap();
    for trace in &traces {
        record.counts.planned += 1;
        match &trace.outcome {
            Outcome::Completed(_) => record.counts.completed += 1,
            Outcome::Failed(f) => *record.counts.failed.entry(f.reason).or_default() += 1,
        }
    }
    let dtype = if ["C2", "C4"].contains(&variant.as_str()) {
        "fp8"
    } else {
        "auto"
    };
    let engine = EngineRecord {
        effective: [("kv_cache_dtype".to_owned(), EffectiveField::setting(dtype))].into(),
        metrics: Some(examples::engine_metrics()),
        startup_ns: Some(Nanos::from_millis(900 + below(100))),
        ..engine(variant.as_str(), block)
    };
    let sample = |s: u64| TelemetrySample {
        t_ns: TrialInstant::from_secs(s),
        ..examples::telemetry()
    };
    let telemetry: Vec<TelemetrySample> = (0..=10).map(sample).collect();
    reduce(plan, record, engine, &telemetry, &traces)
}

/// Every variant in every block, and one trial of block 1 taken again.
fn run(plan: &Plan, seed: u64, blocks: u32) -> Vec<Trial> {
    let mut rng = SplitMix64::new(seed);
    let mut trials = Vec::new();
    for block in 1..=blocks {
        for variant in &plan.variants {
            trials.push(take(plan, &mut rng, &variant.id, block, 1));
        }
    }
    trials.push(take(plan, &mut rng, &vid("C3"), 1, 2));
    trials
}

fn findings(plan: &Plan, trials: Vec<Trial>) -> Findings {
    evaluate(
        plan,
        &environment(),
        (&RunId::new("r").unwrap(), &RunEnd::Complete),
        trials,
    )
}

/// What of a cell rests on its own trials: what its answers are held against, and what a whole family adjusts, does not.
fn own_cell(cell: &CellFindings) -> CellFindings {
    CellFindings {
        quality: ArmQuality {
            against: Vec::new(),
            ..cell.quality.clone()
        },
        ..cell.clone()
    }
}

/// What of a comparison rests on its own arms.
fn own_comparison(c: &Comparison) -> String {
    canonical_json(&(
        c.k,
        &c.blocks,
        &c.lost,
        c.estimate.map(|e| (e.effect_percent, e.interval_percent)),
    ))
    .unwrap()
}

fn involves(c: &Comparison, id: &VariantId) -> bool {
    c.variant == *id || c.control.arms().any(|arm| arm == id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn order_of_the_trials_does_not_matter(seed: u64, blocks in 1_u32..4, turn in 0_usize..20, back: bool) {
        let plan = planned();
        let mut other = run(&plan, seed, blocks);
        let turn = turn % other.len();
        other.rotate_left(turn);
        if back {
            other.reverse();
        }
        let forward = canonical_json(&findings(&plan, run(&plan, seed, blocks))).unwrap();
        prop_assert_eq!(canonical_json(&findings(&plan, other)).unwrap(), forward);
    }

    #[test]
    fn findings_survive_writing_and_reading(seed: u64, blocks in 1_u32..4) {
        let plan = planned();
        let text = canonical_json(&findings(&plan, run(&plan, seed, blocks))).unwrap();
        let back: Findings = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(canonical_json(&back).unwrap(), text);
    }

    /// A variant depends on the dropped trial where that is its own or its control's: both arms' starts decide whether its
    /// setting took effect. A comparison depends where the trial's variant is one of its arms. Nothing else may change but
    /// what is said of families (adjusted p, the words that rest on them) and of the whole run.
    #[test]
    fn dropping_a_trial_changes_only_what_depends_on_it(seed: u64, blocks in 2_u32..4, which in 0_usize..20) {
        let plan = planned();
        let mut rest = run(&plan, seed, blocks);
        let dropped = rest.remove(which % rest.len()).record;
        let (before, after) = (findings(&plan, run(&plan, seed, blocks)), findings(&plan, rest));
        let depends = |id: &VariantId| {
            let control = plan.variant(id).and_then(|v| v.control.as_ref());
            *id == dropped.variant || control == Some(&dropped.variant)
        };
        for b in before.trials.iter().filter(|t| t.id != dropped.id) {
            let a = after.trials.iter().find(|t| t.id == b.id).unwrap();
            prop_assert_eq!((&a.metrics, &a.groups, &a.timeline), (&b.metrics, &b.groups, &b.timeline));
            if !depends(&b.variant) {
                prop_assert_eq!(a, b);
            }
        }
        prop_assert_eq!(after.trials.len() + 1, before.trials.len());
        let of_others = |f: &Findings| -> Vec<VariantFindings> {
            f.variants.iter().filter(|v| !depends(&v.variant)).cloned().collect()
        };
        prop_assert_eq!(of_others(&after), of_others(&before));
        let cells = |f: &Findings| -> Vec<CellFindings> {
            f.cells.iter().filter(|c| !depends(&c.variant)).map(own_cell).collect()
        };
        prop_assert_eq!(cells(&after), cells(&before));
        // Everything depends on whether the run is Suspect.
        prop_assume!(!before.study.suspect && !after.study.suspect);
        let untouched = |f: &Findings| -> Vec<String> {
            let others = f.study.comparisons.iter().filter(|c| !involves(c, &dropped.variant) && !depends(&c.variant));
            others.map(own_comparison).collect()
        };
        prop_assert_eq!(untouched(&after), untouched(&before));
    }
}

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

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
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

#[test]
fn a_trial_is_executed_once_however_often_it_was_taken_and_not_at_all_where_it_was_cut_off() {
    let mut plan = planned();
    let trial = |(order, variant): (u32, &VariantId)| PlannedTrial {
        order,
        variant: variant.clone(),
        load: load_id(),
    };
    let block = |block| PlannedBlock {
        block,
        seed: 1,
        prompts: Vec::new(),
        trials: (1..).zip(plan.variants.iter().map(|v| &v.id)).map(trial).collect(),
    };
    plan.blocks = [1, 2].map(block).to_vec();
    let of_block_2 = |ends: &[TrialEnd]| {
        let mut rng = SplitMix64::new(5);
        let mut trials = run(&plan, 4, 1);
        for (n, end) in (1..).zip(ends) {
            let mut cut_off = take(&plan, &mut rng, &vid("C1"), 2, n);
            cut_off.record.end = end.clone();
            trials.push(cut_off);
        }
        findings(&plan, trials)
    };
    let cut_off = || TrialEnd::Interrupted { why: "SIGINT".into() };
    let found = of_block_2(&[cut_off()]);
    assert_eq!(
        found.brief.takes, 7,
        "five trials, one of them again, and one that was cut off"
    );
    assert_eq!((found.run.trials_executed, found.run.trials_planned), (5, 10));
    let found = of_block_2(&[cut_off(), TrialEnd::Finished]);
    assert_eq!((found.brief.takes, found.run.trials_executed), (8, 6));
}

/// What a trial describes reaches its cell: every single value, and four statistics of every summary.
#[test]
fn everything_described_of_a_trial_reaches_its_cell() {
    let plan = planned();
    let findings = findings(&plan, run(&plan, 4, 2));
    let cell = findings.cells.iter().find(|c| c.blocks > 0).unwrap();
    let trial = findings
        .trials
        .iter()
        .find(|t| t.variant == cell.variant && t.counts())
        .unwrap();
    let described = fields(serde_json::to_value(trial.metrics.as_ref().unwrap().descriptive).unwrap());
    let summaries = described.values().filter(|v| v.is_object()).count();
    // Both sums are the cell's own, and the total throughput is a compared metric.
    let single = described.len() - summaries - 3;
    assert_eq!(cell.described.len(), single + 4 * summaries);
    assert!(cell.prompt_tokens_total > 0 && cell.completion_tokens_total > 0);
    assert!(cell.over_blocks.contains_key(&MetricName::TotalThroughput));
    let all = rows(&findings);
    for d in &cell.described {
        let of_cell = |r: &&Row| r.scope == Scope::Cell && r.variant == cell.variant && r.task.is_none();
        let row = all
            .iter()
            .filter(of_cell)
            .find(|r| r.metric == d.metric.as_str() && r.statistic == d.statistic.as_str());
        assert_eq!(
            row.and_then(|r| r.value),
            Some(d.over_blocks.mean),
            "{:?} {:?}",
            d.metric,
            d.statistic
        );
    }
    let quantiles = |q: &Quantile| all.iter().any(|r| r.scope == Scope::Cell && r.n == u64::from(q.n));
    assert!(
        cell.latencies
            .iter()
            .flat_map(|d| &d.quantiles)
            .all(|q| quantiles(&q.success_only))
    );
}

#[test]
fn first_tokens_and_first_texts_of_a_cell_have_no_mean() {
    let plan = plan(&[]);
    let of = |block: u32, trace: Trace| trial(&plan, "C1", block, &vec![trace; 10]);
    let tokens = || of(1, completed("p0", 0, 100, 1, &[(20, 1)]));
    let check = |second: Trial, has_means: bool| {
        let found = findings(&plan, vec![tokens(), second]);
        let cell = found.cell(&load_id(), &vid("C1")).unwrap();
        assert_eq!(cell.blocks, 2);
        assert_eq!(cell.over_blocks.contains_key(&MetricName::TtftMean), has_means);
        assert_eq!(
            cell.described.iter().any(|d| d.metric == DescribedMetric::Ntpot),
            has_means
        );
        assert!(cell.over_blocks.contains_key(&MetricName::RequestThroughput));
    };
    check(of(2, completed("p0", 0, 100, 1, &[(20, 1)])), true);
    check(of(2, content_only("p0", 0, 100, 2)), false);
}
