//! One variant under one load.

use super::{Row, Scope, engines, exact};
use crate::quality::LENGTH_SHIFT_PERCENT;
use servelab_schema::findings::{
    CellFindings, Certification, Distribution, OrInfinite, OverBlocks, PooledGroup, PooledQuantile, Proportion,
};

/// What intervals of means are.
pub(super) const EXTREME_BLOCKS: &str = "lowest and highest block";
/// What intervals of pooled percentiles are.
const RESAMPLED: &str = "95 % interval from resampling blocks";
/// What intervals of shares are.
const EXACT: &str = "95 % Clopper–Pearson interval, as if requests were independent";

/// Names of the pooled percentiles, in the order in which a distribution has them.
const STATISTICS: [&str; 4] = ["p50", "p90", "p95", "p99"];

/// A mean over blocks.
pub(super) fn over(row: Row, value: Option<OverBlocks>) -> Option<Row> {
    let value = value?;
    let row = row.value(value.mean).n(value.n, "blocks");
    Some(row.interval(value.low, value.high, EXTREME_BLOCKS))
}

pub(super) fn rows(cell: &CellFindings, out: &mut Vec<Row>) {
    let of = (&cell.load, &cell.variant);
    let new = |metric: &'static str, statistic, unit| Row::new(Scope::Cell, of, metric, statistic, unit);
    for (metric, value) in &cell.over_blocks {
        out.extend(over(new(metric.as_str(), "mean", metric.unit()), Some(*value)));
    }
    for d in &cell.latencies {
        out.extend(quantiles(cell, None, d));
        let mean = new(d.latency.as_str(), "mean", "s").value(d.summary_s.mean);
        out.push(mean.n(d.summary_s.n, "requests"));
    }
    for d in &cell.described {
        let row = Row {
            note: format!("mean over blocks of each block's {}", d.statistic.as_str()),
            ..new(d.metric.as_str(), d.statistic.as_str(), d.metric.unit())
        };
        out.extend(over(row, Some(d.over_blocks)));
    }
    for (metric, tokens) in [
        ("prompt-tokens-total", cell.prompt_tokens_total),
        ("completion-tokens-total", cell.completion_tokens_total),
    ] {
        let row = |tokens| {
            new(metric, "sum", "tokens")
                .value(exact(tokens))
                .n(cell.completed, "requests")
        };
        out.extend(tokens.map(row));
    }
    for group in &cell.groups {
        let row = Row {
            task: Some(group.task.as_str()),
            bucket: Some(group.bucket.as_str()),
            ..new("output-throughput", "mean", "tokens/s")
        };
        out.extend(over(row, group.output_throughput_tokens_per_s));
        // A group certifies its median only.
        out.extend(
            group
                .latencies
                .iter()
                .filter_map(|d| quantiles(cell, Some(group), d).next()),
        );
    }
    failures(cell, out);
    engines::rows(cell, out);
    quality(cell, out);
}

fn failures(cell: &CellFindings, out: &mut Vec<Row>) {
    let ended = cell.completed_everywhere + cell.failed_everywhere();
    let rows = cell.failures_everywhere.iter().map(|(reason, n)| {
        let row = Row::new(
            Scope::Failures,
            (&cell.load, &cell.variant),
            reason.as_str(),
            "count",
            "requests",
        );
        row.value(f64::from(*n)).n(ended, "requests")
    });
    out.extend(rows);
}

fn quantiles<'a>(
    cell: &'a CellFindings,
    group: Option<&'a PooledGroup>,
    d: &'a Distribution,
) -> impl Iterator<Item = Row> + 'a {
    STATISTICS.into_iter().zip(&d.quantiles).map(move |(statistic, q)| {
        let row = Row::new(
            Scope::Cell,
            (&cell.load, &cell.variant),
            d.latency.as_str(),
            statistic,
            "s",
        );
        Row {
            task: group.map(|g| g.task.as_str()),
            bucket: group.map(|g| g.bucket.as_str()),
            ..quantile(row.n(q.success_only.n, "requests"), q)
        }
    })
}

fn quantile(row: Row, q: &PooledQuantile) -> Row {
    let row = Row {
        with_failures_infinite: q.with_failures == OrInfinite::Infinite,
        ..row
    };
    let (n, certified) = (q.success_only.n, q.success_only.certified);
    match certified {
        Certification::Certified {
            bound: OrInfinite::Finite(bound),
            ..
        } => {
            let row = Row {
                certified_bound: Some(bound),
                with_failures: q.with_failures.finite(),
                ..row.value(q.success_only.point)
            };
            match q.block_interval {
                Some(i) => row.interval(i.low, i.high, RESAMPLED),
                None => row,
            }
        }
        Certification::Certified {
            bound: OrInfinite::Infinite,
            rank_from_top,
        } => Row {
            note: format!("certified bound is +∞: value {rank_from_top} from the top is a failed request"),
            ..row
        },
        Certification::NotCertifiable { needs } => Row {
            note: format!("not certifiable (n = {n}, needs {needs})"),
            ..row
        },
    }
}

fn share(row: Row, p: Proportion, of: &'static str) -> Row {
    row.value(p.ratio)
        .n(p.n, of)
        .interval(p.interval.low, p.interval.high, EXACT)
}

fn quality(cell: &CellFindings, out: &mut Vec<Row>) {
    let arm = &cell.quality;
    let new = |metric: &'static str, statistic, unit| {
        Row::new(Scope::Cell, (&cell.load, &cell.variant), metric, statistic, unit)
    };
    let answers = arm
        .answers
        .map(|p| share(new("answers-found", "share", "ratio"), p, "questions"));
    out.extend(answers);
    let tokens = arm.mean_output_tokens;
    out.extend(tokens.map(|t| {
        new("output-length", "mean", "tokens")
            .value(t)
            .n(arm.completed, "requests")
    }));
    for change in &arm.against {
        let new = |metric: &'static str, statistic, unit| Row {
            control: Some(change.control.to_string()),
            ..new(metric, statistic, unit)
        };
        let same = change.same_text;
        out.extend(same.map(|p| share(new("same-text", "share", "ratio"), p, "prompts")));
        if let Some(a) = &change.answers {
            let row = Row {
                p: Some(a.p),
                p_adjusted: a.p_adjusted,
                note: format!(
                    "{} answered by the variant alone, {} by the control alone; McNemar's exact test, exploratory",
                    a.only_variant, a.only_control
                ),
                ..new("answers-found-change", "difference", "percentage points")
                    .value(a.points)
                    .n(a.n, "questions")
            };
            out.push(match a.interval_points {
                Some(i) => row.interval(i.low, i.high, "95 % interval, exact given the questions that differ"),
                None => row,
            });
        }
        if let Some(l) = &change.length {
            let row = Row {
                note: if change.length_confounds {
                    format!("a named confound: beyond ±{LENGTH_SHIFT_PERCENT} %")
                } else {
                    String::new()
                },
                ..new("output-length-change", "effect", "percent of the control")
                    .value(l.percent)
                    .n(l.blocks, "blocks")
            };
            out.push(match l.interval_percent {
                Some(i) => row.interval(i.low, i.high, "95 % t interval over blocks"),
                None => row,
            });
        }
    }
}
