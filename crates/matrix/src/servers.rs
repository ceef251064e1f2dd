//! A plan without a matrix: servers that are up already, compared with the first of them.
//!
//! Everything that is not asked for comes from the same defaults as of a matrix (`defaults.toml`) and is read by the same
//! rules; there is no second list of them. What no matrix has is given by whoever looked at the servers: their addresses, and
//! prompts that no server has seen.

use crate::{
    document::{Map, Value, parse},
    error::{Errors, MatrixErrors, Place},
    layers::{self, insert},
    merge,
    prompts::PromptSet,
    reader::{At, Reading},
    resolve,
    values::ProjectPath,
    variants::{SERVER, URL},
    wire::{self, EngineSection, ProfileSection, PromptFiles},
};
use servelab_schema::{
    Arrivals, Capabilities, Expectation, Load, Margin, MetricName, OtherServer, OutputPolicy, Plan, PlannedVariant,
    Profile, PromptRef, PromptSetRef, Provider, VariantId, VariantRole, WallNanos,
};
use std::collections::BTreeMap;

/// Most servers that are compared at once: they are named A to Z.
pub const MOST_SERVERS: usize = 26;

/// Prompts that were made for these servers.
#[derive(Debug, Clone, PartialEq)]
pub struct FreshPrompts {
    /// The measured ones, pinned.
    pub measured: PromptSetRef,
    /// Of `measured`, those of each block from 1.
    pub blocks: BTreeMap<u32, Vec<PromptRef>>,
    /// Of `measured`, those of each block that the first server's copy is asked: as many and as long.
    pub copies: BTreeMap<u32, Vec<PromptRef>>,
    /// Those that hold the load, pinned.
    pub fillers: PromptSetRef,
}

/// Servers to be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Name of the plan, which its runs begin with.
    pub name: String,
    /// The servers: the first is the baseline, and its copy is asked again in every block.
    pub servers: Vec<OtherServer>,
    /// Version that the first server says; none where it says none.
    pub version: Option<String>,
    /// True where all of them say that they are simulated.
    pub simulated: bool,
    /// What all of them take of what requests ask.
    pub asked_at_most: Capabilities,
    /// The prompts, as many blocks as are planned.
    pub prompts: FreshPrompts,
    /// True where every server keeps the prefix caches of different salts apart: a trial that the instrument spoilt may then be
    /// taken again with the same prompts.
    pub may_repeat: bool,
    /// The load.
    pub load: Load,
    /// The seed of order and arrivals.
    pub seed: u64,
    /// The metric that decides; the default of a matrix where none is given.
    pub metric: Option<MetricName>,
    /// Smallest effect that matters; the default of a matrix where none is given.
    pub delta: Option<Margin>,
    /// No block begins that would end after so much wall time.
    pub blocks_within: Option<WallNanos>,
    /// Least length of a trial's held window.
    pub min_duration_s: u32,
}

/// Their plan.
///
/// # Errors
/// [`MatrixErrors`] where a value is none that a matrix could have.
pub fn servers(asked: Compared) -> Result<Plan, MatrixErrors> {
    let errors = Errors::default();
    let plan = assemble(asked, &errors);
    match plan {
        Some(plan) if errors.is_empty() => Ok(plan),
        _ => Err(errors.into_errors()),
    }
}

/// What is asked of servers that are compared: the default of a matrix.
///
/// # Errors
/// [`MatrixErrors`] where the embedded defaults are wrong.
pub fn servers_output() -> Result<OutputPolicy, MatrixErrors> {
    let errors = Errors::default();
    let output = parse("default", layers::DEFAULTS, &errors).and_then(|map| {
        let reading = Reading::new(&errors, true);
        wire::read(&map, &Place::CommandLine, &reading).output
    });
    output.ok_or_else(|| errors.into_errors())
}

/// The keys that are asked for, over the defaults.
fn document(asked: &Compared, errors: &Errors) -> Option<Map> {
    let mut top = Map::new();
    let mut set = |path: &[&str], value: Value| insert(&mut top, path, value);
    set(&["name"], Value::Text(asked.name.clone()));
    set(&["experiment", "seed"], Value::Integer(asked.seed.into()));
    let blocks = i128::try_from(asked.prompts.blocks.len()).unwrap_or(i128::MAX);
    set(&["experiment", "blocks"], Value::Integer(blocks));
    if let Some(metric) = asked.metric {
        set(
            &["experiment", "primary-metric"],
            Value::Text(metric.as_str().to_owned()),
        );
    }
    if let Some(delta) = asked.delta {
        set(&["experiment", "delta"], Value::Float(delta.get()));
    }
    if !asked.may_repeat {
        set(&["experiment", "retakes"], Value::Integer(0));
    }
    match asked.load {
        Load::Closed { concurrency } => set(&["load", "concurrency"], Value::Integer(concurrency.get().into())),
        Load::Open { rate_per_s, arrivals } => {
            set(&["load", "rate-per-s"], Value::Float(rate_per_s.get()));
            let name = if arrivals == Arrivals::Constant {
                "constant"
            } else {
                "poisson"
            };
            set(&["load", "arrivals"], Value::Text(name.to_owned()));
        }
    }
    set(
        &["gates", "min-duration"],
        Value::Text(format!("{}s", asked.min_duration_s)),
    );
    Some(merge::overlay(parse("default", layers::DEFAULTS, errors)?, top))
}

