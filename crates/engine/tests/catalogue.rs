//! The committed catalogues say what the help of both vLLM versions says. The recorded help is kept as its entries and
//! defaults only: its sentences are vLLM's authors'.

#![expect(clippy::panic, reason = "tests")]

use servelab_engine::catalogue::{parse, to_toml};
use servelab_schema::{ArgValue, Dialect, FlagCatalogue, FlagKind};

const NEW: (&str, &str, &str) = (
    "0.32.0",
    include_str!("data/vllm-0.32.0-entries.txt"),
    include_str!("../../../matrix/engines/vllm/0.32.0.toml"),
);
const OLD: (&str, &str, &str) = (
    "0.8.5.post2",
    include_str!("data/vllm-0.8.5.post2-entries.txt"),
    include_str!("../../../matrix/engines/vllm/0.8.5.post2.toml"),
);

fn read((version, help, _): (&str, &str, &str)) -> FlagCatalogue {
    parse(help, Dialect::Vllm, version, "cpu").unwrap_or_else(|e| panic!("{version}: {e}"))
}

#[test]
fn every_flag_of_both_versions_is_found() {
    for (recorded, flags) in [(NEW, 316), (OLD, 137)] {
        let lines = recorded.1.lines().filter(|line| line.starts_with("  --")).count();
        assert_eq!((lines, read(recorded).flags.len()), (flags, flags), "{}", recorded.0);
    }
}

#[test]
fn the_committed_catalogues_are_what_the_help_says() {
    for recorded in [NEW, OLD] {
        let catalogue = read(recorded);
        let committed: FlagCatalogue = toml::from_str(recorded.2).unwrap();
        for (name, spec) in &catalogue.flags {
            assert_eq!(Some(spec), committed.flags.get(name), "{name} of {}", recorded.0);
        }
        assert_eq!(catalogue, committed);
        let body = |text: &str| {
            text.lines()
                .filter(|l| !l.starts_with('#'))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(
            body(&to_toml(&catalogue, "")),
            body(recorded.2),
            "in the form that is written today"
        );
    }
}

#[test]
fn what_the_lint_relies_on() {
    let (new, old) = (read(NEW).flags, read(OLD).flags);
    for gone in [
        "swap-space",
        "tokenizer-pool-size",
        "disable-log-requests",
        "num-scheduler-steps",
    ] {
        assert!(old.contains_key(gone) && !new.contains_key(gone), "{gone}");
    }
    for added in [
        "kv-offloading-size",
        "api-server-count",
        "async-scheduling",
        "attention-backend",
    ] {
        assert!(new.contains_key(added) && !old.contains_key(added), "{added}");
    }
    assert_eq!(old.get("swap-space").unwrap().default, Some(ArgValue::Integer(4)));
    assert_eq!(
        new.get("kv-cache-dtype").unwrap().default,
        Some(ArgValue::Text("auto".into()))
    );
    assert_eq!(new.get("speculative-config").unwrap().aliases, ["sc"]);
    assert_eq!(new.get("enforce-eager").unwrap().kind, FlagKind::Toggle);
    assert_eq!(old.get("enforce-eager").unwrap().kind, FlagKind::Switch);
    assert!(old.get("tokenizer-pool-size").unwrap().deprecated);
    // The platform decides these two, so the help names nothing.
    assert_eq!(new.get("block-size").unwrap().default, None);
    assert_eq!(new.get("async-scheduling").unwrap().default, None);
}
