use super::*;
use crate::testkit::{nz, plan, ratio, window};
use servelab_schema::{Arrivals, ClockReading, Rate, Reason, Starvation};
use std::sync::LazyLock;

fn instrument() -> Instrument {
    Instrument {
        schedule_lag_p50_ns: Nanos(1000),
        schedule_lag_p99_ns: Nanos(100_000),
        schedule_lag_max_ns: Nanos(200_000),
        event_loop_ticks: 3200,
        event_loop_missed_ticks: 1,
        event_loop_lag_p50_ns: Nanos(1000),
        event_loop_lag_p99_ns: Nanos(100_000),
        event_loop_lag_max_ns: Nanos::from_millis(6),
        starvation: Starvation {
            wall_ns: 20_000_000_000,
            stolen_ratio: Some(ratio(0.001)),
            throttled_count: Some(0),
            throttled_ratio: Some(ratio(0.0)),
            run_queue_wait_ratio: Some(ratio(0.002)),
            run_queue_turns: Some(1000),
            involuntary_switches: Some(3),
        },
        client_thread_cpu_ratio: ratio(0.3),
        achieved_rate_per_s: Some(10.0),
        stale_connections: 0,
        clocks_start: clocks(0, 0),
        clocks_end: clocks(20_000, 20_000),
    }
}

/// Both clocks, ms after some moment.
fn clocks(wall_ms: u64, monotonic_ms: u64) -> ClockReading {
    ClockReading {
        unix_ns: (1_795_000_000_000 + wall_ms) * 1_000_000,
        monotonic_ns: (86_400_000 + monotonic_ms) * 1_000_000,
    }
}

fn counts() -> TrialCounts {
    TrialCounts {
        planned: 100,
        completed: 100,
        ..TrialCounts::default()
    }
}

fn facts<'a>(instrument: &'a Instrument, counts: &'a TrialCounts) -> GateFacts<'a> {
    GateFacts {
        load: Load::Open {
            rate_per_s: Rate::new(10.0).unwrap(),
            arrivals: Arrivals::Poisson,
        },
        role: VariantRole::Treatment,
        instrument: Some(instrument),
        counts,
        span: Some(window(0, 20_000)),
        held: Some(window(2_000, 18_000)),
        median_ttft: Some(Nanos::from_millis(50)),
        median_generation: Some(Nanos::from_millis(640)),
        delta: Margin::new(0.03).unwrap(),
        scheduled_rate_per_s: Some(10.0),
        asked_rate: AskedRate::Kept { slack_ratio: 0.0 },
        engine_alive: Ok(()),
        restart_would_show: true,
        prompt_token_mismatches: 0,
        prefix_cache_hit_ratio: Some(ratio(0.0)),
        cache: CacheState::Empty,
        prefix_caching_allowed: false,
        treatment: Treatment::Confirmed,
        time_scale: nz(1),
        certificate: Some(&*CERTIFICATE),
        work: Some(Work {
            requests_per_s: 10.0,
            chunks_per_s: 600.0,
        }),
    }
}

