use super::*;
use crate::testkit::{completed, engine, plan, record, reduce_beside, window};
use servelab_schema::{Bytes, TrialRecord, examples};

/// What the whole trial with these samples and traces took of its GPUs.
fn trial_gpus(facts: &[GpuFacts], held: Window, samples: &[TelemetrySample], traces: &[Trace]) -> Option<TrialGpus> {
    let record = TrialRecord {
        held: Some(held),
        ..record("C1", 1)
    };
    reduce_beside(facts, &plan(&[]), record, engine("C1", 1), samples, traces).gpus
}

fn reading(second: u64, gpus: Vec<GpuSample>) -> TelemetrySample {
    TelemetrySample {
        t_ns: TrialInstant::from_secs(second),
        gpus,
        ..examples::telemetry()
    }
}

fn gpu(milliwatts: u64, energy: Option<u64>, throttle: Option<Vec<ThrottleReason>>) -> GpuSample {
    GpuSample {
        power_milliwatts: Some(milliwatts),
        energy_millijoules: energy,
        throttle,
        ..examples::gpu_sample()
    }
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
}

#[test]
fn ten_throttled_seconds_tag_exactly_their_requests() {
    let hot = |s: u64| (10..20).contains(&s);
    let samples: Vec<_> = (0..=30)
        .map(|s| {
            let reasons = if hot(s) {
                vec![ThrottleReason::HwThermalSlowdown]
            } else {
                vec![]
            };
            reading(s, vec![gpu(50_000, None, Some(reasons))])
        })
        .collect();
    // Each lives for a second from its send: before, touching the start, inside, over the end, after.
    let sends = [2_000, 8_900, 9_100, 12_000, 19_900, 20_000, 25_000];
    let traces: Vec<_> = sends
        .iter()
        .map(|at| completed("p", *at, 500, 1, &[(500, 1)]))
        .collect();
    let found = trial_gpus(&[examples::gpu_facts()], window(0, 30_000), &samples, &traces).unwrap();
    let [only] = found.gpus.as_slice() else { panic!() };
    let [throttled] = only.throttled.as_slice() else {
        panic!("{:?}", only.throttled)
    };
    assert_eq!(throttled.window, window(10_000, 20_000));
    assert_eq!(throttled.reasons, BTreeSet::from([ThrottleReason::HwThermalSlowdown]));
    close(only.throttled_ratio, 1.0 / 3.0);
    close(found.mean_watts(), 50.0);
    let tagged: Vec<_> = found.throttled_requests.iter().map(ToString::to_string).collect();
    assert_eq!(tagged, ["p-9100", "p-12000", "p-19900"]);
    assert_eq!(found.requests, 7);
}

#[test]
fn power_capped_counts_and_idle_does_not() {
    let said = [
        Some(vec![ThrottleReason::Idle]),
        Some(vec![ThrottleReason::SwPowerCap]),
        Some(vec![ThrottleReason::SwPowerCap, ThrottleReason::SwThermalSlowdown]),
        None,
        Some(vec![ThrottleReason::HwSlowdown]),
    ];
    let samples: Vec<_> = (0..)
        .zip(said)
        .map(|(s, t)| reading(s, vec![gpu(1, None, t)]))
        .collect();
    let found = trial_gpus(&[], window(0, 5_000), &samples, &[]).unwrap();
    let [only] = found.gpus.as_slice() else { panic!() };
    let windows: Vec<_> = only.throttled.iter().map(|t| t.window).collect();
    assert_eq!(
        windows,
        [window(1_000, 3_000), window(4_000, 5_000)],
        "silence is not throttling"
    );
    assert_eq!(only.throttled.first().unwrap().reasons.len(), 2);
    // Of four known seconds three were throttled.
    close(only.throttled_ratio, 0.75);
}

