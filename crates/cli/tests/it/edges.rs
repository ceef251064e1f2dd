//! The plan of the house holds. The table of rooms in ARCHITECTURE.md is the only place where it is written; this test reads
//! it and holds the manifests against it, both ways: what a room uses stands in its row, and what stands in its row it uses.
//! Dependencies of tests are free.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A library that brings so many others with it (in Cargo.lock, on all targets) is heavy, named or not.
const HEAVY_CRATES: usize = 20;

/// What reads clocks, files, sockets or the system's randomness.
const IMPURE: [&str; 9] = [
    "getrandom",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "tempfile",
    "time",
    "tokio",
    "tracing-subscriber",
];

type Names = BTreeSet<String>;

/// What a row of the table allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Room {
    /// None where it may use all rooms.
    rooms: Option<Names>,
    heavy: Names,
}

#[derive(Debug, Clone)]
struct Plan {
    rooms: BTreeMap<String, Room>,
    pure: Names,
}

/// What is there: the dependencies of each crate, and how many crates each library brings.
#[derive(Debug, Clone)]
struct House {
    manifests: BTreeMap<String, Names>,
    brings: BTreeMap<String, usize>,
}

fn names(list: &str) -> Names {
    let names = list.split(',').map(|name| name.trim().trim_matches('`').to_owned());
    names.filter(|name| !["", "–"].contains(&name.as_str())).collect()
}

/// What stands before and after `mark`.
fn cut<'t>(text: &'t str, mark: &str) -> (&'t str, &'t str) {
    text.split_once(mark)
        .unwrap_or_else(|| panic!("ARCHITECTURE.md has no {mark:?} where it is looked for"))
}

impl Plan {
    /// The table under `## Rooms`, and the names before "are pure".
    fn read(architecture: &str) -> Self {
        let (_, rooms) = cut(architecture, "\n## Rooms\n");
        let (rooms, rest) = cut(rooms, "\n## ");
        let rows = rooms.lines().filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", name, _, rooms, heavy, ""] = cells.as_slice() else {
                assert!(!line.starts_with('|'), "no row of four columns: {line}");
                return None;
            };
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            let rooms = (*rooms != "all").then(|| names(rooms));
            let heavy = names(heavy);
            Some((name.to_owned(), Room { rooms, heavy }))
        });
        let (before, _) = cut(rest, " are pure");
        let (_, pure) = cut(before, "\n2. ");
        Self {
            rooms: rows.collect(),
            pure: pure.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        }
    }
}

fn table(text: &str) -> toml::Table {
    text.parse().unwrap()
}

/// The names of everything that a manifest needs outside its tests.
fn dependencies(manifest: &toml::Table) -> Names {
    let of = |table: &toml::Table| -> Vec<String> {
        let keys = ["dependencies", "build-dependencies"].map(|key| table.get(key).and_then(toml::Value::as_table));
        keys.into_iter().flatten().flat_map(|t| t.keys().cloned()).collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let by_target = targets
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table);
    of(manifest).into_iter().chain(by_target.flat_map(of)).collect()
}

/// How many other crates each package of a lock file brings; where it has several versions, the most.
fn brings(lock: &toml::Table) -> BTreeMap<String, usize> {
    let text = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).unwrap().to_owned();
    let packages = lock.get("package").and_then(toml::Value::as_array).unwrap();
    let mut needs: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for package in packages {
        let list = package
            .get("dependencies")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        let list = list.map(|d| d.as_str().unwrap().to_owned()).collect();
        needs.insert((text(package, "name"), text(package, "version")), list);
    }
    // `name`, or `name version` where the lock file has several.
    let found = |dependency: &str| -> (String, String) {
        let (name, version) = dependency.split_once(' ').unwrap_or((dependency, ""));
        let version = version.split(' ').next().unwrap();
        let mut all = needs
            .keys()
            .filter(|(n, v)| n == name && (version.is_empty() || v == version));
        all.next()
            .unwrap_or_else(|| panic!("{dependency} is not locked"))
            .clone()
    };
    let mut brings = BTreeMap::new();
    for package in needs.keys() {
        let mut seen = BTreeSet::from([package.clone()]);
        let mut open = vec![package.clone()];
        while let Some(next) = open.pop() {
            open.extend(needs[&next].iter().map(|d| found(d)).filter(|d| seen.insert(d.clone())));
        }
        let most = brings.entry(package.0.clone()).or_insert(0);
        *most = seen.len().saturating_sub(1).max(*most);
    }
    brings
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

impl House {
    fn here() -> Self {
        let manifests = fs::read_dir(root().join("crates")).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let manifest = table(&read(&entry.path().join("Cargo.toml")));
            (entry.file_name().into_string().unwrap(), dependencies(&manifest))
        });
        Self {
            manifests: manifests.collect(),
            brings: brings(&table(&read(&root().join("Cargo.lock")))),
        }
    }

    /// Libraries with many crates behind them.
    fn is_big(&self, library: &str) -> bool {
        self.brings.get(library).is_some_and(|n| *n >= HEAVY_CRATES)
    }
}