/// Exactly these gates fail after `spoil`.
fn check(failing: &[GateName], spoil: impl FnOnce(&mut GateFacts<'_>)) -> Vec<GateResult> {
    let (i, c) = (instrument(), counts());
    let mut facts = facts(&i, &c);
    spoil(&mut facts);
    let results = evaluate(&plan(&[("C2", "C1")]), &facts);
    let failed: Vec<GateName> = results
        .iter()
        .filter(|g| g.outcome == GateOutcome::Failed)
        .map(|g| g.gate)
        .collect();
    assert_eq!(failed, failing);
    assert_eq!(results.iter().map(|g| g.gate).collect::<Vec<_>>(), GateName::ALL);
    assert!(results.iter().all(|g| !g.observed.is_empty() && !g.limit.is_empty()));
    results.iter().for_each(check_figures);
    results
}

/// The figures say what the outcome says: a gate that passed looked at some and all keep their bounds, and one that failed
/// breaks a bound or had nothing to hold one against.
fn check_figures(g: &GateResult) {
    assert!(g.figures.iter().all(|f| f.value.is_finite()), "{g:?}");
    let has_no_number = matches!(g.gate, GateName::EngineAlive | GateName::Treatment);
    let breaks = g.figures.iter().any(|f| !f.keeps_bounds());
    let is_bound = |f: &GateFigure| f.at_least.is_some() || f.at_most.is_some();
    let agrees = match g.outcome {
        GateOutcome::Passed => !breaks && g.figures.iter().any(is_bound) != has_no_number,
        GateOutcome::Failed => breaks || !g.figures.iter().any(is_bound),
        GateOutcome::NotApplicable => !breaks,
    };
    assert!(agrees, "{g:?}");
}

/// The figures of a gate, four digits of each.
fn figures(results: &[GateResult], gate: GateName) -> String {
    let bound = |sign: &str, bound: Option<f64>| bound.map_or_else(String::new, |b| format!(" {sign} {b:.4}"));
    let words = |f: &GateFigure| {
        let bounds = bound("≥", f.at_least) + &bound("≤", f.at_most);
        format!("{} {:.4} {}{bounds}", f.name.as_str(), f.value, f.unit.as_str())
    };
    of(results, gate)
        .figures
        .iter()
        .map(words)
        .collect::<Vec<_>>()
        .join(", ")
}

fn with_instrument(failing: &[GateName], spoil: impl FnOnce(&mut Instrument)) {
    let mut i = instrument();
    spoil(&mut i);
    check(failing, |f| f.instrument = Some(Box::leak(Box::new(i))));
}

fn of(results: &[GateResult], gate: GateName) -> &GateResult {
    results.iter().find(|g| g.gate == gate).unwrap()
}

fn with_counts(failing: &[GateName], completed: u32, failed: u32, planned: u32) {
    let c = TrialCounts {
        planned,
        completed,
        failed: [(Reason::Reset, failed)].into(),
        ..TrialCounts::default()
    };
    check(failing, |f| f.counts = Box::leak(Box::new(c)));
}

#[test]
fn a_load_that_was_given_up_says_so() {
    let given_up = TrialCounts {
        planned: 100,
        failed: [(Reason::HttpStatus, 20)].into(),
        gave_up_after: NonZeroU32::new(20),
        ..TrialCounts::default()
    };
    let results = check(&[GateName::MinRequests, GateName::Failures], |f| {
        f.counts = Box::leak(Box::new(given_up))
    });
    assert_eq!(
        of(&results, GateName::Failures).observed,
        "20 of 100 failed and 80 never ended (100 %); the load was ended because its first 20 requests all failed"
    );
}

#[test]
fn a_good_trial_passes() {
    let results = check(&[], |_| {});
    assert!(results.iter().all(|g| g.outcome == GateOutcome::Passed));
}

#[test]
fn every_gate_gives_its_numbers_with_their_bounds() {
    let good = check(&[], |_| {});
    for (gate, expected) in [
        (GateName::ScheduleLag, "p99 0.0001 s ≤ 0.0010"),
        (
            GateName::EventLoopLag,
            "p99 0.0001 s ≤ 0.0020, p50 0.0000 s ≤ 0.0005, ticks 3200.0000 ticks, missed-ticks 1.0000 ticks",
        ),
        (
            GateName::Starvation,
            "stopped 0.0003 ratio ≤ 0.0200, stolen 0.0010 ratio ≤ 0.0200, throttled 0.0000 ratio ≤ 0.0200, \
             waiting-for-a-core 0.0000 ratio ≤ 0.0200",
        ),
        (GateName::ClientCpu, "busiest-thread 0.3000 ratio ≤ 0.8000"),
        (
            GateName::AchievedRate,
            "achieved 10.0000 requests/s, scheduled 10.0000 requests/s, off 0.0000 ratio ≥ -0.0200 ≤ 0.0200, \
             asked 10.0000 requests/s, off-asked 0.0000 ratio ≥ -0.0200 ≤ 0.0200",
        ),
        (GateName::HeldWindow, "held-ratio 0.8000 ratio ≥ 0.6000"),
        (GateName::MinRequests, "completed 100.0000 requests ≥ 10.0000"),
        (GateName::MinDuration, "held 16.0000 s ≥ 5.0000"),
        (
            GateName::Failures,
            "measured 100.0000 requests, failed 0.0000 requests, never-ended 0.0000 requests, \
             failed-ratio 0.0000 ratio ≤ 0.0100",
        ),
        (GateName::EngineAlive, ""),
        (GateName::PromptTokens, "mismatches 0.0000 requests ≤ 0.0000"),
        (GateName::CacheContamination, "from-cache 0.0000 ratio ≤ 0.0100"),
        (GateName::Treatment, ""),
        (
            GateName::Clock,
            "wall-elapsed 20.0000 s of wall time ≥ 0.0000, monotonic-elapsed 20.0000 s of wall time ≥ 0.0000, \
             step 0.0000 s of wall time ≥ -0.0200 ≤ 0.0200",
        ),
        (
            GateName::Certificate,
            "request-rate 10.0000 requests/s of wall time ≤ 21000.0000, \
             chunk-rate 600.0000 chunks/s of wall time ≤ 60000.0000",
        ),
        (
            GateName::CertifiedError,
            "of-ttft 0.0042 ratio ≤ 0.0150, of-generation 0.0001 ratio ≤ 0.0150",
        ),
    ] {
        assert_eq!(figures(&good, gate), expected, "{gate}");
    }
    let bad = check(&[GateName::HeldWindow, GateName::MinDuration], |f| {
        f.held = Some(window(2_000, 6_000));
        f.prefix_caching_allowed = true;
        f.prefix_cache_hit_ratio = Some(ratio(0.9));
    });
    assert_eq!(figures(&bad, GateName::HeldWindow), "held-ratio 0.2000 ratio ≥ 0.6000");
    assert_eq!(
        figures(&bad, GateName::CacheContamination),
        "from-cache 0.9000 ratio",
        "known, and nothing is asked of it"
    );
    // In a short run the largest lag is judged in place of the 99th percentile.
    let brief = check(&[GateName::EventLoopLag], |f| f.instrument = Some(short(3, 0)));
    assert!(figures(&brief, GateName::EventLoopLag).starts_with("max 0.0030 s ≤ 0.0020, "));
}

#[test]
fn injected_lag() {
    for (lag_us, fails) in [(0, false), (999, false), (1000, false), (1001, true), (500_000, true)] {
        let expected: &[GateName] = if fails { &[GateName::ScheduleLag] } else { &[] };
        with_instrument(expected, |i| i.schedule_lag_p99_ns = Nanos(lag_us * 1000));
    }
    for (lag_us, fails) in [(2000, false), (2001, true)] {
        let expected: &[GateName] = if fails { &[GateName::EventLoopLag] } else { &[] };
        with_instrument(expected, |i| i.event_loop_lag_p99_ns = Nanos(lag_us * 1000));
    }
    // The median is held against an eighth of that, or 1 % of the median TTFT of 50 ms.
    for (lag_us, fails) in [(500, false), (501, true)] {
        let expected: &[GateName] = if fails { &[GateName::EventLoopLag] } else { &[] };
        with_instrument(expected, |i| i.event_loop_lag_p50_ns = Nanos(lag_us * 1000));
    }
    for (cpu, fails) in [(0.8, false), (0.81, true)] {
        let expected: &[GateName] = if fails { &[GateName::ClientCpu] } else { &[] };
        with_instrument(expected, |i| i.client_thread_cpu_ratio = ratio(cpu));
    }
}

#[test]
fn a_slow_engine_allows_more_lag_and_a_fast_one_not_less() {
    let lagging = |ttft: Option<u64>, failing: &[GateName]| {
        let i = Instrument {
            schedule_lag_p99_ns: Nanos::from_millis(4),
            ..instrument()
        };
        let results = check(failing, |f| {
            f.instrument = Some(Box::leak(Box::new(i)));
            f.median_ttft = ttft.map(Nanos::from_millis);
        });
        results[0].limit.clone()
    };
    assert_eq!(lagging(Some(400), &[]), "p99 ≤ 4.00ms (1 % of median TTFT)");
    assert_eq!(
        lagging(Some(399), &[GateName::ScheduleLag]),
        "p99 ≤ 3.99ms (1 % of median TTFT)"
    );
    assert_eq!(
        lagging(Some(50), &[GateName::ScheduleLag]),
        "p99 ≤ 1.00ms (or 1 % of median TTFT if that is more)"
    );
    lagging(None, &[GateName::ScheduleLag]);
}

#[test]
fn a_scaled_run_names_the_wall_error() {
    let results = check(&[], |f| {
        f.time_scale = nz(20);
        f.certificate = None;
    });
    assert_eq!(results[0].observed, "p99 100.0µs (5.0µs wall × 20)");
}

#[test]
fn what_was_not_measured_does_not_pass() {
    check(
        &[
            GateName::ScheduleLag,
            GateName::EventLoopLag,
            GateName::Starvation,
            GateName::ClientCpu,
            GateName::AchievedRate,
            GateName::Clock,
        ],
        |f| f.instrument = None,
    );
    check(&[GateName::HeldWindow, GateName::MinDuration], |f| f.held = None);
    check(&[GateName::HeldWindow], |f| f.span = None);
}

#[test]
fn rate_only_matters_in_an_open_loop() {
    for (rate, fails) in [
        (Some(9.81), false),
        (Some(9.79), true),
        (Some(10.3), true),
        (None, true),
        (Some(f64::NAN), true),
    ] {
        let expected: &[GateName] = if fails { &[GateName::AchievedRate] } else { &[] };
        with_instrument(expected, |i| i.achieved_rate_per_s = rate);
    }
    check(&[GateName::AchievedRate], |f| f.scheduled_rate_per_s = None);
    let results = check(&[], |f| f.load = Load::Closed { concurrency: nz(8) });
    assert_eq!(of(&results, GateName::AchievedRate).outcome, GateOutcome::NotApplicable);
}

/// A schedule that was kept is not yet the load that was asked for.
#[test]
fn the_rate_that_was_asked_for_counts_too() {
    let asked = |rate: f64, slack_ratio| {
        move |f: &mut GateFacts<'_>| {
            let rate_per_s = Rate::new(rate).unwrap();
            let arrivals = Arrivals::Poisson;
            f.load = Load::Open { rate_per_s, arrivals };
            f.asked_rate = AskedRate::Kept { slack_ratio };
        }
    };
    check(&[], asked(10.19, 0.0));
    let results = check(&[GateName::AchievedRate], asked(12.2, 0.0));
    let said = of(&results, GateName::AchievedRate);
    assert_eq!(
        said.observed,
        "10.000/s, 0 % off the schedule, 18.03 % off what was asked for"
    );
    assert_eq!(
        said.limit,
        "within 2 % of the scheduled 10.000/s, 2 % of the asked 12.2/s"
    );
    // Three arrivals in ten seconds are all that 0.26/s can give.
    check(&[], asked(12.2, 0.17));
    let results = check(&[], |f| {
        asked(15.0, 0.0)(f);
        f.asked_rate = AskedRate::NotKept { why: "it rises" };
    });
    let said = of(&results, GateName::AchievedRate);
    assert_eq!(
        said.limit,
        "within 2 % of the scheduled 10.000/s; not held against 15/s: it rises"
    );
}

