use crate::{
    Judged, Prompts, Trial,
    cells::{Take, cell},
    quality::quality,
    testkit::{completed, content_only, failed, load_id, plan, prompt, trial, vid},
};
use servelab_schema::{
    Bucket, GateName, Plan, Reason, Task, Trace, Treatment, Validity,
    findings::{CellFindings, Certification, OrInfinite},
};

/// One block of `n` requests with TTFTs of 1, 2, … n ms above `base` ms.
fn block(n: u64, base: u64) -> Vec<Trace> {
    (1..=n)
        .map(|i| completed(if i % 2 == 0 { "a" } else { "b" }, i, base + i, 1, &[(10, 1)]))
        .collect()
}

/// One take: variant, block, its traces, and whether it counts.
type Taken = (&'static str, u32, Vec<Trace>, Validity);

fn valid(variant: &'static str, block: u32, traces: Vec<Trace>) -> Taken {
    (variant, block, traces, Validity::Valid)
}

fn two_prompts() -> Plan {
    let mut plan = plan(&[("C2", "C1")]);
    plan.prompts.prompts = vec![prompt("a", Task::Qa, Bucket::S), prompt("b", Task::Dialogue, Bucket::L)];
    plan
}

/// All takes of one variant as one cell.
fn pool(takes: &[Taken]) -> Option<CellFindings> {
    let plan = two_prompts();
    let judged: Vec<(Trial, Judged)> = takes
        .iter()
        .map(|(variant, block, traces, validity)| {
            let judged = Judged {
                treatment: Treatment::Confirmed,
                checks: Vec::new(),
                gates: Vec::new(),
                validity: validity.clone(),
            };
            (trial(&plan, variant, *block, traces), judged)
        })
        .collect();
    let takes: Vec<Take<'_>> = judged
        .iter()
        .map(|(trial, judged)| Take {
            trial,
            judged,
            stands: true,
        })
        .collect();
    let variant = vid(judged.first().map_or("C1", |(t, _)| t.record.variant.as_str()));
    let arm = quality(&plan, &[]).into_iter().find(|arm| arm.variant == variant)?;
    cell(&plan, &Prompts::of(&plan), (&load_id(), &variant), &takes, arm)
}

#[test]
fn blocks_are_pooled_and_tails_certified() {
    let takes: Vec<_> = (1..=10).map(|b| valid("C1", b, block(70, 100))).collect();
    let arm = pool(&takes).unwrap();
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
    let arm = pool(&[valid("C1", 1, traces)]).unwrap();
    let ttft = &arm.latencies[0];
    assert_eq!(arm.failures, [(Reason::Stalled, 10)].into());
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
    assert_eq!(arm.groups[0].failed, 10);
}

#[test]
fn what_does_not_count_is_left_out_but_its_failures_are_shown() {
    let invalid = |gate| Validity::Invalid { gates: vec![gate] };
    let mut noisy = block(5, 5000);
    noisy.push(failed("a", 1, Reason::EngineOom));
    let arm = pool(&[
        valid("C2", 1, block(5, 100)),
        ("C2", 2, noisy, invalid(GateName::Failures)),
        ("C2", 3, block(5, 5000), invalid(GateName::Treatment)),
    ])
    .unwrap();
    assert_eq!((arm.blocks, arm.left_out, arm.completed), (1, 2, 5));
    assert!(arm.latencies[0].summary_s.max < 1.0 && arm.failures.is_empty());
    assert_eq!(arm.failures_everywhere, [(Reason::EngineOom, 1)].into());
    assert_eq!(arm.completed_everywhere, 15);
}

#[test]
fn mixed_kinds_and_nothing() {
    let mixed = vec![completed("a", 0, 1, 1, &[]), content_only("a", 0, 1, 2)];
    let arm = pool(&[valid("C1", 1, mixed)]).unwrap();
    assert!(arm.latencies.is_empty() && arm.ttft_kind.is_none() && arm.completed == 2);
    assert!(pool(&[]).is_none());
    assert!(pool(&[valid("C1", 1, vec![])]).unwrap().latencies.is_empty());
}
