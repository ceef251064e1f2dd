//! What was measured, arm by arm: throughput, certified percentiles, objectives, distributions.

use super::{Context, Figure};
use crate::{
    ReportError, label, number,
    plot::{self, Curve},
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::findings::{
    CellFindings, Certification, DescribedMetric, Distribution, LatencyKind, OrInfinite, OverBlocks, PooledQuantile,
};
use servelab_schema::{MetricName, NamedLoad, PlannedVariant};

/// How to read the table of values.
pub(crate) const NOTE: &str = "Throughput: mean over blocks, lowest to highest block below it. Percentiles: all measured \
    requests of the trials that count, pooled; below each, its 95 % interval from resampling whole blocks. A percentile that n \
    requests do not certify (99 % confidence, early-stopping bound) is not printed. Hover over one for its certified bound and its \
    value with failed requests as +∞.";

/// Seconds as milliseconds.
pub(crate) fn ms(seconds: f64) -> String {
    number::significant(seconds * 1e3, 3)
}

pub(crate) fn range_cell(value: Option<OverBlocks>) -> Cell {
    value.map_or_else(
        || Cell::absent("no trial of this variant counts"),
        |v| {
            let range = if v.n > 1 {
                format!(
                    "{} to {}",
                    number::significant(v.low, 4),
                    number::significant(v.high, 4)
                )
            } else {
                String::new()
            };
            Cell::number(number::significant(v.mean, 4), v.mean)
                .below(range)
                .title(format!(
                    "mean of {}; lowest and highest block",
                    number::count(v.n, "block")
                ))
        },
    )
}

/// A pooled percentile in ms, or why there is none.
pub(crate) fn quantile_cell(q: Option<&PooledQuantile>) -> Cell {
    let Some(q) = q else {
        return Cell::absent("no completed request");
    };
    let n = q.success_only.n;
    match q.success_only.certified {
        Certification::NotCertifiable { needs } => Cell {
            text: "not certifiable".to_owned(),
            below: format!("n = {}, needs {needs}", number::grouped(u64::from(n))),
            title: format!("not certifiable (n = {n}, needs {needs})"),
            tone: Tone::None,
            numeric: true,
            ..Cell::default()
        },
        Certification::Certified {
            bound: OrInfinite::Infinite,
            rank_from_top,
        } => Cell {
            text: "+∞".to_owned(),
            below: "failures reach the tail".to_owned(),
            title: format!("value {rank_from_top} from the top is a failed request; they count as +∞"),
            tone: Tone::None,
            numeric: true,
            ..Cell::default()
        },
        Certification::Certified {
            bound: OrInfinite::Finite(bound),
            rank_from_top,
        } => {
            let interval = q
                .block_interval
                .map(|i| format!("{} to {}", ms(i.low), ms(i.high)))
                .unwrap_or_default();
            let failures = match q.with_failures {
                OrInfinite::Finite(value) => format!("{} ms", ms(value)),
                OrInfinite::Infinite => "+∞".to_owned(),
            };
            let title = format!(
                "n = {} requests; at most {} ms with 99 % confidence (value {rank_from_top} from the top); with failed \
                 requests as +∞: {failures}",
                number::grouped(u64::from(n)),
                ms(bound)
            );
            Cell::number(ms(q.success_only.point), q.success_only.point)
                .below(interval)
                .title(title)
        }
    }
}

fn latency(arm: Option<&CellFindings>, kind: LatencyKind) -> Option<&Distribution> {
    arm.and_then(|a| a.latencies.iter().find(|d| d.latency == kind))
}

/// Which percentiles of which latency are columns: the place of each in `findings`' order.
const PERCENTILES: [(LatencyKind, &[(usize, &str)]); 3] = [
    (LatencyKind::Ttft, &[(0, "p50"), (1, "p90"), (2, "p95"), (3, "p99")]),
    (LatencyKind::Tpot, &[(0, "p50"), (2, "p95"), (3, "p99")]),
    (LatencyKind::E2e, &[(0, "p50"), (2, "p95"), (3, "p99")]),
];

fn formula(kind: LatencyKind) -> &'static str {
    match kind {
        LatencyKind::Ttft => "first token chunk − sent",
        LatencyKind::Tpot => "(last − first token chunk) / (N − tokens in the first chunk)",
        LatencyKind::E2e => "last token chunk − sent",
    }
}