#[test]
fn a_trial_that_ended_early_or_was_planned_before_is_held_to_its_schedule_only() {
    let mut plan = plan(&[("C2", "C1")]);
    let all = counts();
    assert_eq!(AskedRate::of_trial(&plan, &all), AskedRate::Kept { slack_ratio: 0.0 });
    let cut = TrialCounts {
        completed: 99,
        ..all.clone()
    };
    assert!(matches!(AskedRate::of_trial(&plan, &cut), AskedRate::NotKept { .. }));
    plan.method_version = 2;
    assert!(matches!(AskedRate::of_trial(&plan, &all), AskedRate::NotKept { .. }));
}

#[test]
fn window_and_counts() {
    check(&[GateName::HeldWindow], |f| f.held = Some(window(2_000, 13_999)));
    check(&[], |f| f.held = Some(window(2_000, 14_000)));
    check(&[GateName::HeldWindow, GateName::MinDuration], |f| {
        f.held = Some(window(2_000, 6_999))
    });
    with_counts(&[], 99, 1, 100);
    with_counts(&[GateName::Failures], 98, 2, 100);
    with_counts(&[GateName::Failures], 98, 0, 100);
    with_counts(&[GateName::MinRequests], 9, 0, 9);
    with_counts(&[GateName::MinRequests, GateName::Failures], 0, 0, 0);
}

