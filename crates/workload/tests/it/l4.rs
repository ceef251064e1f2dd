//! The shipped L4 sets, built once: the pinned bytes and every promise about them.

use crate::common;
use servelab_schema::{Bucket, Prompt, Task};
use servelab_workload::{VerifyOptions, build, ks_distance, verify};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

fn prompts(path: &Path) -> Vec<Prompt> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The hash of the 1800 measured prompts. Whoever changes it changes what is measured: see CHANGELOG.md, Measurement.
const L4_1800: &str = "56d381cd3d3cde54a5287839ddf193185d771cf14a160087215d95b5b9de1257";

#[test]
fn the_l4_sets_are_as_promised() {
    let out = tempfile::tempdir().unwrap();
    let report = build(
        &common::root().join("datasets/l4.toml"),
        &common::root(),
        out.path(),
        2,
        &|_| (),
    )
    .unwrap();

    let shape: Vec<_> = report
        .sets
        .iter()
        .map(|s| (s.id.as_str(), s.prompts, s.blocks, s.pinned))
        .collect();
    assert_eq!(
        shape,
        [
            ("l4-1800", 1800, 10, true),
            ("l4-demo-180", 180, 4, true),
            ("l4-filler-90", 90, 0, true)
        ]
    );
    assert_eq!(report.sets[0].sha256.as_str(), L4_1800);
    assert_eq!(common::sha256(&std::fs::read(&report.sets[0].path).unwrap()), L4_1800);
    assert!(
        report.longest_common_prefix_tokens < 16,
        "{}",
        report.longest_common_prefix_tokens
    );
    for cell in &report.cells {
        assert_eq!(cell.prompts, 200);
        assert!(cell.ks_distance < 0.02, "{cell:?}");
        assert!(cell.largest_miss_tokens <= 8, "{cell:?}");
    }

    let full = prompts(&report.sets[0].path);
    let demo = prompts(&report.sets[1].path);
    let filler = prompts(&report.sets[2].path);
    let mut cells = BTreeMap::new();
    for prompt in &full {
        *cells.entry((prompt.block, prompt.task, prompt.bucket)).or_insert(0) += 1;
        assert!(prompt.prompt_tokens.get() + prompt.max_new_tokens.get() <= 8192);
        assert_eq!(prompt.answer.is_some(), prompt.task == Task::Qa);
    }
    assert_eq!(cells.len(), 90);
    assert!(cells.values().all(|n| *n == 20));

    // The demo is a part of the full set, balanced in itself, its lengths still log-uniform.
    let by_id: BTreeMap<_, _> = full.iter().map(|p| (&p.id, p)).collect();
    let mut cells = BTreeMap::new();
    for prompt in &demo {
        assert_eq!(
            Prompt {
                block: prompt.block,
                ..by_id[&prompt.id].clone()
            },
            *prompt
        );
        *cells.entry((prompt.block, prompt.task, prompt.bucket)).or_insert(0) += 1;
    }
    assert_eq!(cells.len(), 36);
    assert!(cells.values().all(|n| *n == 5));
    let lengths = |bucket: Bucket| -> Vec<u32> {
        demo.iter()
            .filter(|p| p.bucket == bucket)
            .map(|p| p.prompt_tokens.get())
            .collect()
    };
    assert!(ks_distance(&lengths(Bucket::M), 513, 2048) < 0.06);

    // Fillers are of other records.
    let records = |prompts: &[Prompt]| -> BTreeSet<(String, String)> {
        let sources = prompts
            .iter()
            .flat_map(|p| std::iter::once(&p.source.primary).chain(&p.source.distractors));
        sources
            .map(|s| (s.dataset.clone(), s.record.split('#').next().unwrap().to_owned()))
            .collect()
    };
    assert!(records(&full).is_disjoint(&records(&filler)));
    assert_eq!(filler.len(), 90);
    assert!(
        filler
            .iter()
            .all(|p| p.block == 0 && p.id.as_str().starts_with("filler-"))
    );

    // Counted again from scratch. The build is not repeated here: tests/small.rs does that.
    for set in &report.sets {
        let options = VerifyOptions {
            rebuild: false,
            threads: 2,
        };
        let verified = verify(&set.path, &common::root(), options, &|_| ()).unwrap();
        let violations: Vec<_> = verified.violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert_eq!(
            (verified.prompts, verified.prompt_tokens),
            (set.prompts, set.prompt_tokens)
        );
    }
}