#[test]
fn energy_by_both_ways_and_per_token() {
    // 20 W rising to 60 W over 10 s: 400 J. The counter says 410 J. The window is its middle 8 s.
    let samples: Vec<_> = (0..=10)
        .map(|s| reading(s, vec![gpu(20_000 + s * 4_000, Some(5_000 + s * 41_000), Some(vec![]))]))
        .collect();
    let held = window(1_000, 9_000);
    let traces = [completed("p", 500, 1_000, 1, &[(1_000, 63), (9_000, 10)])];
    let found = trial_gpus(&[], held, &samples, &traces).unwrap();
    let [only] = found.gpus.as_slice() else { panic!() };
    close(only.trapezoid_joules, 40.0 * 8.0);
    close(only.counter_joules, 41.0 * 8.0);
    assert_eq!(found.output_tokens, Some(64), "tokens outside the window do not count");
    close(found.joules_per_output_token(), 41.0 * 8.0 / 64.0);
}

#[test]
fn energy_of_a_window_between_samples() {
    let samples: Vec<_> = [0, 2].map(|s| reading(s, vec![gpu(10_000 * s, None, None)])).into();
    let found = trial_gpus(&[], window(500, 1_500), &samples, &[]).unwrap();
    let [only] = found.gpus.as_slice() else { panic!() };
    close(only.trapezoid_joules, 10.0);
    assert_eq!(only.counter_joules, None, "no counter");
    assert_eq!(only.throttled_ratio, None, "it never said");
    assert_eq!(found.joules_per_output_token(), None, "no token");
}

#[test]
fn too_little_seen_has_no_energy() {
    let seen = |last: u64| {
        let samples: Vec<_> = (0..=last).map(|s| reading(s, vec![gpu(10_000, None, None)])).collect();
        let found = trial_gpus(&[], window(0, 10_000), &samples, &[]).unwrap();
        found.gpus.first().unwrap().joules()
    };
    assert_eq!(seen(8), None);
    close(seen(9), 100.0);
    close(seen(12), 100.0);
}

#[test]
fn a_counter_that_fell_is_not_believed() {
    let values = [1_000, 2_000, 500, 1_500];
    let samples: Vec<_> = (0..)
        .zip(values)
        .map(|(s, e)| reading(s, vec![gpu(1_000, Some(e), None)]))
        .collect();
    let found = trial_gpus(&[], window(0, 3_000), &samples, &[]).unwrap();
    let [only] = found.gpus.as_slice() else { panic!() };
    assert_eq!(only.counter_joules, None);
    close(only.joules(), 3.0);
}

#[test]
fn several_gpus_add_up_and_an_unknown_one_spoils_the_sum() {
    let other = |milliwatts| GpuSample {
        index: 1,
        power_milliwatts: milliwatts,
        memory_used_bytes: Some(Bytes(9)),
        temperature_celsius: Some(91),
        energy_millijoules: None,
        ..examples::gpu_sample()
    };
    let of = |second: Option<u64>| {
        let samples: Vec<_> = (0..=10)
            .map(|s| reading(s, vec![gpu(10_000, None, None), other(second)]))
            .collect();
        let traces = [completed("p", 0, 1_000, 1, &[(1_000, 99)])];
        trial_gpus(&[examples::gpu_facts()], window(0, 10_000), &samples, &traces).unwrap()
    };
    close(of(Some(30_000)).joules_per_output_token(), 4.0);
    assert_eq!(of(None).joules_per_output_token(), None, "half of it is not all of it");
    let found = of(None);
    let [first, second] = found.gpus.as_slice() else {
        panic!()
    };
    assert_eq!(
        (first.peak_memory_bytes, first.headroom_bytes),
        (Some(21 << 30), Some(3 << 30))
    );
    assert_eq!((second.peak_memory_bytes, second.headroom_bytes), (Some(9), None));
    assert_eq!(second.max_temperature_celsius, Some(91));
}

#[test]
fn no_gpu_is_nothing() {
    assert_eq!(trial_gpus(&[], window(0, 1_000), &[reading(0, vec![])], &[]), None);
}