#[test]
fn engine_cache_and_treatment() {
    let results = check(&[GateName::EngineAlive], |f| {
        f.engine_alive = Err("exit status 1".into())
    });
    assert_eq!(of(&results, GateName::EngineAlive).observed, "exit status 1");
    for (shows, words) in [
        (true, "alive throughout"),
        (false, "alive throughout; a restart could not have been seen"),
    ] {
        let results = check(&[], |f| f.restart_would_show = shows);
        assert_eq!(of(&results, GateName::EngineAlive).observed, words);
    }
    check(&[GateName::PromptTokens], |f| f.prompt_token_mismatches = 1);
    check(&[GateName::CacheContamination], |f| {
        f.prefix_cache_hit_ratio = Some(ratio(0.02))
    });
    let silent = |cache| {
        move |f: &mut GateFacts<'_>| {
            f.prefix_cache_hit_ratio = None;
            f.cache = cache;
        }
    };
    for known in [CacheState::Empty, CacheState::Salted, CacheState::Accepted] {
        check(&[], silent(known));
    }
    check(&[GateName::CacheContamination], silent(CacheState::Unknown));
    check(&[], |f| f.cache = CacheState::Unknown);
    check(&[], |f| {
        f.prefix_cache_hit_ratio = Some(ratio(0.9));
        f.prefix_caching_allowed = true;
    });
    for (treatment, fails) in [
        (Treatment::Confirmed, false),
        (Treatment::Unobservable, false),
        (Treatment::NoOp, true),
        (Treatment::Substituted, true),
        (Treatment::Rejected, true),
    ] {
        let expected: &[GateName] = if fails { &[GateName::Treatment] } else { &[] };
        check(expected, |f| f.treatment = treatment);
        check(&[], |f| {
            f.treatment = treatment;
            f.role = VariantRole::Baseline;
        });
    }
}