/// The name of the n-th server.
fn name(n: usize) -> Option<VariantId> {
    let letter = u8::try_from(n).ok().filter(|n| *n < 26).map(|n| char::from(b'A' + n))?;
    VariantId::new(letter.to_string()).ok()
}

fn variant(id: VariantId, role: VariantRole, baseline: &VariantId, hypothesis: &str) -> PlannedVariant {
    let tested = role == VariantRole::Treatment;
    PlannedVariant {
        id,
        role,
        control: (role != VariantRole::Baseline).then(|| baseline.clone()),
        factor: tested.then(|| SERVER.to_owned()),
        hypothesis: hypothesis.to_owned(),
        model: None,
        flags: BTreeMap::new(),
        differs_in: if tested { vec![URL.to_owned()] } else { Vec::new() },
        expect: Expectation::default(),
    }
}

fn assemble(asked: Compared, errors: &Errors) -> Option<Plan> {
    let map = document(&asked, errors)?;
    // What a file would have to say of machine, engine and prompts is given below.
    let reading = Reading::new(errors, true);
    let mut wire = wire::read(&map, &Place::CommandLine, &reading);
    let Compared {
        servers,
        version,
        simulated,
        asked_at_most,
        prompts,
        blocks_within,
        ..
    } = asked;
    let mut servers = servers.into_iter();
    let first = servers.next()?;
    let baseline = name(0)?;
    let copy = VariantId::new(format!("{baseline}2")).ok()?;
    let mut variants = vec![
        variant(
            baseline.clone(),
            VariantRole::Baseline,
            &baseline,
            "The server that the others are compared with",
        ),
        variant(
            copy,
            VariantRole::Aa,
            &baseline,
            "The same server again: what no difference looks like",
        ),
    ];
    let mut others = BTreeMap::new();
    for (n, other) in (1..).zip(servers) {
        let id = name(n)?;
        variants.push(variant(
            id.clone(),
            VariantRole::Treatment,
            &baseline,
            "Another server answers the same load faster or slower",
        ));
        others.insert(id, other);
    }
    let at = |value: String| At {
        value: ProjectPath(value),
        place: Place::CommandLine,
        key: "prompts".to_owned(),
    };
    wire.prompts = Some(PromptFiles {
        file: at(prompts.measured.path.clone()),
        fillers: at(prompts.fillers.path.clone()),
    });
    wire.profile = Some(ProfileSection {
        name: At {
            value: "servers".to_owned(),
            place: Place::CommandLine,
            key: "profile.name".to_owned(),
        },
        profile: Profile {
            name: "servers".to_owned(),
            gpu: None,
            gpu_memory_bytes: None,
            machine_type: None,
            model: first.served_model.clone(),
            dtype: None,
            context_tokens: None,
            price_micro_usd_per_hour: None,
        },
    });
    wire.engine = Some(EngineSection {
        dialect: first.dialect,
        version: At {
            // No flag is set, so none is held against a version.
            value: "0".parse().ok()?,
            place: Place::CommandLine,
            key: "engine.version".to_owned(),
        },
        served_model: first.served_model,
        api_key_env: first.api_key_env,
        provider: Provider::Url {
            base: first.base,
            others: BTreeMap::new(),
            simulated,
            asked_at_most,
            cache_salt: true,
            // No prompt comes twice to one server.
            accept_unknown_cache: true,
        },
        tokenizer: None,
    });
    let measured = PromptSet {
        reference: prompts.measured,
        blocks: prompts.blocks,
        copies: prompts.copies,
    };
    let fillers = PromptSet {
        reference: prompts.fillers,
        blocks: BTreeMap::new(),
        copies: BTreeMap::new(),
    };
    let mut plan = resolve::plan(wire, Vec::new(), (variants, others), (measured, fillers), errors)?;
    plan.engine.version = version.unwrap_or_else(|| "of unknown version".to_owned());
    plan.limits.blocks_within_ns = blocks_within;
    Some(plan)
}
