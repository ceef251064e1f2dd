//! What two runs must have in common for a question to mean anything, each thing named where it differs.

use super::Side;
use servelab_schema::{
    Load, Machine, MachineGpu, MetricName, Plan, PlannedVariant, PromptSetRef, VariantId,
    findings::{ChangeOf, Common, Unlike},
};
use std::fmt::Debug;

/// Everything that stands against comparing one variant under one load.
pub(super) fn unlike(old: &Side<'_>, new: &Side<'_>, question: &super::Question) -> Vec<Unlike> {
    let mut found = Found(Vec::new());
    if old.plan.engine.lives_on() || new.plan.engine.lives_on() {
        found.0.push(Unlike::EnginesLiveOn);
    }
    found.runs(old.plan, new.plan);
    let load = |plan: &Plan| plan.load(&question.load).map_or_else(|| "none".to_owned(), load_words);
    found.differ(Common::Load, &load(old.plan), &load(new.plan));
    if question.metric == MetricName::Goodput {
        found.differ(Common::Objectives, &old.plan.slo, &new.plan.slo);
    }
    found.arms(old.plan, new.plan, &question.variant, Common::Flags);
    if question.of == ChangeOf::Relative {
        let control = |plan: &Plan| {
            let control = plan.variant(&question.variant).and_then(|v| v.control.clone());
            control.map_or_else(|| "none".to_owned(), |c| c.to_string())
        };
        let [then, now] = [old.plan, new.plan].map(control);
        found.differ(Common::Control, &then, &now);
        if let (true, Ok(control)) = (then == now, VariantId::new(then)) {
            found.arms(old.plan, new.plan, &control, Common::Control);
        }
    }
    if let (Some(then), Some(now)) = (old.machine, new.machine) {
        found.differ(Common::Gpus, &gpus(then), &gpus(now));
        // A slower processor slows both arms of an effect.
        if question.of == ChangeOf::Absolute {
            found.differ(Common::Host, &host(then), &host(now));
        }
    }
    if question.metric.depends_on_first_tokens() {
        let kind = |side: &Side<'_>| {
            let cell = side.measured.cell(&question.variant, &question.load);
            cell.filter(|c| c.metrics.contains_key(&question.metric))
                .map(|c| c.ttft_kind)
        };
        if let (Some(then), Some(now)) = (kind(old), kind(new)) {
            let words = |kind: Option<_>| kind.map_or_else(|| "mixed".to_owned(), |k| format!("{k:?}").to_lowercase());
            found.differ(Common::FirstTokens, &words(then), &words(now));
        }
    }
    found.0
}

struct Found(Vec<Unlike>);

impl Found {
    /// Notes what differs, in words that people read.
    fn differ(&mut self, what: Common, old: &(impl Debug + PartialEq), new: &(impl Debug + PartialEq)) {
        let [old, new] = [format!("{old:?}"), format!("{new:?}")].map(|text| text.trim_matches('"').to_owned());
        if old != new {
            self.0.push(Unlike::Differs { what, old, new });
        }
    }

    /// What every cell of two runs must have in common.
    fn runs(&mut self, old: &Plan, new: &Plan) {
        self.differ(Common::Method, &old.method_version, &new.method_version);
        let kind = |plan: &Plan| plan.engine_kind.to_string();
        self.differ(Common::EngineKind, &kind(old), &kind(new));
        self.differ(
            Common::Dialect,
            &old.engine.dialect.to_string(),
            &new.engine.dialect.to_string(),
        );
        self.differ(Common::Model, &old.profile.model, &new.profile.model);
        self.differ(Common::Prompts, &set(&old.prompts), &set(&new.prompts));
        self.differ(Common::Fillers, &set(&old.fillers), &set(&new.fillers));
        self.differ(Common::Output, &old.output, &new.output);
        self.differ(Common::WarmUp, &old.warm_up.requests, &new.warm_up.requests);
        let scale = |plan: &Plan| plan.engine.time_scale().get();
        self.differ(Common::TimeScale, &scale(old), &scale(new));
    }

    /// A variant's flags and checkpoint.
    fn arms(&mut self, old: &Plan, new: &Plan, id: &VariantId, what: Common) {
        let words = |plan: &Plan| plan.variant(id).map_or_else(|| "no such variant".to_owned(), arm_words);
        self.differ(what, &words(old), &words(new));
    }
}

fn arm_words(v: &PlannedVariant) -> String {
    let model = v.model.iter().map(|model| format!("model {model}"));
    let words: Vec<String> = model.chain(v.argv()).collect();
    words.join(" ")
}

fn set(set: &PromptSetRef) -> String {
    format!("{} sha256 {}", set.id, set.sha256)
}

fn load_words(load: &Load) -> String {
    format!("{load:?}")
}

fn gpus(machine: &Machine) -> String {
    let gpu = |gpu: &MachineGpu| {
        let MachineGpu {
            name,
            memory_total_bytes,
            power_limit_milliwatts,
        } = gpu;
        let name = name.as_deref().unwrap_or("of unknown name");
        let memory = memory_total_bytes.map_or_else(String::new, |b| format!(", {} bytes", b.0));
        let power = power_limit_milliwatts.map_or_else(String::new, |mw| format!(", {mw} mW"));
        format!("{name}{memory}{power}")
    };
    if machine.gpus.is_empty() {
        return "none".to_owned();
    }
    machine.gpus.iter().map(gpu).collect::<Vec<_>>().join("; ")
}

fn host(machine: &Machine) -> String {
    let cpu = machine.cpu.as_deref().unwrap_or("unknown CPU");
    format!("{cpu}, {} CPUs", machine.cpus)
}
