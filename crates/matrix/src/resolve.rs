//! From files to a plan: reads the chain, checks every file on its own and all together, and assembles.

use crate::{
    Overrides, attached, contradictions,
    error::{Errors, MatrixErrors, Place, Problem},
    factors::Catalogue,
    flags::Catalogues,
    layers,
    merge::{self, Document},
    notes::{Note, Notes},
    order::{BlockInputs, BlockRules, plan_blocks},
    predict,
    prompts::{self, Fit, PromptSet},
    reader::{At, Reading, Seen, suggestion},
    simulated,
    variants::{self, Context, origin},
    wire::{self, Experiment, Wire},
};
use servelab_schema::{
    EngineSpec, Limits, METHOD_VERSION, Origin, OtherServer, Plan, PlannedVariant, Provider, SourceFile, V, VariantId,
    VariantRole, WallNanos,
};
use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

/// A scalar of the plan that is not a flag: its key, value and origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// The value as one would write it in TOML.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// A plan with the origin of every setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The plan.
    pub plan: Plan,
    /// Settings in order of key. Flags of variants carry their origin in the plan.
    pub settings: Vec<Setting>,
    /// What to know of the matrix that is no error: doubtful and deprecated flags, what could not be checked.
    pub notes: Vec<Note>,
}

/// Resolves a matrix into a plan and the origins of its settings.
///
/// # Errors
/// [`MatrixErrors`]: every error of every file.
pub fn resolve_with_origins(project_root: &Path, file: &Path, overrides: &Overrides) -> Result<Resolved, MatrixErrors> {
    let errors = Errors::default();
    match resolve_into(project_root, file, overrides, &errors) {
        Some(resolved) if errors.is_empty() => Ok(resolved),
        _ => {
            if errors.is_empty() {
                // Cannot be reached: whatever is absent has been reported. A silent refusal would be worse than this.
                let text = "could not be resolved; report this as a fault of servelab";
                errors.push(
                    &Place::start_of(&file.display().to_string()),
                    "",
                    Problem::Value(text.into()),
                );
            }
            Err(errors.into_errors())
        }
    }
}

fn resolve_into(root: &Path, file: &Path, overrides: &Overrides, errors: &Errors) -> Option<Resolved> {
    let path = layers::project_path(root, file, errors)?;
    let chain = merge::load_chain(root, &path, errors);
    for document in &chain {
        if let Some(map) = &document.map {
            // Also what a child overrides must be right.
            wire::read(
                map,
                &Place::start_of(&document.source.path),
                &Reading::new(errors, true),
            );
        }
    }
    let map = layers::merged(&chain, errors)?;
    let map = layers::apply(overrides, map, errors);
    let reading = Reading::new(errors, false);
    let wire = wire::read(&map, &Place::start_of(&path), &reading);
    let notes = Notes::default();
    let plan = assemble(root, wire, &chain, &Findings { errors, notes: &notes })?;
    contradictions::refuse(&plan, &reading.seen.borrow(), errors, &notes);
    let mut settings: Vec<Setting> = reading.seen.into_inner().into_iter().map(setting).collect();
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    Some(Resolved {
        plan,
        settings,
        notes: notes.into_vec(),
    })
}

fn setting(seen: Seen) -> Setting {
    Setting {
        origin: origin(&seen.place, &seen.key),
        key: seen.key,
        value: seen.value,
    }
}

/// What is found on the way.
#[derive(Debug, Clone, Copy)]
struct Findings<'a> {
    errors: &'a Errors,
    notes: &'a Notes,
}

fn assemble(root: &Path, wire: Wire, chain: &[Document], found: &Findings<'_>) -> Option<Plan> {
    let errors = found.errors;
    if let (Some(profile), Some(engine)) = (&wire.profile, &wire.engine) {
        simulated::has_profile(&profile.name, &engine.provider, errors);
    }
    let arms = plan_variants(root, &wire, found);
    let prompts = load_prompts(
        root,
        &wire,
        arms.as_ref().map(|(variants, _)| variants.as_slice()),
        errors,
    );
    let (arms, prompts) = (arms?, prompts?);
    let sources = chain.iter().map(|d| d.source.clone()).collect();
    plan(wire, sources, arms, prompts, errors)
}

