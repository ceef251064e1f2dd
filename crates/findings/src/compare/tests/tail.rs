//! E2E p99 of all blocks together.

use super::*;
use crate::outcome::{EstimatedBy, PooledRequests};

/// k blocks of `n` requests an arm; the variant's are `factor` times as long.
fn tails(k: u32, n: usize, factor: f64) -> Vec<CellMetrics> {
    let mut rng = SplitMix64::new(5);
    let mut all = cells(5, k, 0.01, &[("C1", 1.0), ("C1b", 1.0), ("C2", 1.0)]);
    for c in &mut all {
        let factor = if c.variant == vid("C2") { factor } else { 1.0 };
        c.e2e_s = (0..n).map(|_| factor * (0.2 * rng.normal()).exp()).collect();
    }
    all
}

fn p99(all: &[CellMetrics]) -> Comparison {
    find(&study(&plan(&[("C2", "C1")]), all), "C2", MetricName::E2eP99).clone()
}

#[test]
fn a_tail_is_described_with_its_interval_and_never_judged() {
    let c = p99(&tails(8, 100, 1.5));
    let e = c.estimate.unwrap();
    let interval = e.interval_percent.unwrap();
    assert!(interval.low < 50.0 && 50.0 < interval.high, "{interval:?}");
    assert_eq!((e.by, e.p_t, e.p_adjusted), (EstimatedBy::BlockBootstrap, None, None));
    assert_eq!(c.verdict, withheld(Withheld::Descriptive));
    assert!(c.exploratory && c.losses.is_none() && c.blocks.is_empty());
    assert_eq!((c.k, c.planned), (8, 8));
    let requests = PooledRequests {
        variant: 800,
        control: 1600,
    };
    assert_eq!(c.requests, Some(requests));
}

#[test]
fn too_few_requests_certify_no_tail() {
    let c = p99(&tails(6, 100, 1.5));
    let why = Hindrance::NotCertifiable {
        requests: 600,
        needs: 662,
    };
    assert_eq!((c.verdict, c.estimate), (Verdict::NotComparable { why }, None));
}

#[test]
fn failures_are_the_longest_requests() {
    let mut all = tails(8, 100, 1.0);
    let before = p99(&all).estimate.unwrap().mean_log_ratio;
    let fail = |all: &mut [CellMetrics], n| {
        let c2 = all.iter_mut().filter(|c| c.variant == vid("C2"));
        c2.for_each(|c| c.failed = n);
    };
    for c in all.iter_mut().filter(|c| c.variant == vid("C2") && c.block <= 4) {
        c.failed = 1;
    }
    assert!(p99(&all).estimate.unwrap().mean_log_ratio > before);
    fail(&mut all, 2);
    let why = Hindrance::AmongFailures;
    assert_eq!(p99(&all).verdict, Verdict::NotComparable { why });
}