static CERTIFICATE: LazyLock<InstrumentCertificate> = LazyLock::new(servelab_schema::examples::certificate);

#[test]
fn a_load_beyond_the_certificate_is_invalid() {
    let (most_requests, most_chunks) = (21_000.0, 60_000.0);
    let within = Work {
        requests_per_s: most_requests,
        chunks_per_s: most_chunks,
    };
    let beyond = [
        Work {
            requests_per_s: most_requests * 1.001,
            ..within
        },
        Work {
            chunks_per_s: most_chunks * 1.001,
            ..within
        },
    ];
    check(&[], |f| (f.certificate, f.work) = (Some(&*CERTIFICATE), Some(within)));
    for work in beyond {
        check(&[GateName::Certificate], |f| {
            (f.certificate, f.work) = (Some(&*CERTIFICATE), Some(work))
        });
        let results = check(&[], |f| (f.certificate, f.work) = (None, Some(work)));
        assert_eq!(
            of(&results, GateName::Certificate).outcome,
            GateOutcome::NotApplicable,
            "nothing was certified"
        );
    }
    check(&[GateName::Certificate], |f| {
        (f.certificate, f.work) = (Some(&*CERTIFICATE), None)
    });
}

#[test]
fn the_certificate_is_one_of_wall_time() {
    // 3100 chunks/s of engine time are 62,000 of wall time in a simulation that runs 20 times faster.
    let work = Some(Work {
        requests_per_s: 48.4,
        chunks_per_s: 3_100.0,
    });
    check(&[], |f| (f.certificate, f.work) = (Some(&*CERTIFICATE), work));
    let results = check(&[GateName::Certificate, GateName::CertifiedError], |f| {
        (f.certificate, f.work, f.time_scale) = (Some(&*CERTIFICATE), work, nz(20));
    });
    assert_eq!(
        of(&results, GateName::Certificate).observed,
        "968.0 requests/s, 62000 chunks/s of wall time"
    );
}