/// The plan of what every part was found good.
pub(crate) fn plan(
    wire: Wire,
    sources: Vec<SourceFile>,
    (variants, others): Arms,
    (measured, fillers): (PromptSet, PromptSet),
    errors: &Errors,
) -> Option<Plan> {
    let Wire {
        name,
        profile,
        engine,
        experiment,
        loads,
        output,
        warm_up,
        timeouts,
        gates,
        slo,
        limits,
        ..
    } = wire;
    let (engine, experiment, loads) = (engine?, experiment?, loads?);
    let inputs = BlockInputs {
        blocks: experiment.blocks,
        requests_per_block: experiment.requests_per_block.as_ref(),
        set: &measured,
        rules: &BlockRules::new(experiment.seed, experiment.order, &variants, &loads),
    };
    let (blocks, prompt_share_ratio) = plan_blocks(&inputs, errors)?;
    let mut provider = engine.provider;
    if let Provider::Url { others: servers, .. } = &mut provider {
        *servers = others;
    }
    let engine = EngineSpec {
        dialect: engine.dialect,
        version: engine.version.value.to_string(),
        provider,
        served_model: engine.served_model,
        api_key_env: engine.api_key_env,
    };
    let predict = wire.predict?;
    let mut plan = Plan {
        v: V,
        name: name?.value,
        engine_kind: engine.kind(),
        method_version: METHOD_VERSION,
        seed: experiment.seed,
        sources,
        profile: profile?.profile,
        engine,
        prompts: measured.reference,
        fillers: fillers.reference,
        order: experiment.order,
        loads,
        variants,
        output: output?,
        warm_up: warm_up?,
        timeouts: timeouts?,
        gates: gates?,
        slo: slo?,
        primary_metric: experiment.primary_metric,
        delta: experiment.delta,
        alpha: experiment.alpha,
        telemetry_interval_ns: wire.telemetry_interval?,
        retakes: experiment.retakes,
        give_up_after: experiment.give_up_after,
        on_repeated_failure: experiment.on_repeated_failure,
        limits: Limits {
            blocks_within_ns: None,
            max_duration_ns: limits.max_duration.as_ref().map(|d| WallNanos::given(d.value.0)),
            max_cost_micro_usd: limits.max_cost.as_ref().map(|c| c.value.0),
        },
        predicted_wall_ns: servelab_schema::Nanos::ZERO,
        predicted_cost_micro_usd: None,
        prompt_share_ratio,
        blocks,
    };
    plan.predicted_wall_ns = predict::wall(&plan, &predict);
    plan.predicted_cost_micro_usd = predict::cost_micro_usd(&plan, plan.predicted_wall_ns);
    over_limits(&plan, &limits, errors);
    Some(plan)
}

/// The variants that are run, and the servers of those that are one.
type Arms = (Vec<PlannedVariant>, BTreeMap<VariantId, OtherServer>);

fn plan_variants(root: &Path, wire: &Wire, found: &Findings<'_>) -> Option<Arms> {
    let (errors, notes) = (found.errors, found.notes);
    let catalogue = Catalogue::embedded(errors)?;
    if wire.variants.is_empty() {
        variants::no_baseline(&wire.place, errors);
    }
    let engine = wire.engine.as_ref()?;
    let catalogues = Catalogues::load(root, engine.dialect, errors);
    let flags = catalogues.of(&engine.version.value);
    // A server that somebody else started is given no flags.
    if let Some(note) = flags.note(engine.dialect)
        && !matches!(engine.provider, Provider::Url { .. })
    {
        notes.push(&engine.version.place, engine.version.key.clone(), note);
    }
    let cx = Context {
        root,
        dialect: engine.dialect,
        version: &engine.version.value,
        provider: &engine.provider,
        model: &wire.profile.as_ref()?.profile.model,
        catalogue: &catalogue,
        flags: &flags,
        errors,
        notes,
    };
    let all = variants::resolve(&wire.variants, &wire.place, &cx)?;
    let kept = match wire.experiment.as_ref().and_then(|e: &Experiment| e.variants.as_ref()) {
        None => all,
        Some(chosen) => choose(all, chosen, errors)?,
    };
    let others = attached::others(engine, &wire.variants, &kept, errors)?;
    Some((kept, others))
}

