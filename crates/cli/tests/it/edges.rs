//! The plan of the house holds: a room uses the rooms it may use and no others, and heavy libraries live where they belong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What each room may use of the other rooms. ARCHITECTURE.md explains it; change both or neither.
const ROOMS: &[(&str, &[&str])] = &[
    ("schema", &[]),
    ("stats", &[]),
    ("chat", &[]),
    ("workload", &["schema", "chat"]),
    ("matrix", &["schema"]),
    ("load", &["schema"]),
    ("engine", &["schema"]),
    ("telemetry", &["schema"]),
    ("nvml-stub", &[]),
    ("evidence", &["schema"]),
    ("findings", &["schema", "stats"]),
    (
        "runner",
        &["schema", "load", "engine", "telemetry", "evidence", "findings"],
    ),
    ("bench", &["schema", "stats", "chat", "load", "engine", "findings"]),
    ("simengine", &["chat"]),
    ("store", &["schema", "evidence", "findings"]),
    ("report", &["schema", "findings", "store"]),
    (
        "cli",
        &[
            "schema",
            "chat",
            "workload",
            "matrix",
            "load",
            "engine",
            "telemetry",
            "evidence",
            "findings",
            "bench",
            "runner",
            "simengine",
            "store",
            "report",
            "stats",
        ],
    ),
];

/// The only rooms that may use a heavy library.
const HEAVY: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    ("clap", &["cli", "simengine"]),
    ("indicatif", &["cli"]),
    ("inference-lab", &["simengine"]),
    ("minijinja", &["chat", "workload", "report"]),
    ("nvml-wrapper", &["telemetry"]),
    ("plotters", &["report"]),
    ("reqwest", &["engine", "telemetry"]),
    ("rusqlite", &["store"]),
    ("tokenizers", &["chat"]),
    ("tokio", &["load", "engine", "runner", "bench", "simengine", "cli"]),
];

/// Rooms that are pure: no runtime, no files, no randomness from outside.
const PURE: &[&str] = &["schema", "stats", "findings"];

fn dependencies(room: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(room)
        .join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map(|t| t.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn every_room_is_in_the_plan() {
    let crates = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    let found: BTreeSet<String> = crates.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let planned: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(found, planned);
}

#[test]
fn no_forbidden_edge() {
    for (room, allowed) in ROOMS {
        for dependency in dependencies(room) {
            if let Some(other) = dependency.strip_prefix("servelab-") {
                assert!(
                    allowed.contains(&other),
                    "{room} must not use {other}: see the rooms in ARCHITECTURE.md"
                );
            }
        }
    }
}

#[test]
fn heavy_libraries_stay_in_their_rooms() {
    let heavy: BTreeMap<&str, &[&str]> = HEAVY.iter().copied().collect();
    for (room, _) in ROOMS {
        for dependency in dependencies(room) {
            if let Some(rooms) = heavy.get(dependency.as_str()) {
                assert!(
                    rooms.contains(room),
                    "{room} must not use {dependency}; only {rooms:?} may"
                );
            }
        }
    }
}

#[test]
fn pure_rooms_use_no_runtime() {
    for room in PURE {
        for dependency in dependencies(room) {
            let impure = ["tokio", "rand", "time", "rustix", "reqwest", "tempfile"].contains(&dependency.as_str());
            assert!(!impure, "{room} is pure and must not use {dependency}");
        }
    }
}
