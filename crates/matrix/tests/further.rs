//! Plans made of a plan: more blocks of it, and a few of its arms against each other.

#![expect(clippy::unwrap_used, clippy::as_conversions, unreachable_pub, reason = "tests")]

mod common;

use common::Project;
use proptest::prelude::*;
use servelab_matrix::{Duel, FurtherError, duel, more_blocks};
use servelab_schema::{BlockOrder, LoadId, Plan, PlannedBlock, PromptId, TrialId, VariantId};
use std::{collections::BTreeSet, num::NonZeroU32};

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap()
}

fn variants(ids: &[&str]) -> BTreeSet<VariantId> {
    ids.iter().map(|id| VariantId::new(*id).unwrap()).collect()
}

fn loads(ids: &[&str]) -> BTreeSet<LoadId> {
    ids.iter().map(|id| LoadId::new(*id).unwrap()).collect()
}

/// The demo with so many blocks, of so many requests where they are given, its trials in random order.
fn plan_of(project: &Project, blocks: u32, requests: Option<u32>) -> Plan {
    plan_in(project, blocks, requests, "random")
}

fn plan_in(project: &Project, blocks: u32, requests: Option<u32>, order: &str) -> Plan {
    let requests = requests.map_or_else(String::new, |n| format!("requests-per-block = {n}\n"));
    let text = format!(
        "name = \"demo\"\nextends = \"demo.toml\"\n[experiment]\nblocks = {blocks}\norder = \"{order}\"\n{requests}\
         [gates]\nmin-requests = 1\n"
    );
    project.write("matrix/x.toml", &text);
    let mut plan = project.resolve("matrix/x.toml").unwrap().plan;
    // The file itself differs from plan to plan.
    plan.sources.clear();
    plan
}

fn set(block: &PlannedBlock) -> BTreeSet<&PromptId> {
    block.prompts.iter().collect()
}

fn take_ids(plan: &Plan) -> Vec<TrialId> {
    let trials = plan.blocks.iter().flat_map(|b| b.trials.iter().map(|t| (b.block, t)));
    trials.map(|(block, t)| t.take_id(block, 1).unwrap()).collect()
}

