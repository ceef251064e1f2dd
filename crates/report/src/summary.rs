//! `summary.json`: findings flat, every number with its unit, its n and its interval, for programs that want rows.

use crate::{headline::one_line, label, remarks};
use serde::Serialize;
use servelab_findings::{Row, RowInterval, Scope, rows, verdict_word};
use servelab_schema::{
    EngineKind, OutputPolicy, PlannedVariant, RunEnd, RunId, Sha256Hex, Treatment, Validity, VariantRole,
    findings::{AaOutcome, AaResult, Comparison, Estimate, EstimatedBy, VariantFindings, Verdict},
};
use servelab_store::RunData;
use std::collections::BTreeMap;

/// The whole document.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    /// Format version.
    pub(crate) v: u32,
    /// The kind of every run; `mixed` where they differ.
    pub(crate) engine_kind: String,
    pub(crate) runs: Vec<RunDoc>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunDoc {
    pub(crate) engine_kind: EngineKind,
    pub(crate) run: RunFacts,
    /// True where two equal arms differ: no verdict is given.
    pub(crate) suspect: bool,
    pub(crate) headline: String,
    pub(crate) notes: Vec<String>,
    pub(crate) comparisons: Vec<ComparisonDoc>,
    pub(crate) aa: Vec<ComparisonDoc>,
    pub(crate) metrics: Vec<RowDoc>,
    pub(crate) treatments: Vec<TreatmentDoc>,
    pub(crate) failures: Vec<RowDoc>,
    pub(crate) trials: Vec<TrialDoc>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunFacts {
    pub(crate) id: RunId,
    pub(crate) name: String,
    pub(crate) fingerprint: Sha256Hex,
    pub(crate) end: RunEnd,
    pub(crate) started_utc: String,
    pub(crate) finished_utc: String,
    pub(crate) profile: String,
    pub(crate) model: String,
    pub(crate) engine: String,
    pub(crate) engine_version: String,
    pub(crate) time_scale: u32,
    pub(crate) blocks: usize,
    pub(crate) prompts: String,
    pub(crate) prompts_sha256: Sha256Hex,
    pub(crate) prompts_served: u32,
    pub(crate) prompts_planned: u32,
    pub(crate) seed: u64,
    pub(crate) method_version: u32,
    pub(crate) servelab_version: String,
    pub(crate) git: Option<String>,
    pub(crate) output: OutputPolicy,
    pub(crate) primary_metric: &'static str,
    pub(crate) delta_ratio: f64,
    pub(crate) alpha: f64,
}

/// An interval with what it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct IntervalDoc {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) kind: String,
}

/// One comparison. `effect_percent` is 100 × (variant / control − 1).
#[derive(Debug, Serialize)]
pub(crate) struct ComparisonDoc {
    /// Names the row of the page that shows these numbers.
    pub(crate) key: String,
    pub(crate) load: String,
    pub(crate) variant: String,
    pub(crate) control: String,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) higher_is_better: bool,
    pub(crate) primary: bool,
    pub(crate) exploratory: bool,
    /// Blocks that count.
    pub(crate) n: u32,
    pub(crate) n_of: &'static str,
    /// Blocks that there were to be.
    pub(crate) n_planned: u32,
    pub(crate) effect_percent: Option<f64>,
    pub(crate) mean_log_ratio: Option<f64>,
    pub(crate) sd_log_ratio: Option<f64>,
    pub(crate) interval: Option<IntervalDoc>,
    pub(crate) p_t: Option<f64>,
    pub(crate) p_sign_flip: Option<f64>,
    pub(crate) p_adjusted: Option<f64>,
    pub(crate) adjustment: &'static str,
    pub(crate) verdict: &'static str,
    /// Absent where it is not the same in every trial.
    pub(crate) treatment: Option<Treatment>,
    pub(crate) blocks_to_show: Option<u32>,
    pub(crate) indicative: bool,
    pub(crate) note: String,
}

