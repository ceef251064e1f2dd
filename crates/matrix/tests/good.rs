//! Good matrices resolve, the same way every time, into contrasts of one factor.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::as_conversions,
    unreachable_pub,
    reason = "tests"
)]

mod common;

use common::Project;
use servelab_matrix::{Compared, FreshPrompts, Overrides, explain, needs_confirmation, starter};
use servelab_schema::{
    Arrivals, Bucket, Capabilities, Dialect, EngineKind, Load, OtherServer, Plan, PlannedVariant, PromptId, PromptRef,
    PromptSetId, PromptSetRef, Sha256Hex, Task, VariantId, VariantRole, WallNanos, canonical_json,
};
use std::collections::{BTreeMap, BTreeSet};

fn plan(file: &str, overrides: &Overrides) -> Plan {
    Project::new()
        .with_matrices()
        .resolve_with(file, overrides)
        .unwrap_or_else(|e| panic!("{e}"))
        .plan
}

fn old() -> Overrides {
    Overrides {
        engine_version: Some("0.8.5.post2".into()),
        ..Overrides::default()
    }
}

fn variant<'p>(plan: &'p Plan, id: &str) -> &'p PlannedVariant {
    plan.variant(&VariantId::new(id).unwrap()).unwrap()
}

/// Flags of the extended base with a table appended.
fn extended(text: &str) -> Plan {
    let project = Project::new().with_matrices();
    project.write(
        "matrix/x.toml",
        &format!("name = \"x\"\nextends = \"starter.toml\"\n{text}"),
    );
    project.resolve("matrix/x.toml").unwrap_or_else(|e| panic!("{e}")).plan
}