/// Everything in which plan and house differ, each with its remedy.
fn differences(plan: &Plan, house: &House) -> Vec<String> {
    let mut found = Vec::new();
    let none = Names::new();
    let named: Names = plan.rooms.values().flat_map(|room| room.heavy.clone()).collect();
    for (name, room) in &plan.rooms {
        let Some(uses) = house.manifests.get(name) else {
            found.push(format!(
                "the table has a row for {name}, which is no crate: take it out or furnish it"
            ));
            continue;
        };
        let (rooms, libraries): (Names, Names) = uses.iter().cloned().partition(|d| d.starts_with("servelab-"));
        let rooms: Names = rooms
            .iter()
            .map(|d| d.trim_start_matches("servelab-").to_owned())
            .collect();
        if let Some(allowed) = &room.rooms {
            let forbidden = rooms
                .difference(allowed)
                .map(|other| format!("{name} must not use {other}: it is not in its row"));
            let unused = allowed
                .difference(&rooms)
                .map(|other| format!("{name} does not use {other}: take it out of its row"));
            found.extend(forbidden.chain(unused));
        }
        let heavy: Names = libraries
            .iter()
            .filter(|l| named.contains(*l) || house.is_big(l))
            .cloned()
            .collect();
        found.extend(heavy.difference(&room.heavy).map(|library| {
            let n = house.brings.get(library).copied().unwrap_or(0);
            format!("{name} uses {library}, which brings {n} crates: name it in its row, or do without it")
        }));
        let gone = room.heavy.difference(&heavy);
        found.extend(gone.map(|library| format!("{name} does not use {library}: take it out of its row")));
        if plan.pure.contains(name) {
            let impure = libraries.iter().filter(|l| IMPURE.contains(&l.as_str()));
            let outside = room.rooms.as_ref().unwrap_or(&none).difference(&plan.pure);
            found.extend(
                impure
                    .chain(outside)
                    .map(|d| format!("{name} is pure and must not use {d}")),
            );
        }
    }
    let unplanned = house.manifests.keys().filter(|name| !plan.rooms.contains_key(*name));
    found.extend(unplanned.map(|name| format!("the table has no row for the crate {name}")));
    let missing = plan.pure.iter().filter(|name| !plan.rooms.contains_key(*name));
    found.extend(missing.map(|name| format!("{name} is said to be pure and has no row")));
    found
}

#[test]
fn the_house_is_as_planned() {
    let plan = Plan::read(&read(&root().join("ARCHITECTURE.md")));
    let found = differences(&plan, &House::here());
    assert!(
        found.is_empty(),
        "the table of rooms in ARCHITECTURE.md and the manifests differ:\n{}",
        found.join("\n")
    );
}

const SMALL: &str =
    "# A\n\n## Rooms\n\n| crate | what it is for | may use of the others | heavy libraries |\n| --- | --- | --- | --- |
| `types` | types | – | – |
| `sums` | pure | types | statistics |
| `door` | all of it | all | commands |

## Invariants

1. Some.
2. `types` and `sums` are pure. One clock.\n";

fn small() -> House {
    let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\ndependencies = [\"b 1\", \"c\"]\n
[[package]]\nname = \"b\"\nversion = \"1\"\ndependencies = [\"c\"]\n
[[package]]\nname = \"b\"\nversion = \"2\"\n\n[[package]]\nname = \"c\"\nversion = \"1\"\ndependencies = [\"b 1\"]\n";
    let mut brings = brings(&table(lock));
    assert_eq!(
        brings,
        BTreeMap::from([("a".into(), 2), ("b".into(), 1), ("c".into(), 1)])
    );
    brings.insert("huge".into(), HEAVY_CRATES);
    let manifest = |text: &str| dependencies(&table(text));
    House {
        manifests: BTreeMap::from([
            (
                "types".into(),
                manifest("[dependencies]\nserde = \"1\"\n[dev-dependencies]\nhuge = \"1\""),
            ),
            (
                "sums".into(),
                manifest("[dependencies]\nservelab-types = \"1\"\nstatistics.workspace = true"),
            ),
            (
                "door".into(),
                manifest("[dependencies]\nservelab-sums = \"1\"\n[target.'cfg(unix)'.dependencies]\ncommands = \"1\""),
            ),
        ]),
        brings,
    }
}

/// The check can fail, in each of its ways.
#[test]
fn every_difference_is_found() {
    let plan = Plan::read(SMALL);
    assert_eq!(differences(&plan, &small()), Vec::<String>::new());
    let check = |change: &dyn Fn(&mut House), expected: &[&str]| {
        let mut house = small();
        change(&mut house);
        assert_eq!(differences(&plan, &house), expected);
    };
    let uses = |room: &'static str, library: &'static str| {
        move |house: &mut House| {
            house.manifests.get_mut(room).unwrap().insert(library.into());
        }
    };
    let drops = |room: &'static str, library: &'static str| {
        move |house: &mut House| {
            assert!(house.manifests.get_mut(room).unwrap().remove(library));
        }
    };
    check(
        &uses("types", "servelab-sums"),
        &["types must not use sums: it is not in its row"],
    );
    check(
        &drops("sums", "servelab-types"),
        &["sums does not use types: take it out of its row"],
    );
    check(
        &uses("types", "statistics"),
        &["types uses statistics, which brings 0 crates: name it in its row, or do without it"],
    );
    check(
        &uses("door", "huge"),
        &["door uses huge, which brings 20 crates: name it in its row, or do without it"],
    );
    check(
        &drops("door", "commands"),
        &["door does not use commands: take it out of its row"],
    );
    check(&uses("sums", "rustix"), &["sums is pure and must not use rustix"]);
    check(
        &|house| drop(house.manifests.insert("cellar".into(), Names::new())),
        &["the table has no row for the crate cellar"],
    );
    check(
        &|house| drop(house.manifests.remove("door")),
        &["the table has a row for door, which is no crate: take it out or furnish it"],
    );
}
