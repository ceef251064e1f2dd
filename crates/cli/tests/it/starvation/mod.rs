//! A client that is frozen, throttled or crowded out never gives a Valid number that is off by more than 2 %, in a closed
//! and in an open loop. Through the program itself, against the null server in a process of its own, whose times are known.
//!
//! `machine` has the ways to starve a process; what CI runs is here, a few seconds for each; `torture` repeats it all and
//! prints the table (`make torture-starvation`). All of it needs root: real-time scheduling and a CPU quota. Where the
//! machine refuses one of these, the test fails and says which.

mod machine;
#[cfg(feature = "torture")]
mod torture;

use crate::support::command_output;
use machine::{Burner, Client, Server, Starve};
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a median may be off at most in a Valid result.
const OFF: f64 = 0.02;

/// The server's times: what a client that is not starved measures.
const TTFT_MS: u32 = 50;
const ITL_MS: u32 = 5;
const CHUNKS: u32 = 16;

/// Starved runs are bound to one core and must not starve each other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which loop, and how heavy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loop {
    Closed { concurrency: u32 },
    Open { rate: u32 },
}

impl Loop {
    const LIGHT: [Self; 2] = [Self::Closed { concurrency: 4 }, Self::Open { rate: 40 }];
    /// Work for which a fifth of a core is too little and a whole one enough; an optimised client does more.
    const HEAVY: [Self; 2] = if cfg!(debug_assertions) {
        [Self::Closed { concurrency: 32 }, Self::Open { rate: 250 }]
    } else {
        [Self::Closed { concurrency: 200 }, Self::Open { rate: 1500 }]
    };

    fn words(self) -> [String; 2] {
        match self {
            Self::Closed { concurrency } => ["--concurrency".to_owned(), concurrency.to_string()],
            Self::Open { rate } => ["--rate".to_owned(), rate.to_string()],
        }
    }
}

/// What one bench said.
#[derive(Debug, Clone)]
struct Result {
    valid: bool,
    failed: Vec<String>,
    ttft_p50_s: f64,
    tpot_p50_s: f64,
    instrument: Value,
    gates: Value,
}

impl Result {
    fn of(answer: &str) -> Self {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let one = &answer["results"][0];
        let median = |name: &str| one[name]["quantiles"][0]["point_s"].as_f64().unwrap_or(f64::INFINITY);
        let gates = one["gates"].as_array().unwrap();
        let failed = gates.iter().filter(|g| g["outcome"] == "failed");
        Self {
            valid: one["valid"] == true,
            failed: failed.map(|g| g["gate"].as_str().unwrap().to_owned()).collect(),
            ttft_p50_s: median("ttft"),
            tpot_p50_s: median("tpot"),
            instrument: one["instrument"].clone(),
            gates: one["gates"].clone(),
        }
    }

    /// By how much the worse of the two medians is off.
    fn off(&self, calm: &Self) -> f64 {
        let off = |seen: f64, calm: f64| (seen / calm - 1.0).abs();
        off(self.ttft_p50_s, calm.ttft_p50_s).max(off(self.tpot_p50_s, calm.tpot_p50_s))
    }

    fn starved(&self, what: &str) -> Option<f64> {
        self.instrument["starvation"][what].as_f64()
    }
}

/// One bench of some length, starved that way.
fn bench(server: &Server, load: Loop, extent: &[&str], starve: Starve) -> Result {
    let [kind, size] = load.words();
    let chunks = CHUNKS.to_string();
    let words = [
        "bench",
        "--url",
        &server.url,
        "--model",
        "m",
        "--max-tokens",
        &chunks,
        "--format",
        "json",
        &kind,
        &size,
    ];
    let client = Client::start(&[&words[..], extent].concat(), starve);
    let said = command_output(&client.output());
    assert!(said.code == 0 || said.code == 6, "{}\n{}", said.code, said.err);
    Result::of(&said.out)
}

const SHORT: [&str; 2] = ["--duration", "2s"];

