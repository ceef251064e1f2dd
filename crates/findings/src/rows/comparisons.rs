//! A variant against a control, and a control's copy against it: the effect with its word, and a row for every other number.

use super::{Row, Scope, verdict_word};
use servelab_schema::findings::{
    AaOutcome, AaResult, Claim, Comparison, Estimate, EstimatedBy, Hindrance, Study, Verdict, Withheld, WorseBy,
};

/// Unit of effects.
const EFFECT: &str = "percent of the control";
/// Unit of logarithms of ratios.
const LOG: &str = "ln";

pub(super) fn rows(study: &Study, out: &mut Vec<Row>) {
    study.comparisons.iter().for_each(|c| comparison(c, out));
    study.aa.iter().for_each(|a| aa(a, out));
}

/// The same comparison's row of another number.
fn other(effect: &Row, statistic: &'static str, unit: &'static str) -> Row {
    Row {
        control: effect.control.clone(),
        primary: effect.primary,
        n: effect.n,
        n_of: effect.n_of,
        ..Row::new(
            effect.scope,
            (&effect.load, &effect.variant),
            effect.metric.clone(),
            statistic,
            unit,
        )
    }
}

/// The effect's row with its numbers, then the rest of its estimate. `effect` is a row that has no number yet.
fn estimated(effect: Row, e: Option<&Estimate>, out: &mut Vec<Row>) {
    let Some(e) = e else {
        out.push(effect);
        return;
    };
    let log = other(&effect, "log-ratio", LOG).value(e.mean_log_ratio);
    let sd = e.sd_log_ratio.map(|sd| other(&effect, "log-ratio-sd", LOG).value(sd));
    // A test without a number of its own: it is about the effect.
    let equivalence = e.p_tost.map(|p| Row {
        p: Some(p),
        p_adjusted: e.p_tost_adjusted,
        note: "two one-sided t tests against “the effect lies outside ±δ”".to_owned(),
        ..other(&effect, "equivalence", EFFECT)
    });
    let together = e.autocorrelation.map(|a| {
        let measured = a
            .lag1_measured
            .map(|rho| other(&effect, "lag-1-autocorrelation", "ratio").value(rho));
        let used = other(&effect, "lag-1-autocorrelation-used", "ratio").value(a.lag1);
        let blocks = other(&effect, "effective-blocks", "blocks").value(a.effective_blocks);
        [measured, Some(used), Some(blocks)]
    });
    let row = Row {
        p: e.p_t,
        p_adjusted: e.p_adjusted,
        p_sign_flip: e.p_sign_flip,
        ..effect.value(e.effect_percent)
    };
    let kind = match e.by {
        EstimatedBy::PairedT if e.autocorrelation.is_some() => {
            "t interval over blocks that hang together, confidence 1 − α"
        }
        EstimatedBy::PairedT => "t interval over blocks, confidence 1 − α",
        EstimatedBy::BlockBootstrap => "interval from resampling blocks, confidence 1 − α",
    };
    out.push(match e.interval_percent {
        Some(i) => row.interval(i.low, i.high, kind),
        None => row,
    });
    out.extend([Some(log), sd, equivalence].into_iter().flatten());
    out.extend(together.into_iter().flatten().flatten());
}

/// What a word rests on, why none is given, or what hinders it.
const fn reason(verdict: &Verdict) -> Option<&'static str> {
    Some(match verdict {
        Verdict::Better | Verdict::Equivalent | Verdict::NoEvidence { withheld: None, .. } => return None,
        Verdict::Worse { by: WorseBy::Effect } => "effect",
        Verdict::Worse {
            by: WorseBy::LostBlocks,
        } => "lost-blocks",
        Verdict::NoEvidence {
            withheld: Some(why), ..
        } => match why {
            Withheld::Suspect => "suspect",
            Withheld::AaUnknown => "aa-unknown",
            Withheld::AaBeyondDelta => "aa-beyond-delta",
            Withheld::Descriptive => "descriptive",
        },
        Verdict::NotComparable { why } => match why {
            Hindrance::NoTrial => "no-trial",
            Hindrance::NoBlock => "no-block",
            Hindrance::FirstTokens { .. } => "first-tokens",
            Hindrance::LostToEngine { .. } => "lost-to-engine",
            Hindrance::NotCertifiable { .. } => "not-certifiable",
            Hindrance::AmongFailures => "among-failures",
        },
    })
}

