use super::*;
use crate::testkit::{completed, content_only, failed, plan, prompt, record};
use servelab_schema::{GateName, TrialRecord, Validity};
use servelab_stats::Certification;

fn options() -> PooledOptions {
    PooledOptions {
        resamples: 200,
        ecdf_points: 100,
    }
}

/// One block of `n` requests with TTFTs of 1, 2, … n ms above `base` ms.
fn block(n: u64, base: u64) -> Vec<Trace> {
    (1..=n)
        .map(|i| completed(if i % 2 == 0 { "a" } else { "b" }, i, base + i, 1, &[(10, 1)]))
        .collect()
}

fn pool(trials: &[(TrialRecord, Vec<Trace>)]) -> Vec<PooledArm> {
    let mut plan = plan(&[("C2", "C1")]);
    plan.prompts.prompts = vec![prompt("a", Task::Qa, Bucket::S), prompt("b", Task::Dialogue, Bucket::L)];
    let data: Vec<TrialData<'_>> = trials
        .iter()
        .map(|(record, traces)| TrialData {
            plan: &plan,
            record,
            traces,
        })
        .collect();
    pooled(&plan, &data, &options())
}

#[test]
fn blocks_are_pooled_and_tails_certified() {
    let trials: Vec<_> = (1..=10).map(|b| (record("C1", b), block(70, 100))).collect();
    let arms = pool(&trials);
    assert_eq!(arms.len(), 1);
    let arm = &arms[0];
    assert_eq!((arm.blocks, arm.left_out, arm.completed), (10, 0, 700));
    let ttft = &arm.latencies[0];
    let [p50, p90, _, p99] = ttft.quantiles[..] else {
        panic!("four quantiles")
    };
    assert!((p50.success_only.point - 0.1355).abs() < 1e-9);
    assert!(p99.success_only.certified.is_certified() && p90.success_only.certified.is_certified());
    let interval = p50.block_interval.unwrap();
    // Every block is the same, so resampling blocks changes (almost) nothing.
    assert!((interval.high - interval.low).abs() < 1e-3);
    assert_eq!(ttft.ecdf.len(), 70);
    assert!((ttft.ecdf[69].1 - 1.0).abs() < 1e-12);
    let groups: Vec<_> = arm
        .groups
        .iter()
        .map(|g| (g.task, g.bucket, g.completed, g.latencies.len()))
        .collect();
    assert_eq!(
        groups,
        [(Task::Qa, Bucket::S, 350, 3), (Task::Dialogue, Bucket::L, 350, 3)]
    );
    assert_eq!(
        arm.groups[0].latencies[0].quantiles[3].success_only.certified,
        Certification::NotCertifiable { needs: 662 }
    );
}

#[test]
fn failures_are_counted_and_reach_the_tail() {
    let mut traces = block(90, 100);
    traces.extend((0..10).map(|i| failed("a", 1000 + i, Reason::Stalled)));
    let arms = pool(&[(record("C1", 1), traces)]);
    let ttft = &arms[0].latencies[0];
    assert_eq!(arms[0].failures, [(Reason::Stalled, 10)].into());
    assert_eq!(
        (ttft.failed, ttft.quantiles[2].with_failures),
        (10, OrInfinite::Infinite)
    );
    // 100 requests certify p90, and its bound is a failed one; the median's bound is a value.
    let bound = |i: usize| match ttft.quantiles[i].success_only.certified {
        Certification::Certified { bound, .. } => bound,
        Certification::NotCertifiable { .. } => panic!("{i}"),
    };
    assert_eq!(bound(1), OrInfinite::Infinite);
    assert!(bound(0).finite().is_some());
    assert!(ttft.quantiles[0].with_failures.finite().unwrap() > ttft.quantiles[0].success_only.point);
    assert!(
        (ttft.ecdf.last().unwrap().1 - 0.9).abs() < 1e-12,
        "the curve ends where the failures begin"
    );
    assert_eq!(ttft.quantiles[0].block_interval, None, "one block has no interval");
    assert_eq!(arms[0].groups[0].failed, 10);
}

#[test]
fn what_does_not_count_is_left_out_but_its_failures_are_shown() {
    let mut invalid = record("C2", 2);
    invalid.validity = Validity::Invalid {
        gates: vec![GateName::Failures],
    };
    let mut void = record("C2", 3);
    void.treatment = Treatment::Substituted;
    let mut noisy = block(5, 5000);
    noisy.push(failed("a", 1, Reason::EngineOom));
    let arms = pool(&[
        (record("C2", 1), block(5, 100)),
        (invalid, noisy),
        (void, block(5, 5000)),
    ]);
    assert_eq!((arms[0].blocks, arms[0].left_out, arms[0].completed), (1, 2, 5));
    assert!(arms[0].latencies[0].summary_s.max < 1.0 && arms[0].failures.is_empty());
    assert_eq!(arms[0].failures_everywhere, [(Reason::EngineOom, 1)].into());
    // A baseline has no treatment that could fail.
    let mut baseline = record("C1", 1);
    baseline.treatment = Treatment::NoOp;
    assert_eq!(pool(&[(baseline, block(5, 100))])[0].blocks, 1);
}

#[test]
fn mixed_kinds_and_nothing() {
    let mixed = vec![completed("a", 0, 1, 1, &[]), content_only("a", 0, 1, 2)];
    let arms = pool(&[(record("C1", 1), mixed)]);
    assert!(arms[0].latencies.is_empty() && arms[0].ttft_kind.is_none() && arms[0].completed == 2);
    assert!(pool(&[]).is_empty());
    assert!(pool(&[(record("C1", 1), vec![])])[0].latencies.is_empty());
}
