//! Findings laid out flat, one number a row with its unit, its n and its interval: for SQL, CSV and queries.
//!
//! Parts: cells (throughputs over blocks, certified percentiles, everything described, what engines and GPUs told, answers),
//! trials (their metrics), gates (what each looked at, and its bounds), comparisons and A/A results. A percentile that n does
//! not certify has a row without a value, whose note says what it needs. Not laid out are curves, timelines, and what single
//! blocks of a comparison say.

mod cells;
mod comparisons;
mod engines;
mod gates;
mod trials;

use servelab_schema::{
    LoadId, TrialId, VariantId,
    findings::{Findings, Verdict},
};
use std::borrow::Cow;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One variant under one load.
    Cell,
    /// One take of a trial.
    Trial,
    /// A gate of a take: names that some metrics have too, such as `prompt-tokens`.
    Gate,
    /// A variant against a control.
    Comparison,
    /// A copy of a control against it.
    Aa,
    /// Requests that failed in a cell, in trials counted or not.
    Failures,
}

impl Scope {
    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cell => "cell",
            Self::Trial => "trial",
            Self::Gate => "gate",
            Self::Comparison => "comparison",
            Self::Aa => "a/a",
            Self::Failures => "failures",
        }
    }
}

/// Which n a number rests on.
pub type NOf = &'static str;

/// An interval with what it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowInterval {
    /// Lower end, in the row's unit.
    pub low: f64,
    /// Upper end, in the row's unit.
    pub high: f64,
    /// What it is, such as `95 % interval from resampling blocks`.
    pub kind: &'static str,
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What it is about.
    pub scope: Scope,
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// What it is compared with, where it is a comparison.
    pub control: Option<String>,
    /// The take, where it is of one.
    pub trial: Option<TrialId>,
    /// None for all tasks together.
    pub task: Option<&'static str>,
    /// None for all buckets together.
    pub bucket: Option<&'static str>,
    /// What is measured, such as `ttft` or `output-throughput`, or the gate.
    pub metric: Cow<'static, str>,
    /// `value`, `mean`, `p50`, `p90`, `p95`, `p99`, `max`, `min`, `sd`, `sum`, `share`, `count`, `difference` or `effect`; beside
    /// the effect of a comparison `log-ratio`, `log-ratio-sd`, `equivalence`, `planned-blocks`, `lost-blocks`,
    /// `control-lost-blocks`, `blocks-to-show`, `turning-blocks`, `requests`, `control-requests` or `needed-requests`; of a
    /// gate the name of its figure.
    pub statistic: &'static str,
    /// None where n does not certify the percentile, there is nothing to compare, or the row is of a test alone.
    pub value: Option<f64>,
    /// Unit of value and interval.
    pub unit: &'static str,
    /// What the value rests on.
    pub n: u64,
    /// Of what.
    pub n_of: NOf,
    /// The interval.
    pub interval: Option<RowInterval>,
    /// The least that passes the gate.
    pub at_least: Option<f64>,
    /// The most that passes the gate.
    pub at_most: Option<f64>,
    /// The percentile is at most this with 99 % confidence, were requests independent.
    pub certified_bound: Option<f64>,
    /// The same percentile with failed requests as +∞; `None` where that is not finite or there is none.
    pub with_failures: Option<f64>,
    /// True where the percentile with failed requests is +∞.
    pub with_failures_infinite: bool,
    /// p of a comparison before any correction.
    pub p: Option<f64>,
    /// p after Holm (the primary metric) or Benjamini and Hochberg.
    pub p_adjusted: Option<f64>,
    /// Exact sign-flip p.
    pub p_sign_flip: Option<f64>,
    /// The verdict's word, in the row of the effect.
    pub verdict: Option<&'static str>,
    /// What the word rests on, why none is given, or what hinders it; of an A/A result `within-delta` or `beyond-delta`.
    pub reason: Option<&'static str>,
    /// True where the verdict's word is only a hint.
    pub indicative: bool,
    /// True for the plan's primary metric.
    pub primary: bool,
    /// What else must be known.
    pub note: String,
}

/// A share as a number of tokens or requests that an `f64` holds exactly.
#[expect(clippy::as_conversions, reason = "counts and bytes here are far below 2^53")]
pub(crate) const fn exact(n: u64) -> f64 {
    n as f64
}

impl Row {
    fn new(
        scope: Scope,
        (load, variant): (&LoadId, &VariantId),
        metric: impl Into<Cow<'static, str>>,
        statistic: &'static str,
        unit: &'static str,
    ) -> Self {
        Self {
            scope,
            load: load.clone(),
            variant: variant.clone(),
            control: None,
            trial: None,
            task: None,
            bucket: None,
            metric: metric.into(),
            statistic,
            value: None,
            unit,
            n: 0,
            n_of: "",
            interval: None,
            at_least: None,
            at_most: None,
            certified_bound: None,
            with_failures: None,
            with_failures_infinite: false,
            p: None,
            p_adjusted: None,
            p_sign_flip: None,
            verdict: None,
            reason: None,
            indicative: false,
            primary: false,
            note: String::new(),
        }
    }

    fn value(self, value: f64) -> Self {
        Self {
            value: Some(value),
            ..self
        }
    }

    fn n(self, n: impl Into<u64>, n_of: NOf) -> Self {
        Self {
            n: n.into(),
            n_of,
            ..self
        }
    }

    fn interval(self, low: f64, high: f64, kind: &'static str) -> Self {
        Self {
            interval: Some(RowInterval { low, high, kind }),
            ..self
        }
    }
}

/// The verdict's word in files.
#[must_use]
pub const fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse { .. } => "worse",
        Verdict::Equivalent => "equivalent",
        Verdict::NoEvidence { .. } => "no-evidence",
        Verdict::NotComparable { .. } => "not-comparable",
    }
}

/// The numbers of a run: cells first, then comparisons, then single trials, each with its gates.
pub fn rows(findings: &Findings) -> Vec<Row> {
    let mut out = Vec::new();
    for cell in &findings.cells {
        cells::rows(cell, &mut out);
    }
    comparisons::rows(&findings.study, &mut out);
    for trial in &findings.trials {
        trials::rows(trial, &mut out);
        gates::rows(trial, &mut out);
    }
    out
}
