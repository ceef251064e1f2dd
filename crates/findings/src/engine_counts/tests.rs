use super::*;
use crate::testkit::{engine, plan, ratio, record, reduce, window};
use servelab_schema::{TelemetrySample, TrialInstant, TrialRecord, examples};

fn rise(sum_s: f64, count: u64, at_most: &[(f64, u64)]) -> HistogramRise {
    HistogramRise {
        count,
        sum_s,
        at_most: at_most.to_vec(),
    }
}

fn trial(metrics: &EngineMetrics) -> EngineTrial<'_> {
    EngineTrial {
        metrics: Some(metrics),
        kv_used: &[],
    }
}

fn near(got: Option<f64>, expected: f64) {
    let got = got.unwrap();
    assert!((got - expected).abs() < 1e-9, "{got}, not {expected}");
}

#[test]
fn nothing_told_is_nothing_known() {
    assert_eq!(engine_counts(&[]), EngineCounts::default());
    let silent = EngineMetrics::default();
    let found = engine_counts(&[trial(&silent)]);
    assert_eq!(
        found,
        EngineCounts {
            trials: 1,
            ..EngineCounts::default()
        }
    );
}

#[test]
fn times_are_exact_means_and_percentiles_within_their_bucket() {
    let first = EngineMetrics {
        ttft: Some(rise(1.0, 10, &[(0.1, 6), (0.2, 9), (0.4, 10)])),
        ..EngineMetrics::default()
    };
    let second = EngineMetrics {
        ttft: Some(rise(3.0, 10, &[(0.1, 0), (0.2, 9), (0.4, 9)])),
        ..EngineMetrics::default()
    };
    let found = engine_counts(&[trial(&first), trial(&second)]).ttft.unwrap();
    assert_eq!(found.n, 20);
    near(Some(found.mean_s), 0.2);
    // 6 of 20 are at most 0.1, 18 at most 0.2: the 10th lies a third of the way.
    let median = found.p50.unwrap();
    near(median.point_s, 0.1 + 0.1 * 4.0 / 12.0);
    near(Some(median.low_s), 0.1);
    near(median.high_s, 0.2);
    // The 19th is the only one of its bucket.
    near(found.p95.unwrap().point_s, 0.4);
    // Beyond the last bound only a lower end is known.
    let beyond = EngineMetrics {
        ttft: Some(rise(90.0, 10, &[(0.1, 1)])),
        ..EngineMetrics::default()
    };
    let far = engine_counts(&[trial(&beyond)]).ttft.unwrap().p50.unwrap();
    assert_eq!((far.point_s, far.interval_s()), (None, None));
    // Buckets of two kinds have a mean and no percentile; a trial that tells nothing makes the sum unknown.
    let both = engine_counts(&[trial(&first), trial(&beyond)]).ttft.unwrap();
    assert!(both.p50.is_none() && both.n == 20);
    let silent = EngineMetrics::default();
    assert_eq!(engine_counts(&[trial(&first), trial(&silent)]).ttft, None);
}

#[test]
fn counters_add_up() {
    let of = |queries, hits, preemptions| EngineMetrics {
        prefix_cache_queries: Some(queries),
        prefix_cache_hits: Some(hits),
        prefix_cache_hit_ratio: Some(ratio(0.9)),
        preemptions: Some(preemptions),
        speculation: Some(SpeculationRise {
            drafts: Some(10),
            draft_tokens: 40,
            accepted_tokens: 18,
            accepted_per_position: vec![9, 6, 2, 1],
        }),
        ..EngineMetrics::default()
    };
    let (a, b) = (of(100, 50, 1), of(300, 30, 2));
    let found = engine_counts(&[trial(&a), trial(&b)]);
    near(found.prefix_hit_ratio, 0.2);
    assert_eq!((found.prefix_queries, found.preemptions), (Some(400), Some(3)));
    let speculation = found.speculation.unwrap();
    near(speculation.ratio, 0.45);
    assert_eq!(speculation.drafts, Some(20));
    for (got, expected) in speculation.per_position.iter().zip([0.9, 0.6, 0.2, 0.1]) {
        near(Some(*got), expected);
    }
    // An engine that gives a share and no counts.
    let gauge = EngineMetrics {
        prefix_cache_hit_ratio: Some(ratio(0.25)),
        ..EngineMetrics::default()
    };
    let found = engine_counts(&[trial(&gauge)]);
    near(found.prefix_hit_ratio, 0.25);
    assert_eq!(found.prefix_queries, None);
}

#[test]
fn positions_that_one_trial_does_not_tell_are_not_none_accepted() {
    let of = |drafts: Option<u64>, draft_tokens: u64, positions: &[u64]| EngineMetrics {
        speculation: Some(SpeculationRise {
            drafts,
            draft_tokens,
            accepted_tokens: positions.iter().sum(),
            accepted_per_position: positions.to_vec(),
        }),
        ..EngineMetrics::default()
    };
    let found = |other: &EngineMetrics| {
        let tells = of(Some(10), 20, &[9, 6]);
        let found = engine_counts(&[trial(&tells), trial(other)]);
        found.speculation.unwrap().per_position
    };
    assert_eq!(found(&of(Some(10), 20, &[])), Vec::<f64>::new());
    assert_eq!(found(&of(Some(10), 20, &[4])), Vec::<f64>::new());
    assert_eq!(found(&of(Some(0), 0, &[])).len(), 2, "it drafted nothing");
    near(found(&of(Some(10), 20, &[1, 0])).first().copied(), 0.5);
}

#[test]
fn kv_use_is_that_of_the_held_window() {
    let sample = |second: u64, used: f64| TelemetrySample {
        t_ns: TrialInstant::from_secs(second),
        kv_cache_used_ratio: Some(ratio(used)),
        ..examples::telemetry()
    };
    let telemetry = [
        sample(0, 0.9),
        sample(1, 0.1),
        sample(2, 0.2),
        sample(3, 0.3),
        sample(9, 0.9),
    ];
    let record = TrialRecord {
        held: Some(window(1000, 3000)),
        ..record("C1", 1)
    };
    let trial = reduce(&plan(&[]), record, engine("C1", 1), &telemetry, &[]);
    let found = engine_counts(&[EngineTrial {
        metrics: None,
        kv_used: &trial.kv_used,
    }]);
    let used = found.kv_use.unwrap();
    assert_eq!((found.trials, used.n), (0, 3));
    near(Some(used.p50), 0.2);
    near(Some(used.max), 0.3);
}
