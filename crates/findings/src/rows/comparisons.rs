//! A variant against a control, and a control's copy against it.

use super::{Row, Scope, verdict_word};
use servelab_schema::findings::{AaOutcome, AaResult, Comparison, Estimate, EstimatedBy, Study};

/// Unit of effects.
const EFFECT: &str = "percent of the control";

pub(super) fn rows(study: &Study, out: &mut Vec<Row>) {
    out.extend(study.comparisons.iter().map(comparison));
    out.extend(study.aa.iter().map(aa));
}

fn estimated(row: Row, e: Option<&Estimate>) -> Row {
    let Some(e) = e else { return row };
    let row = Row {
        p: e.p_t,
        p_adjusted: e.p_adjusted,
        p_sign_flip: e.p_sign_flip,
        ..row.value(e.effect_percent)
    };
    let kind = match e.by {
        EstimatedBy::PairedT => "t interval over blocks, confidence 1 − α",
        EstimatedBy::BlockBootstrap => "interval from resampling blocks, confidence 1 − α",
    };
    match e.interval_percent {
        Some(i) => row.interval(i.low, i.high, kind),
        None => row,
    }
}

fn comparison(c: &Comparison) -> Row {
    let row = Row::new(
        Scope::Comparison,
        (&c.load, &c.variant),
        c.metric.as_str(),
        "effect",
        EFFECT,
    );
    let row = Row {
        control: Some(c.control.to_string()),
        verdict: Some(verdict_word(&c.verdict)),
        primary: c.primary,
        note: format!("{} of {} blocks", c.k, c.planned),
        ..row.n(c.k, "blocks")
    };
    estimated(row, c.estimate.as_ref())
}

fn aa(a: &AaResult) -> Row {
    let row = Row::new(Scope::Aa, (&a.load, &a.variant), a.metric.as_str(), "effect", EFFECT);
    let row = Row {
        control: Some(a.control.to_string()),
        verdict: Some(match a.outcome {
            AaOutcome::Agrees => "aa-agrees",
            AaOutcome::Differs => "aa-differs",
            AaOutcome::Unknown => "aa-unknown",
        }),
        primary: a.primary,
        note: format!("{} of {} blocks", a.k, a.planned),
        ..row.n(a.k, "blocks")
    };
    estimated(row, a.estimate.as_ref())
}
