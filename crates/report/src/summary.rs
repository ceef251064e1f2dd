//! `summary.json`: every number of the page with its unit, its n and its interval, for programs.

mod arms;
mod quality;
mod treatments;

pub(crate) use treatments::startup_s;

use crate::{
    headline::one_line,
    label, remarks,
    results::{OverBlocks, Results},
};
use serde::Serialize;
use servelab_findings::{
    AaOutcome, AaResult, Certification, Comparison, Distribution, Estimate, OrInfinite, PooledArm, PooledGroup,
    Verdict, outcome::EstimatedBy,
};
use servelab_schema::{EngineKind, OutputPolicy, Reason, RunEnd, RunId, Sha256Hex, Treatment, Validity};
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
    /// True where two equal arms differ: trust no verdict.
    pub(crate) suspect: bool,
    pub(crate) headline: String,
    pub(crate) notes: Vec<String>,
    pub(crate) comparisons: Vec<ComparisonDoc>,
    pub(crate) aa: Vec<ComparisonDoc>,
    pub(crate) metrics: Vec<MetricDoc>,
    pub(crate) treatments: Vec<treatments::TreatmentDoc>,
    pub(crate) failures: Vec<FailureDoc>,
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
    pub(crate) prompts_served: usize,
    pub(crate) prompts_planned: usize,
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
pub(crate) struct MetricDoc {
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
    /// `mean`, `p50`, `p90`, `p95`, `p99`, `max`, `min`, `share`, `count`, `difference` or `effect`.
    pub(crate) statistic: &'static str,
    /// Absent where n does not certify the percentile.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) n: u32,
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

impl MetricDoc {
    /// A metric of one cell without a value.
    fn new(load: &str, variant: &str, metric: String, statistic: &'static str, unit: &'static str) -> Self {
        Self {
            load: load.to_owned(),
            variant: variant.to_owned(),
            task: None,
            bucket: None,
            control: None,
            metric,
            statistic,
            value: None,
            unit,
            n: 0,
            n_of: "",
            interval: None,
            certified_bound: None,
            with_failures: None,
            with_failures_infinite: false,
            p: None,
            p_adjusted: None,
            note: String::new(),
        }
    }

    fn value(self, value: f64) -> Self {
        Self {
            value: Some(value),
            ..self
        }
    }

    fn n(self, n: u32, n_of: &'static str) -> Self {
        Self { n, n_of, ..self }
    }

