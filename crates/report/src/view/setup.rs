//! What was run, on what, and what to know before reading on.

use super::{Context, Fact, Notice, checkpoints, served};
use crate::{
    label, number,
    summary::RunDoc,
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::{BlockOrder, CloudFacts, CloudProvider, EngineKind, GpuFacts, Plan, RunEnd, VariantRole};
use servelab_store::RunData;

/// The model, with what was declared of it.
fn model_of(plan: &Plan) -> String {
    let profile = &plan.profile;
    let dtype = profile.dtype.as_ref().map(|dtype| format!(" ({dtype})"));
    let context = profile.context_tokens.map(|context| format!(", context {context}"));
    [Some(profile.model.clone()), dtype, context]
        .into_iter()
        .flatten()
        .collect()
}

/// The GPU as declared.
fn gpu_name(plan: &Plan) -> &str {
    plan.profile.gpu.as_deref().unwrap_or("GPU that nobody declared")
}

/// One line under the run's name.
pub(crate) fn subtitle(cx: &Context<'_>) -> String {
    let (plan, manifest) = (&cx.run.plan, &cx.run.manifest);
    let gpu = if plan.engine_kind == EngineKind::Simulated {
        format!("a simulated {}", gpu_name(plan))
    } else {
        gpu_name(plan).to_owned()
    };
    format!(
        "{} on {gpu}, {} {}, {} in {}; run {} of {}",
        plan.profile.model,
        plan.engine.dialect,
        plan.engine.version,
        number::count(u64::try_from(plan.variants.len()).unwrap_or(u64::MAX), "variant"),
        number::count(u64::try_from(plan.blocks.len()).unwrap_or(u64::MAX), "block"),
        manifest.run_id,
        label::utc(&manifest.started.utc)
    )
}

/// What a reader must know first.
pub(crate) fn notices(cx: &Context<'_>) -> Vec<Notice> {
    let (run, found) = (cx.run, &cx.run.findings.run);
    let mut notices = Vec::new();
    if let RunEnd::Aborted { why } = &run.manifest.end {
        notices.push(Notice {
            title: "This run was stopped before its last trial".to_owned(),
            text: format!(
                "{} of {} trials were executed ({why}); {} of {} prompts were served.",
                found.trials_executed, found.trials_planned, found.prompts_served, found.prompts_planned
            ),
        });
    }
    let notes = &cx.doc.notes;
    if !notes.is_empty() {
        let title = if cx.run.findings.study.suspect {
            "Suspect, and more to know"
        } else {
            "Know before you read on"
        };
        notices.push(Notice {
            title: title.to_owned(),
            text: notes.join(" "),
        });
    }
    notices
}

/// One GPU in words; what it did not tell is left out.
fn gpu(facts: &GpuFacts) -> String {
    let memory = facts.memory_total_bytes.and_then(|b| b.0.checked_div(1 << 20));
    let words = [
        Some(facts.name.clone().unwrap_or_else(|| "unnamed GPU".to_owned())),
        memory.map(|mib| format!("{mib} MiB")),
        facts.driver.as_ref().map(|v| format!("driver {v}")),
        facts.cuda.as_ref().map(|v| format!("CUDA {v}")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The machine in the cloud's words.
fn cloud(facts: &CloudFacts) -> String {
    let provider = match facts.provider {
        CloudProvider::Gcp => "Google Cloud",
        CloudProvider::Aws => "AWS",
        CloudProvider::Azure => "Azure",
    };
    let words = [Some(provider), Some(facts.machine_type.as_str()), facts.zone.as_deref()];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Label and value of everything that fixes the run.
pub(crate) fn facts(cx: &Context<'_>) -> Vec<Fact> {
    let run = cx.run;
    let (plan, manifest, environment) = (&run.plan, &run.manifest, &run.environment);
    let text = |label, value: String| Fact {
        label,
        value,
        code: false,
    };
    let code = |label, value: String| Fact {
        label,
        value,
        code: true,
    };
    let unknown = || "unknown".to_owned();
    let loads: Vec<String> = plan
        .loads
        .iter()
        .map(|l| format!("{}: {}", l.id, label::load(&l.load)))
        .collect();
    let order = match plan.order {
        BlockOrder::Random => "seeded random order in each",
        BlockOrder::Sequential => "in the declared order",
    };
    let host = &environment.host;
    let memory = host
        .memory_bytes
        .map(|b| format!(", {} GiB", b.0.checked_div(1 << 30).unwrap_or_default()))
        .unwrap_or_default();
    let gpus = if environment.gpus.is_empty() {
        format!("none ({})", environment.gpu_note.clone().unwrap_or_else(unknown))
    } else {
        let names = environment.gpus.iter().map(gpu);
        names.collect::<Vec<_>>().join("; ")
    };
    let mut facts = vec![
        code("Run", manifest.run_id.to_string()),
        code("Fingerprint", run.fingerprint.to_string()),
        text("Matrix", plan.name.clone()),
        text("Numbers are", label::kind(plan.engine_kind).0.to_owned()),
        text(
            "Profile",
            format!(
                "{}: {}, {}",
                plan.profile.name,
                gpu_name(plan),
                plan.profile.machine_type.as_deref().unwrap_or("machine not declared")
            ),
        ),
        text("Model", model_of(plan)),
        text("Engine", format!("{} {}", plan.engine.dialect, plan.engine.version)),
        text("Load", loads.join("; ")),
        text("Blocks", format!("{}, {order}", plan.blocks.len())),
        text(
            "Prompts",
            format!(
                "{}: {} of {} served",
                plan.prompts.id,
                run.findings.run.prompts_served,
                plan.prompts.prompts.len()
            ),
        ),
        code("SHA-256 of the prompts", plan.prompts.sha256.to_string()),
        text(
            "Output",
            format!(
                "{}, temperature {}, {}",
                label::stop(plan.output.stop),
                plan.output.temperature.get(),
                if plan.output.keep_text {
                    "texts kept"
                } else {
                    "only hashes of the texts kept"
                }
            ),
        ),
        text(
            "Warm-up",
            format!("{} per start", number::count(plan.warm_up.requests, "request")),
        ),
        text("Primary metric", label::metric(plan.primary_metric).to_owned()),
        text(
            "Margin δ, error rate α",
            format!("{}, {}", number::share(plan.delta.get()), plan.alpha.get()),
        ),
        text("Seed", plan.seed.to_string()),
        text("Time scale", format!("{} engine s per wall s", manifest.time_scale)),
        text("Method version", manifest.method_version.to_string()),
        text("servelab", manifest.servelab_version.clone()),
        code(
            "Program",
            environment
                .servelab_sha256
                .as_ref()
                .map_or_else(unknown, ToString::to_string),
        ),
        code(
            "Git",
            environment.git.clone().unwrap_or_else(|| "not a checkout".to_owned()),
        ),
        text(
            "Host CPU",
            format!("{} × {}{memory}", host.cpus, host.cpu.clone().unwrap_or_else(unknown)),
        ),
        text(
            "Host system",
            [host.os.clone(), host.kernel.clone()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", "),
        ),
        text("Host GPU", gpus),
        text(
            "Cloud",
            environment
                .cloud
                .as_ref()
                .map_or_else(|| "none found".to_owned(), cloud),
        ),
        text("Started", label::utc(&manifest.started.utc)),
        text("Finished", label::utc(&manifest.finished.utc)),
        text("End", label::end(&manifest.end)),
    ];
    facts.extend(served::facts(run));
    facts.extend(checkpoints::facts(environment));
    facts
}

/// The arms as they were declared.
pub(crate) fn variants(cx: &Context<'_>) -> Table {
    let rows = cx.run.plan.variants.iter().map(|v| {
        let role = match v.role {
            VariantRole::Baseline => "baseline",
            VariantRole::Aa => "A/A copy",
            VariantRole::Treatment => "treatment",
        };
        let flags: Vec<String> = v
            .flags
            .iter()
            .map(|(name, f)| format!("{name} = {}", f.value))
            .collect();
        Row {
            cells: vec![
                Cell::name(v.id.to_string()),
                Cell::text(role),
                Cell::text(v.factor.clone().unwrap_or_default()),
                Cell::text(v.control.as_ref().map(ToString::to_string).unwrap_or_default()),
                Cell::long(v.hypothesis.clone()),
                Cell::long(flags.join("; ")),
            ],
            ..Row::default()
        }
    });
    Table {
        id: format!("{}-variants", cx.anchor),
        title: "Variants as declared".to_owned(),
        note: "a variant is the baseline with one factor changed".to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Role"),
            Column::text("Factor"),
            Column::text("Control"),
            Column::text("Hypothesis, declared before the run"),
            Column::text("Engine flags"),
        ],
        rows: rows.collect(),
    }
}

/// One row a run, where a page has several.
pub(crate) fn index(all: &[RunData], docs: &[RunDoc]) -> Table {
    let rows = all.iter().zip(docs).map(|(run, doc)| {
        let brief = &run.findings.brief;
        let kind = label::kind(run.plan.engine_kind).0;
        let tone = if run.plan.engine_kind == EngineKind::Measured {
            Tone::Plain
        } else {
            Tone::Warn
        };
        Row {
            cells: vec![
                Cell::name(run.manifest.run_id.to_string()).anchor(format!("run-{}", run.manifest.run_id)),
                Cell::text(run.manifest.name.clone()),
                Cell::text(kind).tone(tone),
                Cell::text(label::utc(&run.manifest.started.utc)),
                Cell::text(format!("{} of {} valid", brief.valid, brief.takes)),
                Cell::text(run.fingerprint.short()),
                Cell::long(doc.headline.clone()),
            ],
            ..Row::default()
        }
    });
    Table {
        id: "runs".to_owned(),
        title: "Runs".to_owned(),
        note: "numbers of different runs are not compared here: that needs blocks that hold both".to_owned(),
        columns: vec![
            Column::text("Run"),
            Column::text("Matrix"),
            Column::text("Numbers"),
            Column::text("Started"),
            Column::text("Takes"),
            Column::text("Fingerprint"),
            Column::text("Finding"),
        ],
        rows: rows.collect(),
    }
}
