//! What must hold of every run: small ones are made up and evaluated.

mod row_coverage;

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
    Bucket, Check, CheckResult, Completion, EffectiveField, EngineRecord, MetricName, Nanos, Outcome, Plan,
    PlannedBlock, PlannedTrial, Reason, RunEnd, RunId, Slo, Task, TelemetrySample, Trace, Treatment, TrialEnd,
    TrialInstant, TrialRecord, VariantId, canonical_json, examples,
    findings::{
        Acceptance, ArmQuality, BucketQuantile, CellFindings, Certification, Claim, Comparison, DescribedMetric,
        Descriptive, EngineTimes, Findings, Hindrance, Note, OrInfinite, OverBlocks, PooledQuantile, PooledRequests,
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

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
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

#[test]
fn a_trial_is_executed_once_however_often_it_was_taken_and_not_at_all_where_it_was_cut_off() {
    let mut plan = planned();
    let trial = |(order, variant): (u32, &VariantId)| PlannedTrial {
        prompts: None,
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

#[test]
fn stale_connections_are_said_above_one_request_in_a_hundred() {
    let plan = planned();
    let noted = |stale: u32| {
        let mut trials = run(&plan, 4, 2);
        let of: u32 = trials.iter().map(|t| t.record.counts.planned).sum();
        let first = trials[0].record.instrument.as_mut().unwrap();
        first.stale_connections = stale;
        let notes = findings(&plan, trials).study.notes;
        (notes.contains(&Note::StaleConnections { requests: stale, of }), of)
    };
    let (_, of) = noted(0);
    assert_eq!(
        [0, of / 100, of / 100 + 1].map(|stale| noted(stale).0),
        [false, false, true]
    );
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
    // Both sums are the cell's own, the total throughput is a compared metric, and who counted is no number.
    let single = described.len() - summaries - 4;
    assert_eq!(cell.described.len(), single + 4 * summaries);
    assert!(cell.prompt_tokens_total > Some(0) && cell.completion_tokens_total > Some(0));
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

#[test]
fn a_start_that_never_served_hides_no_refusal_and_leaves_no_caveat() {
    let plan = planned();
    let mut rng = SplitMix64::new(7);
    let mut trials = run(&plan, 7, 2);
    // It died before it served; where the words are about the setting, that refused it.
    let mut dead = |variant: &str, block: u32, refusal: Option<&str>| {
        let served = take(&plan, &mut rng, &vid(variant), block, 1);
        let record = TrialRecord {
            span: None,
            held: None,
            ..served.record
        };
        let engine = EngineRecord {
            checks: Vec::new(),
            effective: std::collections::BTreeMap::new(),
            refusal: refusal.map(str::to_owned),
            ..served.engine
        };
        reduce(&plan, record, engine, &[], &[])
    };
    let refused = [dead("C2", 1, Some("no such dtype")), dead("C2", 2, None)];
    trials.retain(|t| t.record.variant != vid("C2"));
    trials.extend(refused);
    let found = findings(&plan, trials);
    let c2 = found.variant(&vid("C2")).unwrap();
    assert_eq!((c2.void, c2.unobserved), (Some(Treatment::Rejected), false));

    // Now its setting was seen at work in the start that served.
    let mut trials = run(&plan, 7, 2);
    let checked = |trial: &mut Trial| {
        trial.engine.checks = vec![Check {
            expected: "effective kv_cache_dtype = fp8".to_owned(),
            found: Some("fp8".to_owned()),
            result: CheckResult::Found,
            field: Some("kv_cache_dtype".to_owned()),
            told: false,
        }];
    };
    trials.retain(|t| (t.record.variant.as_str(), t.record.block) != ("C2", 2));
    trials
        .iter_mut()
        .filter(|t| t.record.variant == vid("C2"))
        .for_each(checked);
    trials.push(dead("C2", 2, None));
    let found = findings(&plan, trials);
    let c2 = found.variant(&vid("C2")).unwrap();
    let seen: Vec<Treatment> = c2.observed.iter().map(|o| o.treatment).collect();
    assert!(seen.contains(&Treatment::Unobservable), "{seen:?}");
    assert_eq!((c2.void, c2.unobserved), (None, false));
}
