//! What was measured of each arm and is compared nowhere: inter-chunk latency, normalised time per token, what one user sees,
//! input and total throughput, times from the schedule. No verdict is built on it.

use super::{
    Context,
    values::{ms, range_cell},
};
use crate::{
    label, number,
    table::{Cell, Column, Row, Table},
};
use servelab_schema::{
    MetricName, NamedLoad, VariantId,
    findings::{Described, DescribedMetric, DescribedStatistic, OverBlocks},
};

/// Statistics of a block that have a column; a metric with one value a block has it in the first.
const STATISTICS: [DescribedStatistic; 4] = [
    DescribedStatistic::Mean,
    DescribedStatistic::P50,
    DescribedStatistic::P95,
    DescribedStatistic::P99,
];

/// Metric × variant, so that the arms stand below each other; metrics that no arm has are absent.
pub(crate) fn table(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let variants = || cx.run.plan.variants.iter().map(|v| &v.id);
    let total = variants().filter_map(|id| total(cx, load, id));
    // The share of good requests stands beside the objectives.
    let metrics = DescribedMetric::ALL
        .into_iter()
        .filter(|m| *m != DescribedMetric::GoodputRatio);
    let others = metrics.flat_map(|metric| {
        let of = move |id: &VariantId| row(cx, load, id, metric);
        variants().filter_map(of).collect::<Vec<_>>()
    });
    Table {
        id: cx.id(load, "described-t"),
        title: "Everything else that was measured".to_owned(),
        note: "no verdict is built on it; each figure is the mean over blocks of one statistic of each block, lowest to highest \
               block below it; nothing certifies these percentiles"
            .to_owned(),
        columns: vec![
            // First what is short: it stays in sight while a narrow window scrolls the rest.
            Column::text("Variant"),
            Column::text("Metric"),
            Column::text("Unit"),
            Column::number("Mean", "").hint("of the block's requests or chunks; the value itself where a block has one"),
            Column::number("p50", ""),
            Column::number("p95", ""),
            Column::number("p99", ""),
            Column::number("n", "blocks"),
        ],
        rows: total.chain(others).collect(),
    }
}

/// Compared elsewhere, and shown in absolute numbers here.
fn total(cx: &Context<'_>, load: &NamedLoad, variant: &VariantId) -> Option<Row> {
    let metric = MetricName::TotalThroughput;
    let value = cx.over_blocks(&load.id, variant, metric)?;
    let mut cells = head(label::metric(metric), label::formula(metric), variant, metric.unit());
    cells.push(range_cell(Some(value)));
    cells.extend((1..STATISTICS.len()).map(|_| Cell::absent(ONE_VALUE)));
    cells.push(Cell::count(value.n));
    Some(Row {
        cells,
        ..Row::default()
    })
}

const ONE_VALUE: &str = "a block has one value of it";

fn head(metric: &str, formula: &str, variant: &VariantId, unit: &str) -> Vec<Cell> {
    vec![
        Cell::name(variant.to_string()),
        Cell::text(metric).title(formula),
        Cell::text(unit),
    ]
}

fn row(cx: &Context<'_>, load: &NamedLoad, variant: &VariantId, metric: DescribedMetric) -> Option<Row> {
    let own = || cx.cell(&load.id, variant).into_iter().flat_map(|c| &c.described);
    let of = |statistic: DescribedStatistic| -> Option<&Described> {
        own().find(|d| d.metric == metric && d.statistic == statistic)
    };
    let single = of(DescribedStatistic::Value);
    let first = single.or_else(|| of(DescribedStatistic::Mean))?;
    let unit = if in_ms(metric) { "ms" } else { metric.unit() };
    let mut cells = head(
        label::described(metric),
        label::described_formula(metric),
        variant,
        unit,
    );
    cells.push(cell(metric, first.over_blocks));
    cells.extend(STATISTICS.into_iter().skip(1).map(|statistic| match of(statistic) {
        Some(d) => cell(metric, d.over_blocks),
        None => Cell::absent(ONE_VALUE),
    }));
    cells.push(Cell::count(first.over_blocks.n));
    Some(Row {
        cells,
        ..Row::default()
    })
}

/// Times are printed in milliseconds, as everywhere on the page.
fn in_ms(metric: DescribedMetric) -> bool {
    metric.unit() == "s"
}

fn cell(metric: DescribedMetric, value: OverBlocks) -> Cell {
    if !in_ms(metric) {
        return range_cell(Some(value));
    }
    let range = if value.n > 1 {
        format!("{} to {}", ms(value.low), ms(value.high))
    } else {
        String::new()
    };
    Cell::number(ms(value.mean), value.mean).below(range).title(format!(
        "mean of {}; lowest and highest block",
        number::count(value.n, "block")
    ))
}