#[test]
fn c1_to_c8_resolve_for_both_versions() {
    for (overrides, c4, c6, own_control) in [
        (Overrides::default(), "frontend-workers", "kv-offload", true),
        (old(), "tokenizer-pool", "swap-space", false),
    ] {
        let plan = plan("matrix/c1-c8.toml", &overrides);
        let mut ids: Vec<&str> = plan.variants.iter().map(|v| v.id.as_str()).collect();
        // The old version has no asynchronous scheduling that speculation could turn off.
        assert_eq!(own_control, ids.contains(&"C1s"));
        ids.retain(|id| *id != "C1s");
        assert_eq!(ids, ["C1", "C1b", "C2", "C3", "C4", "C5", "C6", "C7", "C8"]);
        let control = if own_control { "C1s" } else { "C1" };
        assert_eq!(variant(&plan, "C7").control.as_ref().unwrap().as_str(), control);
        assert_eq!(variant(&plan, "C4").factor.as_deref(), Some(c4));
        assert_eq!(variant(&plan, "C6").factor.as_deref(), Some(c6));
        assert_eq!(
            (plan.blocks.len(), plan.trial_count()),
            (10, if own_control { 100 } else { 90 })
        );
        assert_eq!(plan.engine_kind, EngineKind::Simulated);
        assert!((plan.prompt_share_ratio.get() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_command_line_of_a_variant() {
    let new = plan("matrix/c1-c8.toml", &Overrides::default());
    let words = variant(&new, "C1").argv().join(" ");
    assert_eq!(
        words,
        "--api-server-count 1 --async-scheduling --block-size 16 --dtype bfloat16 --no-enable-chunked-prefill \
         --no-enable-prefix-caching --no-enforce-eager --gpu-memory-utilization 0.92 --kv-cache-dtype auto \
         --max-model-len 8192 --max-num-batched-tokens 8192 --max-num-seqs 128 --renderer-num-workers 1"
    );
    assert_eq!(
        variant(&new, "C8").flags["quantization"].value.to_string(),
        "fp8_per_tensor"
    );
    let old = plan("matrix/c1-c8.toml", &old());
    assert_eq!(variant(&old, "C8").flags["quantization"].value.to_string(), "fp8");
    assert!(!variant(&old, "C1").flags.contains_key("async-scheduling"));
}

/// The property that makes a comparison mean something.
fn check_one_factor_each(plan: &Plan) {
    for v in &plan.variants {
        let own: BTreeMap<&str, String> = v.flags.iter().map(|(k, f)| (k.as_str(), f.value.to_string())).collect();
        let Some(control) = &v.control else {
            assert_eq!(v.role, VariantRole::Baseline);
            continue;
        };
        let control = plan.variant(control).unwrap();
        let other: BTreeMap<&str, String> = control
            .flags
            .iter()
            .map(|(k, f)| (k.as_str(), f.value.to_string()))
            .collect();
        let names: BTreeSet<&str> = own.keys().chain(other.keys()).copied().collect();
        let differing: Vec<&str> = names.into_iter().filter(|n| own.get(n) != other.get(n)).collect();
        assert_eq!(differing, v.differs_in, "{}", v.id);
        assert_eq!(differing.is_empty(), v.role == VariantRole::Aa, "{}", v.id);
        assert_eq!(v.factor.is_none(), v.role == VariantRole::Aa, "{}", v.id);
    }
}

#[test]
fn every_treatment_differs_from_its_control_in_its_factor_only() {
    for file in [
        "matrix/c1-c8.toml",
        "matrix/demo.toml",
        "matrix/sanity.toml",
        "matrix/starter.toml",
    ] {
        check_one_factor_each(&plan(file, &Overrides::default()));
    }
    check_one_factor_each(&plan("matrix/c1-c8.toml", &old()));
    let new = plan("matrix/c1-c8.toml", &Overrides::default());
    let differs: Vec<Vec<String>> = new.variants.iter().map(|v| v.differs_in.clone()).collect();
    let expected: [&[&str]; 10] = [
        &[],
        &[],
        &["async-scheduling"],
        &["enable-chunked-prefill"],
        &["enforce-eager"],
        &["api-server-count", "renderer-num-workers"],
        &["kv-cache-dtype"],
        &["kv-offloading-backend", "kv-offloading-size"],
        &["speculative-config"],
        &["quantization"],
    ];
    assert_eq!(differs, expected);
    assert!(
        new.variants
            .iter()
            .filter(|v| v.role == VariantRole::Treatment)
            .all(|v| !v.expect.is_empty())
    );
}

#[test]
fn a_variant_of_other_versions_is_left_out_and_noted() {
    let project = Project::new().with_matrices();
    let resolved = project.resolve_with("matrix/c1-c8.toml", &old()).unwrap();
    let notes: Vec<&str> = resolved.notes.iter().map(|n| n.text.as_str()).collect();
    assert!(
        notes.contains(&"variant C1s is for engines >=0.32.0 only and is left out for 0.8.5.post2"),
        "{notes:?}"
    );
    let new = project.resolve("matrix/c1-c8.toml").unwrap();
    assert_eq!(new.notes, [], "the shipped matrix leaves nothing in doubt");
}

#[test]
fn a_plan_is_the_same_bytes_every_time() {
    let json = || canonical_json(&plan("matrix/c1-c8.toml", &Overrides::default())).unwrap();
    let first = json();
    assert_eq!(first, json());
    let back: Plan = serde_json::from_str(&first).unwrap();
    assert_eq!(canonical_json(&back).unwrap(), first);
}

#[test]
fn demo_and_sanity_change_what_they_say() {
    let demo = plan("matrix/demo.toml", &Overrides::default());
    assert_eq!(
        (demo.name.as_str(), demo.blocks.len(), demo.prompts.id.as_str()),
        ("demo", 4, "l4-demo-180")
    );
    assert_eq!(demo.sources.len(), 2);
    assert_eq!(demo.engine.time_scale().get().get(), 30);
    assert_eq!(demo.gates.event_loop_lag_p99_ns.0, 300_000_000, "10 ms on the wall");
    assert_eq!(demo.gates.min_requests, 30, "inherited from the defaults");

    let sanity = plan("matrix/sanity.toml", &Overrides::default());
    assert_eq!(sanity.trial_count(), 1);
    assert_eq!(sanity.blocks[0].prompts.len(), 10);
    assert!(sanity.gates.failures_ratio.get().abs() < 1e-12);
    assert!((sanity.prompt_share_ratio.get() - 10.0 / 180.0).abs() < 1e-12);
    let chosen: BTreeSet<(Option<Task>, Option<Bucket>)> = sanity
        .prompts
        .prompts
        .iter()
        .filter(|p| sanity.blocks[0].prompts.contains(&p.id))
        .map(|p| (p.task, p.bucket))
        .collect();
    assert_eq!(chosen.len(), 9, "ten requests are of all kinds");
}

#[test]
fn blocks_hold_their_prompts_in_an_order_of_their_own() {
    let plan = plan(
        "matrix/c1-c8.toml",
        &Overrides {
            blocks: Some(12),
            ..Overrides::default()
        },
    );
    let sorted = |i: usize| {
        let mut ids = plan.blocks[i].prompts.clone();
        ids.sort();
        ids
    };
    assert_eq!(plan.blocks.len(), 12);
    assert_eq!(sorted(0), sorted(10), "past the set's blocks its prompts come again");
    assert_ne!(plan.blocks[0].prompts, plan.blocks[10].prompts, "in a new order");
    assert_ne!(plan.blocks[0].prompts, sorted(0), "and not in file order");
    let all: BTreeSet<_> = plan.blocks.iter().take(10).flat_map(|b| &b.prompts).collect();
    assert_eq!(all.len(), 180, "ten blocks serve every prompt once");
    let orders: BTreeSet<Vec<&str>> = plan
        .blocks
        .iter()
        .map(|b| b.trials.iter().map(|t| t.variant.as_str()).collect())
        .collect();
    assert!(orders.len() > 8, "the trials' order differs between blocks");
    for block in &plan.blocks {
        let cells: BTreeSet<_> = block.trials.iter().map(|t| (&t.variant, &t.load)).collect();
        assert_eq!(cells.len(), 10);
        assert_eq!(
            block.trials.iter().map(|t| t.order).collect::<Vec<_>>(),
            (1..=10).collect::<Vec<_>>()
        );
    }
    let seeds: BTreeSet<u64> = plan.blocks.iter().map(|b| b.seed).collect();
    assert_eq!(seeds.len(), 12);
}

#[test]
fn another_seed_gives_another_order() {
    let first = extended("[experiment]\nseed = 1\n");
    let same = extended("[experiment]\nseed = 1\n");
    let other = extended("[experiment]\nseed = 2\n");
    assert_eq!(first.blocks, same.blocks);
    assert_ne!(first.blocks[0].prompts, other.blocks[0].prompts);
}

#[test]
fn sequential_order_is_the_declared_one() {
    let plan = extended("[experiment]\norder = \"sequential\"\n");
    for block in &plan.blocks {
        let ids: Vec<&str> = block.trials.iter().map(|t| t.variant.as_str()).collect();
        assert_eq!(ids, ["C1", "C1b", "C3", "C5"]);
    }
}

#[test]
fn a_child_overrides_key_by_key_and_variant_by_id() {
    let plan = extended(
        "[slo]\ntpot = \"50ms\"\n[[variant]]\nid = \"C5\"\nfactor = \"kv-cache-dtype\"\nhypothesis = \"another\"\n\
         args = { kv-cache-dtype = \"fp8_e5m2\" }\n[[variant]]\nid = \"C9\"\nfactor = \"prefix-caching\"\n\
         hypothesis = \"new\"\nargs = { enable-prefix-caching = true }\n",
    );
    assert_eq!(plan.slo.tpot_ns.unwrap().0, 50_000_000);
    assert_eq!(plan.slo.ttft_ns.unwrap().0, 2_000_000_000, "the parent's stays");
    let ids: Vec<&str> = plan.variants.iter().map(|v| v.id.as_str()).collect();
    assert_eq!(ids, ["C1", "C1b", "C3", "C5", "C9"]);
    let c5 = variant(&plan, "C5");
    assert_eq!(
        (
            c5.hypothesis.as_str(),
            c5.flags["kv-cache-dtype"].value.to_string().as_str()
        ),
        ("another", "fp8_e5m2")
    );
    assert!(c5.expect.is_empty(), "the whole variant was replaced");
}

#[test]
fn a_second_control_is_one_factor_away_too() {
    let plan = extended(
        "[[variant]]\nid = \"C3f\"\ncontrol = \"C3\"\nfactor = \"kv-cache-dtype\"\nhypothesis = \"x\"\n\
         args = { kv-cache-dtype = \"fp8\" }\n",
    );
    let v = variant(&plan, "C3f");
    assert_eq!(v.control.as_ref().unwrap().as_str(), "C3");
    assert_eq!(v.differs_in, ["kv-cache-dtype"]);
    assert_eq!(
        v.flags["enforce-eager"].value.to_string(),
        "true",
        "flags come through the control"
    );
    check_one_factor_each(&plan);
}

#[test]
fn a_sweep_is_one_load_for_each_value() {
    let plan = extended("[sweep]\nconcurrency = [1, 4, 8]\n");
    let ids: Vec<&str> = plan.loads.iter().map(|l| l.id.as_str()).collect();
    assert_eq!(ids, ["c1", "c4", "c8"]);
    assert_eq!(plan.blocks[0].trials.len(), 12);
    let open = extended("[load]\narrivals = { burst = { size = 8 } }\n[sweep]\nrate-per-s = [0.5, 2]\n");
    let ids: Vec<&str> = open.loads.iter().map(|l| l.id.as_str()).collect();
    assert_eq!(ids, ["r0.5-burst8", "r2-burst8"]);
    assert!(matches!(
        open.loads[0].load,
        Load::Open {
            arrivals: Arrivals::Burst { .. },
            ..
        }
    ));
}

#[test]
fn an_open_loop_replaces_a_closed_one() {
    for (text, id) in [
        ("rate-per-s = 2.5", "r2.5-poisson"),
        ("rate-per-s = 2.5\narrivals = \"constant\"", "r2.5-constant"),
        (
            "rate-per-s = 2.5\narrivals = { gamma = { shape = 0.5 } }",
            "r2.5-gamma0.5",
        ),
    ] {
        let plan = extended(&format!("[load]\n{text}\n"));
        assert_eq!(plan.loads.len(), 1);
        assert_eq!(plan.loads[0].id.as_str(), id);
    }
}

#[test]
fn every_value_says_where_it_came_from() {
    let project = Project::new().with_matrices();
    let overrides = Overrides {
        time_scale: Some(5),
        ..Overrides::default()
    };
    let resolved = project.resolve_with("matrix/demo.toml", &overrides).unwrap();
    let rows = explain(&resolved);
    let origin = |key: &str| {
        let row = rows
            .settings
            .iter()
            .find(|s| s.key == key)
            .unwrap_or_else(|| panic!("{key}"));
        (row.value.clone(), row.origin.file.clone())
    };
    assert_eq!(origin("experiment.blocks"), ("4".into(), "matrix/demo.toml".into()));
    assert_eq!(origin("load.concurrency"), ("16".into(), "matrix/c1-c8.toml".into()));
    assert_eq!(origin("gates.min-requests"), ("30".into(), "default".into()));
    assert_eq!(
        origin("engine.provider.sim.time-scale"),
        ("5".into(), "command line".into())
    );
    assert_eq!(resolved.plan.engine.time_scale().get().get(), 5);
    let flag = rows
        .flags
        .iter()
        .find(|f| f.variant == "C5" && f.flag == "kv-cache-dtype")
        .unwrap();
    assert!(flag.differs);
    assert_eq!(
        (flag.origin.file.as_str(), flag.origin.key.as_str()),
        ("matrix/c1-c8.toml", "variant[C5].args.kv-cache-dtype")
    );
    let inherited = rows
        .flags
        .iter()
        .find(|f| f.variant == "C5" && f.flag == "block-size")
        .unwrap();
    assert!(!inherited.differs);
    assert_eq!(inherited.origin.key, "variant[C1].args.block-size");
    assert_eq!(rows.cells.len(), 10);
    assert!(rows.cells.iter().all(|c| c.trials == 4));
    assert_eq!(
        rows.cells[6].factor_meaning.as_deref(),
        Some("Number format of the KV cache")
    );
}

#[test]
fn the_starter_resolves_and_costs_nothing() {
    let plan = plan("matrix/starter.toml", &Overrides::default());
    assert_eq!(plan.predicted_cost_micro_usd, None);
    assert_eq!(needs_confirmation(&plan), None);
    assert!(starter().contains("hypothesis"));
}

#[test]
fn a_rented_engine_asks() {
    let plan = extended(
        "[profile]\nprice-usd-per-hour = \"0.85\"\n[engine.provider.process]\ncommand = [\"vllm\", \"serve\", \"m\"]\n",
    );
    assert_eq!(plan.engine_kind, EngineKind::Measured);
    let cost = plan.predicted_cost_micro_usd.unwrap();
    let hours = plan.predicted_wall_ns.as_secs_f64() / 3600.0;
    assert!((cost as f64 - hours * 850_000.0).abs() <= 1.0, "{cost} for {hours} h");
    let question = needs_confirmation(&plan).unwrap();
    assert!(
        question.contains("g2-standard-8") && question.contains('$'),
        "{question}"
    );
}

#[test]
fn a_slower_scale_takes_longer() {
    let at = |scale| {
        plan(
            "matrix/c1-c8.toml",
            &Overrides {
                time_scale: Some(scale),
                ..Overrides::default()
            },
        )
        .predicted_wall_ns
    };
    assert!(at(1) > at(20));
    assert!(at(20) > at(1000));
}

#[test]
fn an_absolute_path_inside_the_project_is_the_same_file() {
    let project = Project::new().with_matrices();
    let absolute = project.root().join("matrix/demo.toml");
    let plan = project.resolve(absolute.to_str().unwrap()).unwrap().plan;
    assert_eq!(plan.sources[0].path, "matrix/demo.toml");
}

#[test]
fn a_variant_may_be_a_server_of_its_own() {
    let project = common::Project::new();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad/_servers.toml")).unwrap();
    let own = "served-model = \"m-awq\"\ndialect = \"sglang\"\napi-key-env = \"B_KEY\"\n";
    project.write("matrix/servers.toml", &format!("{text}{own}"));
    let plan = project.resolve("matrix/servers.toml").unwrap().plan;
    let [a, copy, b] = ["A", "A2", "B"].map(|id| VariantId::new(id).unwrap());
    let asked = |id: &VariantId| {
        let asked = plan.engine.asked(id);
        (
            asked.base.unwrap(),
            asked.served_model,
            asked.dialect.as_str(),
            asked.api_key_env,
        )
    };
    assert_eq!(asked(&a), ("http://127.0.0.1:8000", "m", "vllm", None));
    assert_eq!(asked(&copy), asked(&a), "a copy asks the baseline's server");
    assert_eq!(asked(&b), ("http://127.0.0.1:8001", "m-awq", "sglang", Some("B_KEY")));
    let variant = plan.variant(&b).unwrap();
    assert_eq!(
        (variant.factor.as_deref(), variant.differs_in.join(" ")),
        (Some("server"), "url".to_owned())
    );
    assert!(plan.engine.lives_on() && plan.engine.has_own_server(&b) && !plan.engine.has_own_server(&copy));
    let read: servelab_schema::Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(read, plan);
}

#[test]
fn servers_are_planned_without_a_file_from_the_same_defaults() {
    let nz = |n| std::num::NonZeroU32::new(n).unwrap();
    let prompt = |id: String| PromptRef {
        id: PromptId::new(id).unwrap(),
        task: None,
        bucket: None,
        prompt_tokens: None,
        max_new_tokens: nz(8),
        answer: None,
    };
    let set = |prompts: Vec<PromptRef>| PromptSetRef {
        id: PromptSetId::new("s").unwrap(),
        path: "prompts/s.jsonl".into(),
        sha256: Sha256Hex::from_bytes([1; 32]),
        tokenizer_sha256: None,
        chat_template_sha256: None,
        prompts,
    };
    let of = |kind: &str, block: u32| {
        (0..5)
            .map(|n| prompt(format!("b{block}-{kind}{n}")))
            .collect::<Vec<_>>()
    };
    let blocks: BTreeMap<u32, Vec<PromptRef>> = (1..=3).map(|b| (b, of("p", b))).collect();
    let copies: BTreeMap<u32, Vec<PromptRef>> = (1..=3).map(|b| (b, of("q", b))).collect();
    let server = |port: u32| OtherServer {
        base: format!("http://127.0.0.1:{port}"),
        served_model: format!("m{port}"),
        dialect: Dialect::Vllm,
        api_key_env: None,
        more_prompt_tokens: 0,
    };
    let asked = Compared {
        name: "compare".into(),
        servers: vec![server(1), server(2), server(3)],
        version: None,
        simulated: false,
        asked_at_most: Capabilities::FULL,
        prompts: FreshPrompts {
            measured: set(blocks.values().chain(copies.values()).flatten().cloned().collect()),
            blocks,
            copies,
            fillers: set(vec![prompt("f".into())]),
        },
        may_repeat: false,
        load: Load::Closed { concurrency: nz(4) },
        seed: 9,
        metric: None,
        delta: None,
        blocks_within: Some(WallNanos::from_secs(60)),
        min_duration_s: 4,
    };
    let plan = servelab_matrix::servers(asked).unwrap();
    let names: Vec<&str> = plan.variants.iter().map(|v| v.id.as_str()).collect();
    assert_eq!(names, ["A", "A2", "B", "C"]);
    assert_eq!((plan.retakes, plan.seed, plan.blocks.len()), (0, 9, 3));
    let manual = plan_of_the_repository();
    assert_eq!(
        (plan.delta, plan.alpha, plan.output),
        (manual.delta, manual.alpha, manual.output)
    );
    assert_eq!(plan.output, servelab_matrix::servers_output().unwrap());
    assert_eq!(plan.limits.blocks_within_ns, Some(WallNanos::from_secs(60)));
    for block in &plan.blocks {
        assert_eq!(block.trials.len(), 4);
        for trial in &block.trials {
            let prompts = block.prompts_of(trial);
            let is_copy = trial.variant.as_str() == "A2";
            let kind = if is_copy { "q" } else { "p" };
            assert!(prompts.iter().all(|p| p.as_str().contains(kind)), "{prompts:?}");
            // The copy's come in the order of those that they stand for.
            let order = |ids: &[PromptId]| ids.iter().map(|p| p.as_str()[4..].to_owned()).collect::<Vec<_>>();
            assert_eq!(order(prompts), order(&block.prompts));
        }
    }
    let orders: BTreeSet<Vec<&str>> = plan
        .blocks
        .iter()
        .map(|b| b.trials.iter().map(|t| t.variant.as_str()).collect())
        .collect();
    assert!(orders.len() > 1, "in random order: {orders:?}");
}

fn plan_of_the_repository() -> Plan {
    plan("matrix/c1-c8.toml", &Overrides::default())
}

#[test]
fn one_block_of_the_command_line_is_run_and_said_to_give_no_verdict() {
    let notes = |blocks| {
        let overrides = Overrides {
            blocks: Some(blocks),
            ..Overrides::default()
        };
        let resolved = Project::new()
            .with_matrices()
            .resolve_with("matrix/c1-c8.toml", &overrides);
        resolved.unwrap_or_else(|e| panic!("{e}")).notes
    };
    let said = notes(1);
    assert!(
        said.iter()
            .any(|note| note.key == "experiment.blocks" && note.text.contains("no interval")),
        "{said:?}"
    );
    assert_eq!(notes(2), []);
}
