//! Properties: whatever is written, the answer is a plan or errors with a place and a remedy; and whatever resolves is a
//! contrast of one factor.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    unreachable_pub,
    reason = "tests"
)]

mod common;

use common::Project;
use proptest::prelude::*;
use servelab_matrix::Place;
use servelab_schema::VariantRole;

/// Factors, the flags of each, and values that differ from the starter's baseline.
const FACTORS: [(&str, &[(&str, &str)]); 7] = [
    ("eager", &[("enforce-eager", "true")]),
    ("kv-cache-dtype", &[("kv-cache-dtype", "\"fp8\"")]),
    (
        "frontend-workers",
        &[("api-server-count", "2"), ("renderer-num-workers", "2")],
    ),
    (
        "kv-offload",
        &[("kv-offloading-size", "8"), ("kv-offloading-backend", "\"native\"")],
    ),
    ("max-num-seqs", &[("max-num-seqs", "64")]),
    ("prefix-caching", &[("enable-prefix-caching", "true")]),
    ("weights", &[("quantization", "\"fp8_per_tensor\"")]),
];

fn variant(id: &str, factor: usize, args: &[(usize, usize)]) -> String {
    let mut text = format!(
        "[[variant]]\nid = \"{id}\"\nfactor = \"{}\"\nhypothesis = \"x\"\n[variant.args]\n",
        FACTORS[factor].0
    );
    for (f, i) in args {
        let (flag, value) = FACTORS[*f].1[*i % FACTORS[*f].1.len()];
        if !text.contains(&format!("{flag} = ")) {
            text.push_str(&format!("{flag} = {value}\n"));
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_treatment_is_accepted_exactly_when_its_flags_are_of_its_factor(
        factor in 0..FACTORS.len(),
        args in prop::collection::vec((0..FACTORS.len(), 0..2usize), 1..3),
    ) {
        let project = Project::new().with_matrices();
        project.write("matrix/x.toml", &format!("name = \"x\"\nextends = \"starter.toml\"\n{}", variant("X", factor, &args)));
        let foreign = args.iter().any(|(f, _)| *f != factor);
        match project.resolve("matrix/x.toml") {
            Ok(resolved) => {
                prop_assert!(!foreign);
                let x = resolved.plan.variants.iter().find(|v| v.id.as_str() == "X").unwrap();
                prop_assert_eq!(x.role, VariantRole::Treatment);
                prop_assert!(!x.differs_in.is_empty());
                for flag in &x.differs_in {
                    prop_assert!(FACTORS[factor].1.iter().any(|(name, _)| name == flag), "{}", flag);
                }
            }
            // The offload backend alone is the engine's default, so no contrast.
            Err(errors) => {
                let text = errors.to_string();
                prop_assert!(foreign || text.contains("equal to its control"), "{}", text);
            }
        }
    }

    #[test]
    fn a_damaged_matrix_gives_a_plan_or_placed_errors(
        line in 0..400usize,
        what in prop_oneof![Just(""), Just("x = 1"), Just("= 3"), Just("[x]"), Just("\"\"\""), Just("blocks = -1"), Just("\u{e9} = {")],
        file in prop_oneof![Just("matrix/c1-c8.toml"), Just("matrix/demo.toml")],
    ) {
        let project = Project::new().with_matrices();
        let text = std::fs::read_to_string(project.root().join(file)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let damaged = line % lines.len();
        let text: Vec<&str> = lines.iter().enumerate().map(|(i, l)| if i == damaged { what } else { l }).collect();
        project.write(file, &text.join("\n"));
        if let Err(errors) = project.resolve("matrix/demo.toml") {
            prop_assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                prop_assert!(error.problem.to_string().contains("; "), "{}", error);
                if let Place::File { path, line, .. } = &error.place {
                    let length = std::fs::read_to_string(project.root().join(&**path)).unwrap().lines().count();
                    prop_assert!((*line as usize) <= length + 1, "{}", error);
                }
            }
        }
    }

    #[test]
    fn any_seed_gives_permutations(seed in 0..=i64::MAX) {
        let project = Project::new().with_matrices();
        project.write("matrix/x.toml", &format!("name = \"x\"\nextends = \"starter.toml\"\n[experiment]\nseed = {seed}\n"));
        let plan = project.resolve("matrix/x.toml").unwrap().plan;
        for block in &plan.blocks {
            let mut ids = block.prompts.clone();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), 18);
            prop_assert_eq!(block.trials.len(), 4);
        }
    }
}