/// Variant × metric in absolute numbers.
pub(crate) fn values(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let mut columns = vec![
        Column::text("Variant"),
        Column::number("Trials", "that count"),
        Column::number("Completed", "requests"),
        Column::number("Failed", "requests"),
        Column::number("Output", "tokens/s").hint("tokens that arrived inside the held window / its length"),
        Column::number("Requests", "requests/s").hint("completed measured requests / held window"),
    ];
    for (kind, percentiles) in PERCENTILES {
        for (_, name) in percentiles {
            columns.push(Column::number(&format!("{} {name}", label::latency(kind)), "ms").hint(formula(kind)));
        }
    }
    let rows = cx.run.plan.variants.iter().map(|v| value_row(cx, load, v));
    Table {
        id: cx.id(load, "values-t"),
        title: "Absolute values".to_owned(),
        note: label::load(&load.load),
        columns,
        rows: rows.collect(),
    }
}

fn value_row(cx: &Context<'_>, load: &NamedLoad, v: &PlannedVariant) -> Row {
    let arm = cx.cell(&load.id, &v.id);
    let failed: u32 = arm.map(|a| a.failures.values().sum()).unwrap_or_default();
    let blocks = arm.map(|a| a.blocks).unwrap_or_default();
    let void = cx.void(&v.id);
    let name = Cell::name(v.id.to_string()).below(match void {
        Some(treatment) => format!("void: {treatment}"),
        None => v.factor.clone().unwrap_or_default(),
    });
    let left_out = arm.map(|a| a.left_out).unwrap_or_default();
    let mut trials = Cell::count(blocks);
    if left_out > 0 {
        trials = trials.below(format!("{left_out} left out"));
    }
    let mut cells = vec![
        name,
        trials,
        Cell::count(arm.map(|a| a.completed).unwrap_or_default()),
        Cell::count(failed).tone(if failed > 0 { Tone::Warn } else { Tone::Plain }),
        range_cell(cx.over_blocks(&load.id, &v.id, MetricName::OutputThroughput)),
        range_cell(cx.over_blocks(&load.id, &v.id, MetricName::RequestThroughput)),
    ];
    for (kind, percentiles) in PERCENTILES {
        let d = latency(arm, kind);
        cells.extend(
            percentiles
                .iter()
                .map(|(i, _)| quantile_cell(d.and_then(|d| d.quantiles.get(*i)))),
        );
    }
    Row {
        key: String::new(),
        dim: void.is_some(),
        cells,
    }
}

/// Goodput under the declared objectives; none where none is declared.
pub(crate) fn slo(cx: &Context<'_>, load: &NamedLoad) -> Option<Table> {
    let plan = &cx.run.plan;
    let objectives: Vec<String> = [
        ("TTFT", plan.slo.ttft_ns),
        ("TPOT", plan.slo.tpot_ns),
        ("E2E", plan.slo.e2e_ns),
    ]
    .into_iter()
    .filter_map(|(name, most)| Some(format!("{name} ≤ {} ms", number::significant(most?.as_millis_f64(), 4))))
    .collect();
    if objectives.is_empty() {
        return None;
    }
    let rows = plan.variants.iter().map(|v| {
        let cell = cx.cell(&load.id, &v.id);
        let good = cell.and_then(|c| c.described.iter().find(|d| d.metric == DescribedMetric::GoodputRatio));
        let share = good.map(|d| d.over_blocks).map_or_else(
            || Cell::absent("no objective, or no trial of this variant counts"),
            |s| {
                Cell::number(number::share(s.mean), s.mean).below(format!(
                    "{} to {}",
                    number::share(s.low),
                    number::share(s.high)
                ))
            },
        );
        let goodput = cx.over_blocks(&load.id, &v.id, MetricName::Goodput);
        Row {
            cells: vec![
                Cell::name(v.id.to_string()),
                range_cell(goodput),
                share,
                Cell::count(goodput.map(|g| g.n).unwrap_or_default()),
            ],
            ..Row::default()
        }
    });
    Some(Table {
        id: cx.id(load, "slo"),
        title: "Objectives of one request".to_owned(),
        note: objectives.join(" and "),
        columns: vec![
            Column::text("Variant"),
            Column::number("Goodput", "requests/s").hint("completed requests per second that meet every objective"),
            Column::number("Good", "% of measured requests").hint("failed requests are not good"),
            Column::number("n", "blocks"),
        ],
        rows: rows.collect(),
    })
}

