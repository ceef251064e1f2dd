//! The same arms by task and bucket.

use super::{Context, Figure};
use crate::{
    ReportError, label,
    plot::{self, GroupSeries},
    table::{Cell, Column, Row, Table},
};
use servelab_schema::findings::{LatencyKind, OverBlocks, PooledGroup};
use servelab_schema::{Bucket, NamedLoad, PlannedVariant, Task};

fn names() -> impl Iterator<Item = (Task, Bucket)> {
    Task::ALL
        .into_iter()
        .flat_map(|task| Bucket::ALL.map(|bucket| (task, bucket)))
}

fn group<'a>(
    cx: &'a Context<'_>,
    load: &NamedLoad,
    v: &PlannedVariant,
    task: Task,
    bucket: Bucket,
) -> Option<&'a PooledGroup> {
    let arm = cx.cell(&load.id, &v.id)?;
    arm.groups.iter().find(|g| g.task == task && g.bucket == bucket)
}

fn throughput(
    cx: &Context<'_>,
    load: &NamedLoad,
    v: &PlannedVariant,
    task: Task,
    bucket: Bucket,
) -> Option<OverBlocks> {
    group(cx, load, v, task, bucket)?.output_throughput_tokens_per_s
}

fn median_s(g: Option<&PooledGroup>, kind: LatencyKind) -> Option<f64> {
    let d = g?.latencies.iter().find(|d| d.latency == kind)?;
    let q = d.quantiles.first()?;
    q.success_only.certified.is_certified().then_some(q.success_only.point)
}

fn median_cell(g: Option<&PooledGroup>, kind: LatencyKind) -> Cell {
    let q = g
        .and_then(|g| g.latencies.iter().find(|d| d.latency == kind))
        .and_then(|d| d.quantiles.first());
    super::values::quantile_cell(q)
}

/// Variant × task × bucket.
pub(crate) fn table(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let mut rows = Vec::new();
    for (task, bucket) in names() {
        for v in &cx.run.plan.variants {
            let Some(g) = group(cx, load, v, task, bucket) else {
                continue;
            };
            let rate = throughput(cx, load, v, task, bucket);
            rows.push(Row {
                cells: vec![
                    Cell::name(v.id.to_string()),
                    Cell::text(task.as_str()),
                    // Sorted by length, not by letter.
                    Cell {
                        sort: Some(bucket.bounds().0.to_string()),
                        ..Cell::text(bucket.as_str())
                    },
                    Cell::count(g.completed),
                    Cell::count(g.failed),
                    super::values::range_cell(rate),
                    median_cell(Some(g), LatencyKind::Ttft),
                    median_cell(Some(g), LatencyKind::Tpot),
                    median_cell(Some(g), LatencyKind::E2e),
                ],
                ..Row::default()
            });
        }
    }
    Table {
        id: cx.id(load, "groups-t"),
        title: "By variant, task and bucket".to_owned(),
        note: "throughput is the group's share of the whole: mean over blocks, lowest to highest block; medians are pooled, with \
               their interval from resampling blocks; groups have too few requests for tails"
            .to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Task"),
            Column::text("Bucket").hint("S ≤ 512, M 513–2048, L 2049–8192 prompt tokens"),
            Column::number("Completed", "requests"),
            Column::number("Failed", "requests"),
            Column::number("Output", "tokens/s"),
            Column::number("TTFT p50", "ms"),
            Column::number("TPOT p50", "ms"),
            Column::number("E2E p50", "ms"),
        ],
        rows,
    }
}

/// Throughput, TTFT and E2E of each group.
pub(crate) fn figures(cx: &Context<'_>, load: &NamedLoad) -> Result<Vec<Figure>, ReportError> {
    type Value = fn(&Context<'_>, &NamedLoad, &PlannedVariant, Task, Bucket) -> Option<f64>;
    let plots: [(&str, &str, &str, &str, Value); 3] = [
        (
            "throughput-groups",
            "Output throughput",
            "tokens/s",
            "The group's share of the throughput, mean over blocks.",
            |cx, load, v, task, bucket| throughput(cx, load, v, task, bucket).map(|o| o.mean),
        ),
        (
            "ttft-groups",
            "Median TTFT",
            "TTFT p50 in ms",
            "Pooled medians.",
            |cx, load, v, task, bucket| median_s(group(cx, load, v, task, bucket), LatencyKind::Ttft).map(|s| s * 1e3),
        ),
        (
            "e2e-groups",
            "Median E2E",
            "E2E p50 in ms",
            "Pooled medians.",
            |cx, load, v, task, bucket| median_s(group(cx, load, v, task, bucket), LatencyKind::E2e).map(|s| s * 1e3),
        ),
    ];
    let labels: Vec<String> = names()
        .map(|(task, bucket)| format!("{} {bucket}", short(task)))
        .collect();
    let mut figures = Vec::new();
    for (name, title, y_label, caption, value) in plots {
        let series: Vec<GroupSeries> = cx
            .run
            .plan
            .variants
            .iter()
            .map(|v| GroupSeries {
                name: v.id.to_string(),
                style: cx.style(v),
                values: names().map(|(task, bucket)| value(cx, load, v, task, bucket)).collect(),
            })
            .filter(|s| s.values.iter().any(Option::is_some))
            .collect();
        let title = format!("{title} by task and bucket, {}", label::load(&load.load));
        let svg = plot::groups(
            cx.kind_word(),
            &title,
            &format!("{y_label} (logarithmic)"),
            &labels,
            &series,
        )
        .map_err(cx.plot_error("the groups"))?;
        figures.extend(svg.map(|svg| Figure {
            name: format!("{}-{}-{name}", cx.run.manifest.run_id, load.id),
            svg,
            caption: caption.to_owned(),
        }));
    }
    Ok(figures)
}

const fn short(task: Task) -> &'static str {
    match task {
        Task::Summarisation => "summary",
        Task::Qa => "qa",
        Task::Dialogue => "dialogue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_a_label_of_two_words() {
        assert_eq!(names().count(), 9);
        assert!(names().all(|(task, _)| !short(task).contains(' ')));
    }
}