#[test]
fn work_is_a_rate_over_the_span() {
    let work = Work::over(window(1_000, 5_000), 8, 400).unwrap();
    assert!((work.requests_per_s - 2.0).abs() < 1e-12 && (work.chunks_per_s - 100.0).abs() < 1e-12);
    assert_eq!(Work::over(window(5, 5), 8, 400), None);
}

#[test]
fn an_engine_that_never_served_fails_by_itself_alone() {
    check(&[GateName::EngineAlive, GateName::Treatment], |f| {
        f.instrument = None;
        f.span = None;
        f.held = None;
        f.engine_alive = Err("exit status: 1".into());
        f.treatment = Treatment::Rejected;
    });
}

#[test]
fn stopped_stolen_throttled_or_waiting_is_starved() {
    const STARVED: &[GateName] = &[GateName::Starvation];
    const FINE: &[GateName] = &[];
    for (missed, share, failing) in [(64, 0.02, FINE), (65, 0.0201, STARVED)] {
        with_instrument(failing, |i| i.event_loop_missed_ticks = missed);
        with_instrument(failing, |i| i.starvation.stolen_ratio = Some(ratio(share)));
        with_instrument(failing, |i| i.starvation.throttled_ratio = Some(ratio(share)));
    }
    for (turns, share, failing) in [
        // 1000 turns of 0.1 ms in 20 s are 0.5 %: what waking takes, and no waiting.
        (1_000, 0.025, FINE),
        (1_000, 0.0251, STARVED),
        // Calm clients that have much to do, as measured on an idle machine: 3,560 turns a second of 9.6 µs, 13,100 of 7 µs.
        (71_200, 0.034, FINE),
        (262_000, 0.093, FINE),
        // 1,600 turns a second excuse 2.6 % of the load, where 0.1 ms of each were 16 %.
        (32_000, 0.046, FINE),
        (32_000, 0.0461, STARVED),
        (32_000, 0.16, STARVED),
        // 10,000 excuse a tenth, as any number of them does, where 0.1 ms of each were all of it.
        (200_000, 0.12, FINE),
        (200_000, 0.1201, STARVED),
        (2_000_000, 0.1201, STARVED),
        (200_000, 0.9, STARVED),
    ] {
        with_instrument(failing, |i| {
            i.starvation.run_queue_turns = Some(turns);
            i.starvation.run_queue_wait_ratio = Some(ratio(share));
        });
    }
    // What the kernel does not say is not held against it; the grid is always there.
    with_instrument(&[], |i| i.starvation = Starvation::default());
    let results = check(STARVED, |f| {
        let mut i = instrument();
        i.starvation = Starvation::default();
        i.event_loop_missed_ticks = 320;
        f.instrument = Some(Box::leak(Box::new(i)));
    });
    assert_eq!(of(&results, GateName::Starvation).observed, "stopped 10 %");
}

/// Half a second: 90 ticks, whose 99th percentile is the largest lag.
fn short(lag_ms: u64, missed: u64) -> &'static Instrument {
    Box::leak(Box::new(Instrument {
        event_loop_ticks: 90,
        event_loop_missed_ticks: missed,
        event_loop_lag_p99_ns: Nanos::from_millis(lag_ms),
        event_loop_lag_max_ns: Nanos::from_millis(lag_ms),
        ..instrument()
    }))
}

#[test]
fn in_a_short_run_one_late_tick_weighs_as_much_as_it_can_do_harm() {
    let judged = |lag_ms, missed, ttft_ms, generation_ms: Option<u64>, failing: &[GateName]| {
        check(failing, |f| {
            f.instrument = Some(short(lag_ms, missed));
            f.median_ttft = Some(Nanos::from_millis(ttft_ms));
            f.median_generation = generation_ms.map(Nanos::from_millis);
        })
    };
    let late: &[GateName] = &[GateName::EventLoopLag];
    judged(2, 0, 50, Some(640), &[]);
    judged(3, 0, 50, Some(640), late);
    // 2 % of 300 ms are 6 ms; of the tokens' 150 ms they are 3 ms.
    let results = judged(6, 1, 300, Some(640), &[]);
    assert_eq!(
        of(&results, GateName::EventLoopLag).limit,
        "largest ≤ 6.00ms, median ≤ 3.00ms"
    );
    judged(7, 1, 300, Some(640), late);
    judged(4, 1, 300, Some(150), late);
    judged(6, 1, 300, None, &[]);
    // A client that stood still fails whatever the engine's times are.
    judged(250, 49, 20_000, None, &[GateName::Starvation]);
    // Over before anything was due: nothing can be said, and 5 ms is the most that can be hidden.
    let results = check(&[], |f| {
        let none = Instrument {
            event_loop_ticks: 0,
            event_loop_missed_ticks: 0,
            event_loop_lag_p50_ns: Nanos::ZERO,
            ..instrument()
        };
        f.instrument = Some(Box::leak(Box::new(none)));
    });
    assert_eq!(of(&results, GateName::EventLoopLag).outcome, GateOutcome::NotApplicable);
}