/// TTFT and E2E as distributions.
pub(crate) fn ecdfs(cx: &Context<'_>, load: &NamedLoad) -> Result<Vec<Figure>, ReportError> {
    let plan = &cx.run.plan;
    let mut figures = Vec::new();
    for (kind, name) in [(LatencyKind::Ttft, "ecdf-ttft"), (LatencyKind::E2e, "ecdf-e2e")] {
        let curves: Vec<Curve> = plan
            .variants
            .iter()
            .filter_map(|v| {
                let points = latency(cx.cell(&load.id, &v.id), kind)?.ecdf.clone();
                (!points.is_empty()).then(|| Curve {
                    name: v.id.to_string(),
                    style: cx.style(v),
                    points,
                })
            })
            .collect();
        let title = format!(
            "{} of measured requests, {}",
            label::latency(kind),
            label::load(&load.load)
        );
        let unit = format!("{} in s (logarithmic): {}", label::latency(kind), formula(kind));
        let svg = plot::ecdf(cx.kind_word(), &title, &unit, &curves).map_err(cx.plot_error("a distribution"))?;
        figures.extend(svg.map(|svg| Figure {
            name: format!("{}-{}-{name}", cx.run.manifest.run_id, load.id),
            svg,
            caption: "Share of measured requests that were at most this slow; failed requests never are, so their curve ends \
                      below 100 %."
                .to_owned(),
        }));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::findings::{Interval, Quantile};

    fn quantile(certified: Certification, with_failures: OrInfinite) -> PooledQuantile {
        PooledQuantile {
            success_only: Quantile {
                p: 0.95,
                n: 1_300,
                point: 0.25,
                certified,
            },
            with_failures,
            block_interval: Some(Interval { low: 0.2, high: 0.3 }),
        }
    }

    fn bound(bound: OrInfinite) -> Certification {
        Certification::Certified {
            bound,
            rank_from_top: 44,
        }
    }

    #[test]
    fn a_certified_percentile_is_printed_with_all_that_stands_behind_it() {
        let finite = OrInfinite::Finite(0.31);
        let cell = quantile_cell(Some(&quantile(bound(finite), finite)));
        assert_eq!((cell.text.as_str(), cell.below.as_str()), ("250", "200 to 300"));
        assert_eq!(cell.sort.as_deref(), Some("0.25"));
        assert!(cell.title.contains("at most 310 ms") && cell.title.contains("value 44 from the top"));
        // Failures may reach the percentile itself and not yet its bound, never the other way round.
        let cell = quantile_cell(Some(&quantile(bound(finite), OrInfinite::Infinite)));
        assert!(cell.title.ends_with("+∞"), "{}", cell.title);
    }

    #[test]
    fn a_bound_among_the_failures_is_no_number() {
        let cell = quantile_cell(Some(&quantile(bound(OrInfinite::Infinite), OrInfinite::Finite(0.26))));
        assert_eq!((cell.text.as_str(), cell.sort.as_deref()), ("+∞", None));
        assert!(cell.title.contains("value 44 from the top is a failed request"));
        assert!(!cell.below.contains("200"), "{}", cell.below);
    }

    #[test]
    fn what_n_does_not_certify_says_what_it_needs() {
        let few = Certification::NotCertifiable { needs: 1_301 };
        let cell = quantile_cell(Some(&quantile(few, OrInfinite::Finite(0.26))));
        assert_eq!((cell.text.as_str(), cell.sort.as_deref()), ("not certifiable", None));
        assert!(cell.below.contains("needs 1301"), "{}", cell.below);
        assert_eq!(quantile_cell(None).text, "–");
    }
}
