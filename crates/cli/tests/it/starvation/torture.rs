//! All ways to starve, in both loops, many times; and how often a calm run is called Invalid. `make torture-starvation`
//! on an idle machine; it takes about six minutes and prints its table.

use super::{CHUNKS, ITL_MS};
use super::{Loop, OFF, Result, SHORT, Server, Starve, TTFT_MS, alone, bench, calm};
use std::{
    collections::BTreeMap,
    io::{Write, stderr},
};

/// Runs of each kind.
const RUNS: usize = 10;

fn say(line: &str) {
    stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// One row of the table; whether it holds.
fn row(name: &str, load: Loop, calm: &Result, results: &[Result]) -> bool {
    let worst = |valid: bool| {
        let of = results.iter().filter(|r| r.valid == valid);
        of.map(|r| r.off(calm))
            .fold(None, |worst: Option<f64>, off| Some(worst.map_or(off, |w| w.max(off))))
    };
    let mut gates: BTreeMap<&str, usize> = BTreeMap::new();
    for gate in results.iter().flat_map(|r| &r.failed) {
        *gates.entry(gate).or_default() += 1;
    }
    let percent = |off: Option<f64>| off.map_or_else(|| "–".to_owned(), |off| format!("{:.1} %", off * 100.0));
    let valid = results.iter().filter(|r| r.valid).count();
    let gates: Vec<String> = gates.iter().map(|(gate, n)| format!("{gate} {n}")).collect();
    say(&format!(
        "| {name} | {load:?} | {valid} of {} | {} | {} | {} |",
        results.len(),
        percent(worst(true)),
        percent(worst(false)),
        gates.join(", ")
    ));
    worst(true).is_none_or(|off| off <= OFF)
}

#[test]
fn never_valid_and_off() {
    let _alone = alone();
    let server = Server::start(TTFT_MS, ITL_MS, CHUNKS);
    say("\n| starved by | load | Valid | worst median off, Valid | worst median off, Invalid | gates that failed |");
    say("| --- | --- | --- | --- | --- | --- |");
    let ways = [
        ("nothing", Starve::Nothing { real_time: false }),
        ("SIGSTOP 0.25 s, SIGCONT 0.5 s", Starve::Stopped),
        ("quota of 20 %", Starve::Quota),
        ("real-time neighbour", Starve::Neighbour),
        ("nice 19, two burners", Starve::Nice),
    ];
    let mut holds = true;
    for load in [Loop::LIGHT, Loop::HEAVY].concat() {
        let calm = calm(&server, load);
        for (name, starve) in ways {
            let results: Vec<Result> = (0..RUNS).map(|_| bench(&server, load, &SHORT, starve)).collect();
            holds &= row(name, load, &calm, &results);
        }
    }
    assert!(holds, "a Valid median was off by more than {OFF}");
}

#[test]
fn calm_short_runs_are_valid() {
    let _alone = alone();
    let server = Server::start(TTFT_MS, ITL_MS, CHUNKS);
    for load in Loop::LIGHT {
        let run = |_| {
            bench(
                &server,
                load,
                &["--requests", "12"],
                Starve::Nothing { real_time: false },
            )
        };
        let results: Vec<Result> = (0..20).map(run).collect();
        let valid = results.iter().filter(|r| r.valid).count();
        say(&format!("calm, 12 requests, {load:?}: {valid} of 20 Valid"));
        for invalid in results.iter().filter(|r| !r.valid) {
            say(&format!("  {:?} {}", invalid.failed, invalid.gates));
        }
        assert!(valid >= 19, "{load:?}: {valid} of 20");
    }
}