/// One measured value.
#[derive(Debug, Serialize)]
pub(crate) struct RowDoc {
    pub(crate) load: String,
    pub(crate) variant: String,
    /// Absent for all tasks together.
    pub(crate) task: Option<&'static str>,
    /// Absent for all buckets together.
    pub(crate) bucket: Option<&'static str>,
    /// What the value is compared with, where it is a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<String>,
    pub(crate) metric: String,
    pub(crate) statistic: &'static str,
    /// Absent where n does not certify the percentile.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) n: u64,
    pub(crate) n_of: &'static str,
    pub(crate) interval: Option<IntervalDoc>,
    /// The percentile is at most this with 99 % confidence, were requests independent.
    pub(crate) certified_bound: Option<f64>,
    /// The same percentile with failed requests as +∞; `infinite` says that it is not finite.
    pub(crate) with_failures: Option<f64>,
    pub(crate) with_failures_infinite: bool,
    /// Of a comparison; exploratory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p: Option<f64>,
    /// The same after Benjamini and Hochberg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p_adjusted: Option<f64>,
    pub(crate) note: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct TreatmentDoc {
    pub(crate) role: VariantRole,
    pub(crate) control: Option<String>,
    pub(crate) factor: Option<String>,
    /// The flags that differ from the control's, with the variant's values; null for one that only the control has.
    pub(crate) planned: BTreeMap<String, Option<String>>,
    #[serde(flatten)]
    pub(crate) found: VariantFindings,
}

#[derive(Debug, Serialize)]
pub(crate) struct TrialDoc {
    pub(crate) id: String,
    pub(crate) block: u32,
    pub(crate) variant: String,
    pub(crate) load: String,
    pub(crate) validity: Validity,
    pub(crate) treatment: Treatment,
    pub(crate) completed: u32,
    pub(crate) failed: u32,
}

/// What a run says, with its facts.
pub(crate) fn run(data: &RunData) -> RunDoc {
    let (findings, plan) = (&data.findings, &data.plan);
    let rows = rows(findings);
    let of = |scope: Scope| rows.iter().filter(move |r| r.scope == scope).map(row).collect();
    RunDoc {
        engine_kind: plan.engine_kind,
        run: facts(data),
        suspect: findings.study.suspect,
        headline: one_line(&findings.brief),
        notes: notes(data),
        comparisons: findings.study.comparisons.iter().map(|c| comparison(data, c)).collect(),
        aa: findings.study.aa.iter().map(|a| aa(data, a)).collect(),
        metrics: of(Scope::Cell),
        failures: of(Scope::Failures),
        treatments: plan.variants.iter().filter_map(|v| treatment(data, v)).collect(),
        trials: findings
            .trials
            .iter()
            .map(|t| TrialDoc {
                id: t.id.to_string(),
                block: t.block,
                variant: t.variant.to_string(),
                load: t.load.to_string(),
                validity: t.validity.clone(),
                treatment: t.treatment,
                completed: t.counts.completed,
                failed: t.counts.failures(),
            })
            .collect(),
    }
}

fn treatment(data: &RunData, v: &PlannedVariant) -> Option<TreatmentDoc> {
    let planned = |name: &String| {
        let value = match v.flags.get(name) {
            Some(flag) => Some(flag.value.to_string()),
            None if name == "model" => v.model.clone(),
            None => None,
        };
        (name.clone(), value)
    };
    Some(TreatmentDoc {
        role: v.role,
        control: v.control.as_ref().map(ToString::to_string),
        factor: v.factor.clone(),
        planned: v.differs_in.iter().map(planned).collect(),
        found: data.findings.variant(&v.id)?.clone(),
    })
}

/// What a reader must know: of the comparisons, and of the lengths of answers.
fn notes(data: &RunData) -> Vec<String> {
    let (plan, study) = (&data.plan, &data.findings.study);
    let said = study.notes.iter().map(|note| remarks::note(plan, note));
    let mut lost: Vec<String> = Vec::new();
    for c in study.comparisons.iter().filter(|c| c.primary && c.estimate.is_some()) {
        let sentences = remarks::lost(&c.lost)
            .into_iter()
            .map(|why| format!("Not counted: {why}."));
        let new: Vec<String> = sentences.filter(|why| !lost.contains(why)).collect();
        lost.extend(new);
    }
    said.chain(lost).chain(label::speculation_note(plan)).collect()
}

fn facts(data: &RunData) -> RunFacts {
    let (plan, manifest) = (&data.plan, &data.manifest);
    RunFacts {
        id: manifest.run_id.clone(),
        name: manifest.name.clone(),
        fingerprint: data.fingerprint.clone(),
        end: manifest.end.clone(),
        started_utc: manifest.started.utc.clone(),
        finished_utc: manifest.finished.utc.clone(),
        profile: plan.profile.name.clone(),
        model: plan.profile.model.clone(),
        engine: plan.engine.dialect.to_string(),
        engine_version: plan.engine.version.clone(),
        time_scale: manifest.time_scale.get(),
        blocks: plan.blocks.len(),
        prompts: plan.prompts.id.to_string(),
        prompts_sha256: plan.prompts.sha256.clone(),
        prompts_served: data.findings.run.prompts_served,
        prompts_planned: data.findings.run.prompts_planned,
        seed: plan.seed,
        method_version: manifest.method_version,
        servelab_version: manifest.servelab_version.clone(),
        git: data.environment.git.clone(),
        output: plan.output,
        primary_metric: plan.primary_metric.as_str(),
        delta_ratio: plan.delta.get(),
        alpha: plan.alpha.get(),
    }
}

/// Names a comparison in the page and in `summary.json`.
pub(crate) fn comparison_key(c: &Comparison) -> String {
    format!("{}/{}/{}/{}", c.load, c.variant, c.control.control, c.metric)
}

/// Names an A/A result in the page and in `summary.json`.
pub(crate) fn aa_key(a: &AaResult) -> String {
    format!("aa/{}/{}/{}/{}", a.load, a.variant, a.control, a.metric)
}

fn interval(data: &RunData, estimate: Option<Estimate>) -> Option<IntervalDoc> {
    let confidence = (1.0 - data.plan.alpha.get()) * 100.0;
    let estimate = estimate?;
    let kind = match estimate.by {
        EstimatedBy::PairedT => format!("{confidence:.0} % t interval over blocks"),
        EstimatedBy::BlockBootstrap => format!("{confidence:.0} % interval from resampling blocks"),
    };
    estimate.interval_percent.map(|i| IntervalDoc {
        low: i.low,
        high: i.high,
        kind,
    })
}

fn comparison(data: &RunData, c: &Comparison) -> ComparisonDoc {
    let e = c.estimate;
    let said = [remarks::answers(data, c), label::verdict_note(c)];
    ComparisonDoc {
        key: comparison_key(c),
        load: c.load.to_string(),
        variant: c.variant.to_string(),
        control: c.control.to_string(),
        metric: c.metric.as_str(),
        unit: "percent of the control",
        higher_is_better: c.metric.higher_is_better(),
        primary: c.primary,
        exploratory: c.exploratory,
        n: c.k,
        n_of: "blocks",
        n_planned: c.planned,
        effect_percent: e.map(|e| e.effect_percent),
        mean_log_ratio: e.map(|e| e.mean_log_ratio),
        sd_log_ratio: e.and_then(|e| e.sd_log_ratio),
        interval: interval(data, e),
        p_t: e.and_then(|e| e.p_t),
        p_sign_flip: e.and_then(|e| e.p_sign_flip),
        p_adjusted: e.and_then(|e| e.p_adjusted),
        adjustment: match e.and_then(|e| e.p_adjusted) {
            None => "none",
            Some(_) if c.primary => "holm",
            Some(_) => "benjamini-hochberg",
        },
        verdict: verdict_word(&c.verdict),
        treatment: data.findings.variant(&c.variant).and_then(VariantFindings::treatment),
        blocks_to_show: match c.verdict {
            Verdict::NoEvidence { blocks_to_show, .. } => blocks_to_show,
            _ => None,
        },
        indicative: c.indicative,
        note: said
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn aa(data: &RunData, a: &AaResult) -> ComparisonDoc {
    let e = a.estimate;
    ComparisonDoc {
        key: aa_key(a),
        load: a.load.to_string(),
        variant: a.variant.to_string(),
        control: a.control.to_string(),
        metric: a.metric.as_str(),
        unit: "percent of the control",
        higher_is_better: a.metric.higher_is_better(),
        primary: a.primary,
        exploratory: !a.primary,
        n: a.k,
        n_of: "blocks",
        n_planned: a.planned,
        effect_percent: e.map(|e| e.effect_percent),
        mean_log_ratio: e.map(|e| e.mean_log_ratio),
        sd_log_ratio: e.and_then(|e| e.sd_log_ratio),
        interval: interval(data, e),
        p_t: e.and_then(|e| e.p_t),
        p_sign_flip: e.and_then(|e| e.p_sign_flip),
        p_adjusted: None,
        adjustment: "none",
        verdict: match a.outcome {
            AaOutcome::Agrees => "aa-agrees",
            AaOutcome::Differs => "aa-differs",
            AaOutcome::Unknown => "aa-unknown",
        },
        treatment: None,
        blocks_to_show: None,
        indicative: false,
        note: if a.within_delta == Some(false) {
            "reaches beyond ±δ: no Equivalent is given".into()
        } else {
            String::new()
        },
    }
}

fn row(r: &Row) -> RowDoc {
    let interval = |i: RowInterval| IntervalDoc {
        low: i.low,
        high: i.high,
        kind: i.kind.to_owned(),
    };
    RowDoc {
        load: r.load.to_string(),
        variant: r.variant.to_string(),
        task: r.task,
        bucket: r.bucket,
        control: r.control.clone(),
        metric: r.metric.to_string(),
        statistic: r.statistic,
        value: r.value,
        unit: r.unit,
        n: r.n,
        n_of: r.n_of,
        interval: r.interval.map(interval),
        certified_bound: r.certified_bound,
        with_failures: r.with_failures,
        with_failures_infinite: r.with_failures_infinite,
        p: r.p,
        p_adjusted: r.p_adjusted,
        note: r.note.clone(),
    }
}

pub(crate) fn document(runs: Vec<RunDoc>) -> Document {
    let mut kinds = runs.iter().map(|r| r.engine_kind);
    let first = kinds.next();
    let same = kinds.all(|k| Some(k) == first);
    let word = first.filter(|_| same).map_or("mixed", |kind| match kind {
        EngineKind::Measured => "measured",
        EngineKind::Simulated => "simulated",
        EngineKind::Imported => "imported",
    });
    Document {
        v: 2,
        engine_kind: word.to_owned(),
        runs,
    }
}
