//! Known answers where engines live on: the state of a server drifts slowly, so that blocks hang together.
//!
//! `SERVELAB_PRINT=1` prints the table that docs/METHODOLOGY.md has.

use super::*;
use crate::testkit::of_servers;
use servelab_schema::findings::Estimate;

/// Blocks of `servelab compare` by default.
const BLOCKS: u32 = 20;
const REPETITIONS: u64 = 200;

/// C1 and C1b on one server, B on another; both are up before and after every block.
fn pair() -> Plan {
    of_servers("B")
}

/// The throughput of each trial: that of its server's state, which an AR(1) process of correlation `rho` moves from block to
/// block so that the log ratio of the two servers has a standard deviation of `sd`, with 1 % of the trial's own.
fn living(seed: u64, rho: f64, sd: f64, effect: f64) -> Vec<CellMetrics> {
    let mut rng = SplitMix64::new(seed);
    let of_one = sd / std::f64::consts::SQRT_2;
    let (mut a, mut b) = (of_one * rng.normal(), of_one * rng.normal());
    let mut out = Vec::new();
    for block in 1..=BLOCKS {
        for (variant, state) in [("C1", a), ("C1b", a), ("B", b + effect.ln())] {
            let log = rng.normal().mul_add(0.01, state);
            out.push(cell(variant, block, &[(TPUT, 100.0 * log.exp())]));
        }
        let mut next = |state: f64| rho * state + (1.0 - rho * rho).sqrt() * of_one * rng.normal();
        (a, b) = (next(a), next(b));
    }
    out
}

/// Verdicts of [`REPETITIONS`] comparisons: Better, Worse.
fn verdicts(plan: &Plan, rho: f64, sd: f64, effect: f64) -> (u32, u32) {
    let (mut better, mut worse) = (0, 0);
    for seed in 0..REPETITIONS {
        match find(&study(plan, &living(7000 + seed, rho, sd, effect)), "B", TPUT).verdict {
            Verdict::Better => better += 1,
            Verdict::Worse { .. } => worse += 1,
            _ => {}
        }
    }
    (better, worse)
}

#[test]
#[expect(clippy::print_stderr, reason = "the table, for whoever asks for it")]
fn two_servers_that_drift_are_told_apart_at_the_promised_rates() {
    let plan = pair();
    let print = std::env::var_os("SERVELAB_PRINT").is_some();
    // The largest spread is the hardest on both sides; the others are for the table.
    let spreads: &[f64] = if print { &[0.03, 0.04, 0.05] } else { &[0.05] };
    for rho in [0.3, 0.6] {
        for &sd in spreads {
            let [none, ten] = [1.0, 1.1].map(|effect| verdicts(&plan, rho, sd, effect));
            if print {
                let three = verdicts(&plan, rho, sd, 1.03);
                eprintln!(
                    "ρ {rho}, SD {sd}: at 0 % {} Better or Worse, at 3 % {} Better and {} Worse, at 10 % {} Better",
                    none.0 + none.1,
                    three.0,
                    three.1,
                    ten.0
                );
            }
            assert!(
                none.0 + none.1 <= 16,
                "ρ {rho}, SD {sd}: {none:?} of {REPETITIONS} at 0 %"
            );
            assert!(ten.0 >= 160, "ρ {rho}, SD {sd}: {ten:?} of {REPETITIONS} at 10 %");
            assert_eq!(ten.1, 0, "ρ {rho}, SD {sd}");
        }
    }
}

#[test]
fn without_the_correction_drift_is_taken_for_a_difference() {
    // The same numbers of engines that were started anew in each block: every other false alarm is the drift's.
    let started = plan(&[("B", "C1")]);
    let (better, worse) = verdicts(&started, 0.6, 0.05, 1.0);
    assert!(better + worse > 20, "{better} + {worse} of {REPETITIONS}");
}

fn estimate(plan: &Plan, cells: &[CellMetrics]) -> Estimate {
    find(&study(plan, cells), "B", TPUT).estimate.unwrap()
}

#[test]
fn the_estimate_says_how_much_blocks_hang_together_and_is_never_narrower() {
    for seed in 0..20 {
        let cells = living(seed, 0.3, 0.04, 1.0);
        let (lives, started) = (estimate(&pair(), &cells), estimate(&plan(&[("B", "C1")]), &cells));
        let together = lives.autocorrelation.unwrap();
        assert!(together.lag1 >= 0.0 && together.lag1_measured.is_some());
        assert!(together.effective_blocks <= f64::from(BLOCKS));
        let (wide, narrow) = (lives.interval_percent.unwrap(), started.interval_percent.unwrap());
        assert!(
            wide.low <= narrow.low && wide.high >= narrow.high,
            "{wide:?} {narrow:?}"
        );
        assert!(lives.p_t >= started.p_t, "{lives:?} {started:?}");
        assert_eq!((started.autocorrelation, lives.p_sign_flip), (None, None));
    }
}

#[test]
fn a_study_of_servers_that_live_on_says_so() {
    let s = study(&pair(), &living(1, 0.0, 0.03, 1.0));
    assert!(s.notes.contains(&Note::EnginesLiveOn));
    assert!(s.aa[0].estimate.unwrap().autocorrelation.is_some());
    let started = study(&plan(&[("B", "C1")]), &living(1, 0.0, 0.03, 1.0));
    assert!(!started.notes.contains(&Note::EnginesLiveOn));
}