/// The variants that `experiment.variants` names, with their controls.
fn choose(
    all: Vec<PlannedVariant>,
    chosen: &[At<servelab_schema::VariantId>],
    errors: &Errors,
) -> Option<Vec<PlannedVariant>> {
    let mut good = true;
    for at in chosen {
        let mut refuse = |text: String| {
            errors.push(&at.place, at.key.clone(), Problem::Value(text));
            good = false;
        };
        match all.iter().find(|v| v.id == at.value) {
            None => {
                let remedy = suggestion(at.value.as_str(), all.iter().map(|v| v.id.as_str()));
                refuse(format!("there is no variant `{}`; {remedy}", at.value));
            }
            Some(variant) => {
                if let Some(control) = &variant.control
                    && !chosen.iter().any(|c| c.value == *control)
                {
                    refuse(format!(
                        "variant {} is compared with {control}; add {control} to the list",
                        at.value
                    ));
                }
            }
        }
    }
    let kept: Vec<PlannedVariant> = all
        .into_iter()
        .filter(|v| chosen.iter().any(|c| c.value == v.id))
        .collect();
    (good && kept.iter().any(|v| v.role == VariantRole::Baseline)).then_some(kept)
}

fn load_prompts(
    root: &Path,
    wire: &Wire,
    variants: Option<&[PlannedVariant]>,
    errors: &Errors,
) -> Option<(PromptSet, PromptSet)> {
    let files = wire.prompts.as_ref()?;
    let context = wire.profile.as_ref()?.profile.context_tokens?;
    // The engine may accept less than the model: the smallest of all variants counts.
    let accepted = variants
        .unwrap_or_default()
        .iter()
        .filter_map(|v| match v.flags.get("max-model-len")?.value {
            servelab_schema::ArgValue::Integer(n) => u32::try_from(n).ok().and_then(NonZeroU32::new),
            _ => None,
        });
    let context = accepted.fold(context, NonZeroU32::min);
    let fit = Fit { root, context, errors };
    let measured = prompts::load(&files.file, &fit);
    let fillers = prompts::load(&files.fillers, &fit);
    if let Some(tokenizer) = wire.engine.as_ref().and_then(|e| e.tokenizer.as_ref()) {
        for (set, file) in [(&measured, &files.file), (&fillers, &files.fillers)] {
            if let Some(set) = set {
                prompts::same_tokenizer(set, file, tokenizer, &fit);
            }
        }
    }
    let (measured, fillers) = (measured?, fillers?);
    prompts::disjoint(&measured, &fillers, &files.fillers, errors);
    prompts::has_blocks(&measured, &files.file, errors).then_some((measured, fillers))
}

fn over_limits(plan: &Plan, limits: &wire::LimitsSection, errors: &Errors) {
    if let Some(limit) = &limits.max_duration
        && plan.predicted_wall_ns > limit.value.0
    {
        let problem = Problem::OverLimit {
            predicted: format!("take {}", plan.predicted_wall_ns),
            limit: limit.value.0.to_string(),
            remedy: "raise this limit, or plan fewer blocks, variants or loads".into(),
        };
        errors.push(&limit.place, limit.key.clone(), problem);
    }
    if let Some(limit) = &limits.max_cost
        && let Some(cost) = plan.predicted_cost_micro_usd
        && cost > limit.value.0
    {
        let problem = Problem::OverLimit {
            predicted: format!("cost {}", usd(cost)),
            limit: usd(limit.value.0),
            remedy: "raise this limit, or plan fewer blocks, variants or loads".into(),
        };
        errors.push(&limit.place, limit.key.clone(), problem);
    }
}

/// An amount for people, rounded up to the cent.
pub(crate) fn usd(micro: u64) -> String {
    let cents = micro.div_ceil(10_000);
    format!("${}.{:02}", cents / 100, cents % 100)
}