/// `3 of 4 blocks`, with the word that lost blocks could turn.
fn note(c: &Comparison) -> String {
    let blocks = format!("{} of {} blocks", c.k, c.planned);
    let Verdict::NotComparable {
        why: Hindrance::LostToEngine { would_be, .. },
    } = &c.verdict
    else {
        return blocks;
    };
    let word = match would_be {
        Claim::Better => "better",
        Claim::Worse => "worse",
        Claim::Equivalent => "equivalent",
    };
    format!("{blocks}; would be {word}")
}

fn comparison(c: &Comparison, out: &mut Vec<Row>) {
    let row = Row::new(
        Scope::Comparison,
        (&c.load, &c.variant),
        c.metric.as_str(),
        "effect",
        EFFECT,
    );
    let effect = Row {
        control: Some(c.control.to_string()),
        verdict: Some(verdict_word(&c.verdict)),
        reason: reason(&c.verdict),
        indicative: c.indicative,
        primary: c.primary,
        note: note(c),
        ..row.n(c.k, "blocks")
    };
    let count = |statistic, n: u32, unit| other(&effect, statistic, unit).value(f64::from(n));
    let mut more = vec![count("planned-blocks", c.planned, "blocks")];
    if let Some(l) = &c.losses {
        more.push(Row {
            p: Some(l.p),
            p_adjusted: Some(l.p_adjusted),
            note: "lost to the engine; Fisher's one-sided exact test against the control's".to_owned(),
            ..count("lost-blocks", l.lost, "blocks").n(l.of, "blocks")
        });
        more.push(count("control-lost-blocks", l.control_lost, "blocks").n(l.control_of, "blocks"));
    }
    if let Some(r) = c.requests {
        more.push(count("requests", r.variant, "requests").n(r.variant, "requests"));
        more.push(count("control-requests", r.control, "requests").n(r.control, "requests"));
    }
    match &c.verdict {
        Verdict::NoEvidence {
            blocks_to_show: Some(n),
            ..
        } => more.push(count("blocks-to-show", *n, "blocks")),
        Verdict::NotComparable {
            why: Hindrance::LostToEngine { blocks, .. },
        } => more.push(count("turning-blocks", *blocks, "blocks")),
        Verdict::NotComparable {
            why: Hindrance::NotCertifiable { needs, .. },
        } => more.push(count("needed-requests", *needs, "requests")),
        _ => {}
    }
    estimated(effect, c.estimate.as_ref(), out);
    out.extend(more);
}

fn aa(a: &AaResult, out: &mut Vec<Row>) {
    let row = Row::new(Scope::Aa, (&a.load, &a.variant), a.metric.as_str(), "effect", EFFECT);
    let effect = Row {
        control: Some(a.control.to_string()),
        verdict: Some(match a.outcome {
            AaOutcome::Agrees => "aa-agrees",
            AaOutcome::Differs => "aa-differs",
            AaOutcome::Unknown => "aa-unknown",
        }),
        reason: a
            .within_delta
            .map(|within| if within { "within-delta" } else { "beyond-delta" }),
        primary: a.primary,
        note: format!("{} of {} blocks", a.k, a.planned),
        ..row.n(a.k, "blocks")
    };
    let planned = other(&effect, "planned-blocks", "blocks").value(f64::from(a.planned));
    estimated(effect, a.estimate.as_ref(), out);
    out.push(planned);
}
