//! Whether variants still answer as their control does, as values with unit, n and interval.

use super::MetricDoc;
use crate::results::Results;
use servelab_findings::{ArmQuality, Proportion, QualityChange};

/// What intervals of shares are.
const EXACT: &str = "95 % Clopper–Pearson interval, as if requests were independent";

/// Every value of every arm that is known.
pub(super) fn metrics(results: &Results<'_>, out: &mut Vec<MetricDoc>) {
    for arm in &results.quality {
        let new = |metric: &str, statistic, unit| {
            MetricDoc::new(
                arm.load.as_str(),
                arm.variant.as_str(),
                metric.to_owned(),
                statistic,
                unit,
            )
        };
        out.extend(
            arm.answers
                .map(|p| share(new("answers-found", "share", "ratio"), p, "questions")),
        );
        let tokens = arm.mean_output_tokens;
        out.extend(tokens.map(|t| {
            new("output-length", "mean", "tokens")
                .value(t)
                .n(arm.completed, "requests")
        }));
        arm.against.iter().for_each(|change| against(arm, change, out));
    }
}

fn share(doc: MetricDoc, p: Proportion, of: &'static str) -> MetricDoc {
    doc.value(p.ratio)
        .n(p.n, of)
        .interval(p.interval.low, p.interval.high, EXACT)
}

fn against(arm: &ArmQuality, change: &QualityChange, out: &mut Vec<MetricDoc>) {
    let new = |metric: &str, statistic, unit| MetricDoc {
        control: Some(change.control.to_string()),
        ..MetricDoc::new(
            arm.load.as_str(),
            arm.variant.as_str(),
            metric.to_owned(),
            statistic,
            unit,
        )
    };
    let same = change.same_text;
    out.extend(same.map(|p| share(new("same-text", "share", "ratio"), p, "prompts")));
    if let Some(a) = &change.answers {
        let doc = new("answers-found-change", "difference", "percentage points");
        let doc = MetricDoc {
            p: Some(a.p),
            p_adjusted: Some(a.p_adjusted),
            note: format!(
                "{} answered by the variant alone, {} by the control alone; McNemar's exact test, exploratory",
                a.only_variant, a.only_control
            ),
            ..doc.value(a.points).n(a.n, "questions")
        };
        out.push(match a.interval_points {
            Some(i) => doc.interval(i.low, i.high, "95 % interval, exact given the questions that differ"),
            None => doc,
        });
    }
    if let Some(l) = &change.length {
        let doc = new("output-length-change", "effect", "percent of the control");
        let doc = MetricDoc {
            note: if l.is_confound() {
                "a named confound: beyond ±2 %".to_owned()
            } else {
                String::new()
            },
            ..doc.value(l.percent).n(l.blocks, "blocks")
        };
        out.push(match l.interval_percent {
            Some(i) => doc.interval(i.low, i.high, "95 % t interval over blocks"),
            None => doc,
        });
    }
}