#[test]
fn a_wall_clock_that_was_set_shows() {
    for (wall_ms, fails) in [
        (20_000, false),
        (20_020, false),
        (19_980, false),
        (20_021, true),
        (19_979, true),
    ] {
        let expected: &[GateName] = if fails { &[GateName::Clock] } else { &[] };
        with_instrument(expected, |i| i.clocks_end = clocks(wall_ms, 20_000));
    }
    // Backwards, though by less than a trial's length.
    with_instrument(&[GateName::Clock], |i| i.clocks_start = clocks(20_001, 0));
}

#[test]
fn a_certified_error_takes_at_most_half_of_delta() {
    // Of 50 ms TTFT, half of 3 % is 0.75 ms; of the 640 ms that the tokens take, 9.6 ms.
    let with = |ttft_us: u64, gap_us: u64, scale: u32, failing: &[GateName]| {
        let certificate = InstrumentCertificate {
            ttft_error_p99_ns: Nanos(ttft_us * 1000),
            gap_error_p99_ns: Nanos(gap_us * 1000),
            highest_requests_per_s: 1_000_000,
            highest_chunks_per_s: 1_000_000,
            ..CERTIFICATE.clone()
        };
        check(failing, |f| {
            f.certificate = Some(Box::leak(Box::new(certificate)));
            f.time_scale = nz(scale);
        })
    };
    let inexact: &[GateName] = &[GateName::CertifiedError];
    with(750, 9_600, 1, &[]);
    with(751, 0, 1, inexact);
    with(0, 9_601, 1, inexact);
    with(37, 479, 20, &[]);
    with(38, 0, 20, inexact);
    with(0, 481, 20, inexact);
    let single = check(&[], |f| f.median_generation = None);
    assert_eq!(
        of(&single, GateName::CertifiedError).observed,
        "0.42 % of the median TTFT"
    );
}

#[test]
fn without_a_median_ttft_the_error_is_held_against_the_tokens_time() {
    let gap_of = |gap_us: u64, failing: &[GateName]| {
        let certificate = InstrumentCertificate {
            gap_error_p99_ns: Nanos(gap_us * 1000),
            ..CERTIFICATE.clone()
        };
        check(failing, |f| {
            f.certificate = Some(Box::leak(Box::new(certificate)));
            f.median_ttft = None;
        })
    };
    let passed = gap_of(9_600, &[]);
    assert_eq!(
        of(&passed, GateName::CertifiedError).observed,
        "1.5 % of the median time of its tokens"
    );
    gap_of(9_601, &[GateName::CertifiedError]);
    let neither = |failing: &[GateName], ttft: Option<Nanos>, counts: TrialCounts, words: &str| {
        let results = check(failing, |f| {
            (f.median_ttft, f.median_generation) = (ttft, None);
            f.counts = Box::leak(Box::new(counts));
        });
        let gate = of(&results, GateName::CertifiedError);
        assert_eq!(gate.outcome, GateOutcome::NotApplicable);
        assert!(gate.observed.contains(words), "{}", gate.observed);
    };
    neither(&[], None, counts(), "first timestamps of two kinds");
    neither(&[], Some(Nanos::ZERO), counts(), "the median TTFT is 0");
    let none = [GateName::MinRequests, GateName::Failures];
    neither(&none, None, TrialCounts::default(), "no request completed");
}