/// What nothing disturbs: real-time scheduling, as the server has.
fn calm(server: &Server, load: Loop) -> Result {
    let calm = bench(server, load, &SHORT, Starve::Nothing { real_time: true });
    let truth = (f64::from(TTFT_MS) / 1e3, f64::from(ITL_MS) / 1e3);
    let off = (calm.ttft_p50_s / truth.0 - 1.0)
        .abs()
        .max((calm.tpot_p50_s / truth.1 - 1.0).abs());
    assert!(off < OFF, "not even the calm run measures the server: {calm:?}");
    calm
}

/// Both loops, starved that way: never Valid and off. Returns what they said.
fn never_valid_and_off(loads: [Loop; 2], extent: &[&str], starve: Starve) -> Vec<Result> {
    let _alone = alone();
    let server = Server::start(TTFT_MS, ITL_MS, CHUNKS);
    let starved = |load: Loop| {
        let calm = calm(&server, load);
        let result = bench(&server, load, extent, starve);
        let off = result.off(&calm);
        assert!(
            !result.valid || off <= OFF,
            "{load:?}, {starve:?}: Valid and off by {off}: {}\n{result:?}\ncalm: {calm:?}",
            result.gates
        );
        result
    };
    loads.map(starved).into()
}

#[test]
fn a_client_that_is_stopped_again_and_again_is_invalid() {
    for result in never_valid_and_off(Loop::LIGHT, &SHORT, Starve::Stopped) {
        assert!(result.failed.contains(&"starvation".to_owned()), "{result:?}");
        let missed = result.instrument["event_loop_missed_ticks"].as_u64().unwrap();
        assert!(
            missed >= 48,
            "one stop of 0.25 s swallows at least so many ticks: {missed}"
        );
    }
}

#[test]
fn a_client_with_a_fifth_of_a_core_is_invalid() {
    for result in never_valid_and_off(Loop::HEAVY, &SHORT, Starve::Quota) {
        assert!(
            result.starved("throttled_count").is_some_and(|n| n >= 1.0),
            "{result:?}"
        );
        assert!(result.failed.contains(&"starvation".to_owned()), "{result:?}");
    }
}

#[test]
fn a_client_whose_core_a_neighbour_takes_is_invalid() {
    for result in never_valid_and_off(Loop::LIGHT, &SHORT, Starve::Neighbour) {
        assert!(result.failed.contains(&"starvation".to_owned()), "{result:?}");
        assert!(
            result.starved("run_queue_wait_ratio").is_some_and(|r| r > OFF),
            "{result:?}"
        );
    }
}

#[test]
fn a_client_that_is_nice_beside_burners_is_never_valid_and_off() {
    for result in never_valid_and_off(Loop::LIGHT, &SHORT, Starve::Nice) {
        assert!(
            result.starved("run_queue_wait_ratio").is_some_and(|r| r > 0.0),
            "{result:?}"
        );
    }
}

/// Below 100 ticks it is the largest lag that is judged.
#[test]
fn a_short_run_that_stutters_is_invalid() {
    for result in never_valid_and_off(Loop::LIGHT, &["--requests", "8"], Starve::Stuttering) {
        let ticks = result.instrument["event_loop_ticks"].as_u64().unwrap();
        assert!(ticks < 100, "not a short run: {ticks} ticks\n{result:?}");
        let gates = result.gates.as_array().unwrap();
        let lag = gates.iter().find(|g| g["gate"] == "event-loop-lag").unwrap();
        assert!(lag["observed"].as_str().unwrap().contains("largest"), "{result:?}");
        assert_eq!(lag["outcome"], "failed", "{result:?}");
    }
}

#[test]
fn a_burner_ends_with_its_owner() {
    let burner = Burner::start(machine::core(), &[]);
    let proc = format!("/proc/{}", burner.id());
    assert!(std::path::Path::new(&proc).exists());
    drop(burner);
    assert!(!std::path::Path::new(&proc).exists());
}