    fn interval(self, low: f64, high: f64, kind: &str) -> Self {
        Self {
            interval: Some(IntervalDoc {
                low,
                high,
                kind: kind.to_owned(),
            }),
            ..self
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct FailureDoc {
    pub(crate) load: String,
    pub(crate) variant: String,
    pub(crate) reason: Reason,
    pub(crate) value: u32,
    pub(crate) unit: &'static str,
    /// Measured requests of the variant that ended, in all its trials.
    pub(crate) n: u32,
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
pub(crate) fn run(results: &Results<'_>) -> RunDoc {
    let data = results.run;
    RunDoc {
        engine_kind: data.plan.engine_kind,
        run: facts(results),
        suspect: results.study.suspect,
        headline: one_line(results),
        notes: notes(results),
        comparisons: results
            .study
            .comparisons
            .iter()
            .map(|c| comparison(results, c))
            .collect(),
        aa: results.study.aa.iter().map(|a| aa(results, a)).collect(),
        metrics: metrics(results),
        treatments: treatments::treatments(results),
        failures: failures(results),
        trials: data
            .trials
            .iter()
            .map(|row| TrialDoc {
                id: row.record.id.to_string(),
                block: row.record.block,
                variant: row.record.variant.to_string(),
                load: row.record.load.to_string(),
                validity: row.record.validity.clone(),
                treatment: row.record.treatment,
                completed: row.record.counts.completed,
                failed: row.record.counts.failures(),
            })
            .collect(),
    }
}

/// What a reader must know: of the comparisons, and of the lengths of answers.
fn notes(results: &Results<'_>) -> Vec<String> {
    let plan = &results.run.plan;
    let study = results.study.notes.iter().map(|note| remarks::note(plan, note));
    let mut lost: Vec<String> = Vec::new();
    for c in results
        .study
        .comparisons
        .iter()
        .filter(|c| c.primary && c.estimate.is_some())
    {
        let sentences = remarks::lost(&c.lost)
            .into_iter()
            .map(|why| format!("Not counted: {why}."));
        let new: Vec<String> = sentences.filter(|why| !lost.contains(why)).collect();
        lost.extend(new);
    }
    study.chain(lost).chain(label::speculation_note(plan)).collect()
}

fn facts(results: &Results<'_>) -> RunFacts {
    let (data, plan) = (results.run, &results.run.plan);
    RunFacts {
        id: data.manifest.run_id.clone(),
        name: data.manifest.name.clone(),
        fingerprint: data.fingerprint.clone(),
        end: data.manifest.end.clone(),
        started_utc: data.manifest.started.utc.clone(),
        finished_utc: data.manifest.finished.utc.clone(),
        profile: plan.profile.name.clone(),
        model: plan.profile.model.clone(),
        engine: plan.engine.dialect.to_string(),
        engine_version: plan.engine.version.clone(),
        time_scale: data.manifest.time_scale.get(),
        blocks: plan.blocks.len(),
        prompts: plan.prompts.id.to_string(),
        prompts_sha256: plan.prompts.sha256.clone(),
        prompts_served: results.prompts_served(),
        prompts_planned: plan.prompts.prompts.len(),
        seed: plan.seed,
        method_version: data.manifest.method_version,
        servelab_version: data.manifest.servelab_version.clone(),
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

fn interval(results: &Results<'_>, estimate: Option<Estimate>) -> Option<IntervalDoc> {
    let confidence = (1.0 - results.run.plan.alpha.get()) * 100.0;
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

fn comparison(results: &Results<'_>, c: &Comparison) -> ComparisonDoc {
    let e = c.estimate;
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
        interval: interval(results, e),
        p_t: e.and_then(|e| e.p_t),
        p_sign_flip: e.and_then(|e| e.p_sign_flip),
        p_adjusted: e.and_then(|e| e.p_adjusted),
        adjustment: match e.and_then(|e| e.p_adjusted) {
            None => "none",
            Some(_) if c.primary => "holm",
            Some(_) => "benjamini-hochberg",
        },
        verdict: label::verdict_word(&c.verdict),
        treatment: results.treatment(&c.variant),
        blocks_to_show: match c.verdict {
            Verdict::NoEvidence { blocks_to_show, .. } => blocks_to_show,
            _ => None,
        },
        indicative: c.indicative,
        note: [results.answers_note(c), label::verdict_note(c)]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn aa(results: &Results<'_>, a: &AaResult) -> ComparisonDoc {
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
        interval: interval(results, e),
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

fn metrics(results: &Results<'_>) -> Vec<MetricDoc> {
    let plan = &results.run.plan;
    let mut out = Vec::new();
    for load in &plan.loads {
        for variant in &plan.variants {
            for metric in servelab_schema::MetricName::ALL {
                // Percentiles of single trials are what comparisons are made of; the values of a cell are pooled ones.
                if metric.unit() == "s" {
                    continue;
                }
                if let Some(value) = results.over_blocks(&load.id, &variant.id, metric) {
                    out.push(over_blocks(load.id.as_str(), variant.id.as_str(), metric, value));
                }
            }
            if let Some(arm) = results.pooled(&load.id, &variant.id) {
                pooled_metrics(arm, &mut out);
            }
        }
    }
    results.arms.iter().for_each(|arm| arms::metrics(arm, &mut out));
    quality::metrics(results, &mut out);
    out
}

fn over_blocks(load: &str, variant: &str, metric: servelab_schema::MetricName, value: OverBlocks) -> MetricDoc {
    MetricDoc::new(load, variant, metric.to_string(), "mean", metric.unit())
        .value(value.mean)
        .n(value.n, "blocks")
        .interval(value.low, value.high, "lowest and highest block")
}

fn pooled_metrics(arm: &PooledArm, out: &mut Vec<MetricDoc>) {
    for d in &arm.latencies {
        out.extend(quantiles(arm, None, d));
    }
    for group in &arm.groups {
        for d in &group.latencies {
            // A group certifies its median only.
            out.extend(quantiles(arm, Some(group), d).take(1));
        }
    }
}

/// The statistic's name of each pooled quantile, in the order in which `findings` gives them.
pub(crate) const STATISTICS: [&str; 4] = ["p50", "p90", "p95", "p99"];

fn quantiles<'a>(
    arm: &'a PooledArm,
    group: Option<&'a PooledGroup>,
    d: &'a Distribution,
) -> impl Iterator<Item = MetricDoc> + 'a {
    STATISTICS.into_iter().zip(&d.quantiles).map(move |(statistic, q)| {
        let (bound, note) = match q.success_only.certified {
            Certification::Certified { bound, .. } => (Some(bound), String::new()),
            Certification::NotCertifiable { needs } => (None, not_certifiable(q.success_only.n, needs)),
        };
        let (load, variant) = (arm.load.as_str(), arm.variant.as_str());
        let interval = q.block_interval.filter(|_| bound.is_some()).map(|i| IntervalDoc {
            low: i.low,
            high: i.high,
            kind: "95 % interval from resampling blocks".to_owned(),
        });
        MetricDoc {
            task: group.map(|g| g.task.as_str()),
            bucket: group.map(|g| g.bucket.as_str()),
            value: bound.map(|_| q.success_only.point),
            interval,
            certified_bound: bound,
            with_failures: q.with_failures.finite().filter(|_| bound.is_some()),
            with_failures_infinite: q.with_failures == OrInfinite::Infinite,
            note,
            ..MetricDoc::new(load, variant, d.latency.as_str().to_owned(), statistic, "s")
                .n(q.success_only.n, "requests")
        }
    })
}

/// What is said in place of a percentile that n does not certify.
pub(crate) fn not_certifiable(n: u32, needs: u32) -> String {
    format!("not certifiable (n = {n}, needs {needs})")
}

/// Failures of every trial, counted or not, by load, variant and reason.
pub(crate) fn failures(results: &Results<'_>) -> Vec<FailureDoc> {
    let mut found: BTreeMap<(String, String, Reason), u32> = BTreeMap::new();
    let mut ended: BTreeMap<(String, String), u32> = BTreeMap::new();
    for row in &results.run.trials {
        let r = &row.record;
        let cell = (r.load.to_string(), r.variant.to_string());
        let n = ended.entry(cell.clone()).or_default();
        *n = n.saturating_add(r.counts.completed).saturating_add(r.counts.failures());
        for (reason, count) in &r.counts.failed {
            let n = found.entry((cell.0.clone(), cell.1.clone(), *reason)).or_default();
            *n = n.saturating_add(*count);
        }
    }
    found
        .into_iter()
        .map(|((load, variant, reason), value)| FailureDoc {
            n: ended.get(&(load.clone(), variant.clone())).copied().unwrap_or_default(),
            load,
            variant,
            reason,
            value,
            unit: "requests",
        })
        .collect()
}

/// The whole document of several runs.
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
        v: 1,
        engine_kind: word.to_owned(),
        runs,
    }
}
