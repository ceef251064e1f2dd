//! Names that programs go by: all of them, in JSON and CSV, whatever is asked for; each is documented.

use super::*;
use servelab_bench::{
    AskedSearch, AtLoad,
    find_max::{FindMax, Found, Look, Objective, ObjectiveName, Probe, Searched, Stopped, Undecided, Verdict},
    knee::{KneeBy, KneeFound, KneePoint, LeftOut, LeftOutWhy, SweepKnee},
};
use servelab_stats::Decision;

/// Members whose names are somebody else's: reasons, turns, members of a body.
const OPEN: [&str; 5] = ["examples", "extra_body", "failed_by_reason", "remedies", "ttft_by_turn"];

/// Names of everything in it, dotted; of a list, those of all its elements. A spread has always the same, which stand once.
fn names(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let key = path.rsplit('.').next().unwrap_or_default();
    match value {
        Value::Object(map) if map.contains_key("sd") => {
            found.insert(path.trim_start_matches('.').to_owned());
            for key in map.keys() {
                found.insert(format!("SPREAD.{key}"));
            }
        }
        Value::Object(map) if !OPEN.contains(&key) => {
            for (key, inner) in map {
                names(inner, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for inner in list {
                names(inner, &format!("{path}[]"), found);
            }
        }
        _ => {
            found.insert(path.trim_start_matches('.').to_owned());
        }
    }
}

/// A knee with everything that one can have: whether a load counts is the machine's matter, the names are not.
fn knee() -> SweepKnee {
    let at = AtLoad::RatePerS(2.0);
    SweepKnee {
        rule: "",
        by: KneeBy::Requests,
        points: vec![KneePoint {
            at,
            requests_per_s: Some(1.0),
            output_tokens_per_s: None,
            e2e_p50_s: 1.0,
            power_ratio: 1.0,
        }],
        left_out: vec![LeftOut {
            at,
            why: LeftOutWhy::Invalid,
        }],
        found: KneeFound::At {
            at,
            lowest: at,
            highest: at,
        },
    }
}

/// A search with everything.
fn search() -> FindMax {
    let at = AtLoad::RatePerS(2.0);
    let found = Found {
        at,
        confidence: 0.99,
        repeated: true,
    };
    FindMax {
        searched: Searched::Rate,
        objectives: vec![Objective {
            name: ObjectiveName::Ttft,
            limit_s: 1.0,
        }],
        quantile: 0.95,
        error_level: 0.01,
        resolution_ratio: 0.05,
        verdict: Verdict::AtLeast,
        meets: Some(found),
        fails: Some(found),
        undecided: vec![at],
        stopped: Stopped::Instrument { at, why: String::new() },
        elapsed_s: 1.0,
        probes: vec![Probe {
            at,
            repeat: false,
            decision: Decision::Undecided,
            undecided_by: Some(Undecided::Client),
            objectives: vec![Look {
                objective: ObjectiveName::Ttft,
                requests: 1,
                exceeded: 0,
                correlation_time_requests: 1.0,
                decision: Decision::Undecided,
            }],
            looks: 1,
            elapsed_s: 1.0,
        }],
    }
}

/// Names of answers with everything: lengths, members besides, objectives, an open loop; a sweep that gave up; a knee and a search,
/// whose insides no busy machine can spoil.
fn all_names() -> (BTreeSet<String>, String) {
    let mut found = BTreeSet::new();
    let mut add = |said: &Value| {
        assert_eq!(said["v"], 3);
        names(said, "", &mut found);
    };
    let words = ["--requests", "4", "--rate", "50", "--slo", "ttft=1h"];
    let lengths = ["--input-tokens", "32", "--output-tokens", "2"];
    let exact = [&words[..], &lengths, &["--extra-body", "{\"top_p\": 0.9}"]].concat();
    add(&json(sim(), &exact));
    let broken = Server::start(|_, _| Act::Status(503));
    let swept = json(
        &broken.url,
        &[
            "--model",
            "m",
            "--requests",
            "8",
            "--sweep",
            "rate=50,60",
            "--give-up-after",
            "5",
        ],
    );
    assert_eq!(swept["not_run"][0]["rate_per_s"], 60.0);
    add(&swept);
    let server = Server::start(|_, _| answer());
    let mut add_inside = |name: &str, value: Value| names(&value, name, &mut found);
    add_inside("knee", serde_json::to_value(knee()).unwrap());
    add_inside("find_max", serde_json::to_value(search()).unwrap());
    let asked = AskedSearch {
        searched: Searched::Rate,
        quantile: 0.95,
        budget_s: 60.0,
    };
    add_inside("asked.load.find_max", serde_json::to_value(asked).unwrap());
    let csv = run(
        &server.url,
        &["--requests", "4", "--max-tokens", "2", "--format", "csv"],
    )
    .out;
    // What is null in one answer and has members in another one is named by these.
    let has_members = |name: &&String| {
        let inside = [format!("{name}."), format!("{name}[]")];
        let begins = |other: &String| inside.iter().any(|i| other.starts_with(i));
        found.iter().any(begins)
    };
    let leaves = found.iter().filter(|name| !has_members(name)).cloned().collect();
    (leaves, csv.lines().next().unwrap().to_owned())
}

/// Names are a promise: what goes or changes its meaning raises `v`. To write them anew run with `SERVELAB_BLESS=1`.
#[test]
fn names_for_programs_stay() {
    let (found, columns) = all_names();
    for name in &found {
        assert!(!name.ends_with("_ns"), "one unit a name: {name}");
    }
    let text: String = found.iter().map(|name| format!("{name}\n")).collect();
    let columns = columns.replace(',', "\n");
    let text = format!("# json\n{text}# csv\n{columns}\n");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/bench/names.txt");
    if std::env::var_os("SERVELAB_BLESS").is_some() {
        fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap());
}

/// A column as the document writes those of all latencies and percentiles.
fn pattern(column: &str) -> String {
    let latencies = ["ttft_from_scheduled", "e2e_from_scheduled", "ttft", "tpot", "e2e"];
    let of_latency = latencies.iter().find_map(|l| {
        let rest = column.strip_prefix(l)?.strip_prefix('_')?;
        (rest != "kind").then_some(rest)
    });
    let Some(rest) = of_latency else {
        return column.to_owned();
    };
    let number = rest.strip_prefix('p').and_then(|rest| rest.get(..2));
    match number.filter(|n| n.chars().all(|c| c.is_ascii_digit())) {
        Some(number) => format!("LATENCY_{}", rest.replacen(number, "NN", 1)),
        None => format!("LATENCY_{rest}"),
    }
}

/// docs/BENCH.md says what each of them is.
#[test]
fn names_for_programs_are_documented() {
    let text = include_str!("../../../../../docs/BENCH.md");
    let section = text
        .split("\n## ")
        .find(|part| part.starts_with("For programs"))
        .unwrap();
    let documented: BTreeSet<&str> = section.split('`').skip(1).step_by(2).collect();
    let golden = include_str!("names.txt");
    let (json, csv) = golden.split_once("# csv\n").unwrap();
    let mut missing = BTreeSet::new();
    for name in json.lines().skip(1) {
        for part in name.split('.') {
            let part = part.trim_end_matches("[]");
            if !documented.iter().any(|d| d.trim_end_matches("[]") == part) {
                missing.insert(format!("{part} (of {name})"));
            }
        }
    }
    for column in csv.lines() {
        if !documented.contains(pattern(column).as_str()) {
            missing.insert(format!("{} (column {column})", pattern(column)));
        }
    }
    assert!(
        missing.is_empty(),
        "docs/BENCH.md does not say what these are: {missing:#?}"
    );
}