/// Each of a plan's blocks is well made: numbered on, every cell once, names of their own.
fn assert_well_made(plan: &Plan) {
    let numbers: Vec<u32> = plan.blocks.iter().map(|b| b.block).collect();
    assert!((1..).zip(&numbers).all(|(n, found)| n == *found), "{numbers:?}");
    let ids = take_ids(plan);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let seeds: BTreeSet<u64> = plan.blocks.iter().map(|b| b.seed).collect();
    assert_eq!(seeds.len(), plan.blocks.len());
    let known: BTreeSet<&PromptId> = plan.prompts.prompts.iter().map(|p| &p.id).collect();
    for block in &plan.blocks {
        let cells: BTreeSet<_> = block.trials.iter().map(|t| (&t.variant, &t.load)).collect();
        assert_eq!(cells.len(), plan.variants.len() * plan.loads.len());
        assert!((1..).zip(&block.trials).all(|(order, t)| t.order == order));
        assert_eq!(set(block).len(), block.prompts.len());
        assert!(set(block).is_subset(&known));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The set has four blocks. A plan that has all of them goes on as its matrix does.
    #[test]
    fn more_blocks_are_those_that_the_matrix_gives(
        blocks in 4..11u32,
        more in 1..7u32,
        requests in prop::option::of(1..18u32),
        sequential in any::<bool>(),
    ) {
        let project = Project::new().with_matrices();
        let order = if sequential { "sequential" } else { "random" };
        let plan = plan_in(&project, blocks, requests, order);
        prop_assert_eq!(plan.order == BlockOrder::Sequential, sequential);
        let further = more_blocks(&plan, number(more)).unwrap();
        let expected = plan_in(&project, blocks + more, requests, order);
        let wall = further.predicted_wall_ns;
        prop_assert_eq!(&further.blocks, &expected.blocks);
        prop_assert_eq!(&Plan { predicted_wall_ns: expected.predicted_wall_ns, ..further }, &expected);
        // All blocks of the matrix are not of the same length: in proportion is within a few per cent.
        prop_assert!(wall.0.abs_diff(expected.predicted_wall_ns.0) < expected.predicted_wall_ns.0 / 20);
    }

    /// One that has fewer goes on with the prompts that it has.
    #[test]
    fn more_blocks_come_after_the_plan_s_own(blocks in 1..9_u32, more in 1..9_u32, requests in prop::option::of(1..18u32)) {
        let project = Project::new().with_matrices();
        let plan = plan_of(&project, blocks, requests);
        let further = more_blocks(&plan, number(more)).unwrap();
        assert_well_made(&further);
        let bytes = |blocks: &[PlannedBlock]| serde_json::to_vec(blocks).unwrap();
        let own = plan.blocks.len();
        prop_assert_eq!(bytes(&further.blocks[..own]), bytes(&plan.blocks));
        prop_assert_eq!(further.blocks.len(), own + index(more));
        let turn = own.min(4);
        for (i, block) in further.blocks.iter().enumerate().skip(own) {
            prop_assert_eq!(set(block), set(&plan.blocks[i % turn]));
        }
        prop_assert_eq!(further.prompt_share_ratio, plan.prompt_share_ratio);
        let ratio = u64::from(blocks + more);
        prop_assert_eq!(further.predicted_wall_ns.0, (plan.predicted_wall_ns.0 * ratio).div_ceil(u64::from(blocks)));
        // In one step or in two, it is the same plan.
        let twice = more_blocks(&further, number(2)).unwrap();
        prop_assert_eq!(twice.blocks, more_blocks(&plan, number(more + 2)).unwrap().blocks);
    }

    #[test]
    fn a_duel_is_a_plan_of_its_arms(blocks in 1..9u32, own in 1..9u32, pick in 0..8usize) {
        let project = Project::new().with_matrices();
        let plan = plan_of(&project, own, None);
        let id = plan.variants[pick].id.clone();
        let asked = Duel { name: "again", variants: &[id.clone()].into(), loads: &loads(&["c16"]), blocks: number(blocks) };
        let made = duel(&plan, &asked).unwrap();
        assert_well_made(&made);
        prop_assert_eq!(made.blocks.len(), index(blocks));
        for v in &made.variants {
            prop_assert_eq!(plan.variant(&v.id), Some(v));
            prop_assert!(v.control.as_ref().is_none_or(|c| made.variant(c).is_some()));
        }
        prop_assert!(made.variant(&id).is_some());
        let seeds: BTreeSet<u64> = plan.blocks.iter().map(|b| b.seed).collect();
        prop_assert!(made.blocks.iter().all(|b| !seeds.contains(&b.seed)), "arrivals are new");
        let rest = Plan {
            name: plan.name.clone(),
            seed: plan.seed,
            variants: plan.variants.clone(),
            blocks: plan.blocks.clone(),
            predicted_wall_ns: plan.predicted_wall_ns,
            prompt_share_ratio: plan.prompt_share_ratio,
            ..made
        };
        prop_assert_eq!(rest, plan);
    }
}

#[test]
fn a_copy_s_own_prompts_go_on_too() {
    let project = Project::new().with_matrices();
    let mut plan = plan_of(&project, 2, None);
    // What `servers` plans: the copy is asked prompts of its own, in the order of those that they stand for.
    let copy = VariantId::new("C1b").unwrap();
    let other = |id: &PromptId| PromptId::new(format!("copy-{id}")).unwrap();
    for block in &mut plan.blocks {
        let prompts: Vec<PromptId> = block.prompts.iter().map(other).collect();
        for trial in block.trials.iter_mut().filter(|t| t.variant == copy) {
            trial.prompts = Some(prompts.clone());
        }
    }
    let further = more_blocks(&plan, number(3)).unwrap();
    for block in &further.blocks {
        for trial in &block.trials {
            let expected = (trial.variant == copy).then(|| block.prompts.iter().map(other).collect::<Vec<_>>());
            assert_eq!(trial.prompts, expected, "block {}", block.block);
        }
    }
    assert_ne!(
        further.blocks[2].prompts, further.blocks[0].prompts,
        "an order of their own"
    );
}

/// Where this changes, the second stage of a re-run is another one: see the head of `golden.rs`.
#[test]
fn the_order_of_a_duel() {
    let project = Project::new().with_matrices();
    let plan = plan_of(&project, 4, None);
    let asked = Duel {
        name: "demo-C7",
        variants: &variants(&["C7"]),
        loads: &loads(&["c16"]),
        blocks: number(6),
    };
    let made = duel(&plan, &asked).unwrap();
    assert_eq!((made.name.as_str(), made.seed), ("demo-C7", 7_792_049_861_828_952));
    // C7's control is C1s; the baseline and its copy come along, for the A/A check.
    let blocks: Vec<String> = made.blocks.iter().take(2).map(shown).collect();
    assert_eq!(
        blocks,
        [
            "2265810760547879 | C1b/c16 C7/c16 C1/c16 C1s/c16 | summarisation-M-0101 dialogue-L-0100 summarisation-S-0100",
            "4329501973764105 | C1s/c16 C1/c16 C1b/c16 C7/c16 | dialogue-S-0201 dialogue-L-0201 qa-M-0200",
        ]
    );
    let per_trial = plan.predicted_wall_ns.0 / u64::try_from(plan.trial_count()).unwrap();
    assert_eq!(made.predicted_wall_ns.0 / 24, per_trial);
}

fn shown(b: &PlannedBlock) -> String {
    let cells: Vec<String> = b.trials.iter().map(|t| format!("{}/{}", t.variant, t.load)).collect();
    let prompts: Vec<&str> = b.prompts.iter().take(3).map(|p| p.as_str()).collect();
    format!("{} | {} | {}", b.seed, cells.join(" "), prompts.join(" "))
}

#[test]
fn what_is_not_there_is_named() {
    let project = Project::new().with_matrices();
    let plan = plan_of(&project, 1, None);
    let asked = |v: &[&str], l: &[&str]| {
        let (variants, loads) = (variants(v), loads(l));
        let asked = Duel {
            name: "x",
            variants: &variants,
            loads: &loads,
            blocks: number(6),
        };
        duel(&plan, &asked).unwrap_err().to_string()
    };
    assert_eq!(
        asked(&["C9"], &["c16"]),
        "the plan has no variant C9; `servelab plan` lists them"
    );
    assert_eq!(
        asked(&["C2"], &["c8"]),
        "the plan has no load c8; `servelab plan` lists them"
    );
    let empty = Plan {
        blocks: Vec::new(),
        ..plan
    };
    assert_eq!(more_blocks(&empty, number(1)), Err(FurtherError::NoBlock));
}
