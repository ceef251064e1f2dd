//! What the engine counted of itself, and what passed outside it.

use super::{Context, values::ms};
use crate::{
    number,
    table::{Cell, Column, Row, Table},
};
use servelab_schema::findings::{
    Acceptance, BucketQuantile, CellFindings, EngineTimes, KvUse, OutsideFindings, OverBlocks,
};

const SILENT: &str = "the engine does not tell";

/// Arms whose engine told something; none where no engine did.
fn told<'a>(cx: &'a Context<'_>) -> Option<&'a [CellFindings]> {
    let cells = cx.run.findings.cells.as_slice();
    cells.iter().any(|c| c.engine.trials > 0).then_some(cells)
}

fn name(cx: &Context<'_>, cell: &CellFindings) -> [Cell; 2] {
    let factor = cx.run.plan.variant(&cell.variant).and_then(|v| v.factor.clone());
    [
        Cell::name(cell.variant.to_string()).below(factor.unwrap_or_default()),
        Cell::text(cell.load.to_string()),
    ]
}

/// Caches, queues and times of each variant.
pub(crate) fn counts(cx: &Context<'_>) -> Option<Table> {
    let rows = told(cx)?.iter().map(|arm| {
        let c = &arm.engine;
        let mut cells = name(cx, arm).to_vec();
        cells.push(Cell::count(c.trials));
        cells.push(prefix_hits(arm));
        cells.push(c.preemptions.map_or_else(
            || Cell::absent(SILENT),
            |n| {
                Cell::count(u32::try_from(n).unwrap_or(u32::MAX))
                    .title(format!("in {}", number::count(c.trials, "trial")))
            },
        ));
        cells.push(kv_use(c.kv_use));
        let times = [&c.queue, &c.prefill, &c.decode, &c.itl, &c.e2e];
        cells.extend(times.map(|t| self::times(t.as_ref())));
        Row {
            cells,
            ..Row::default()
        }
    });
    let time = |label: &str, hint: &str| Column::number(label, "ms, mean").hint(hint);
    Some(Table {
        id: format!("{}-engine-counts", cx.anchor),
        title: "What the engine counted".to_owned(),
        note:
            "all requests of the trials that count, warm-up and fillers too; below a mean stand p50 and p95 from the \
               engine's histogram, which knows no more than the bucket (its ends and n: point at the number)"
                .to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Load"),
            Column::number("Trials", "with engine metrics"),
            Column::number("Prefix-cache hits", "% of prompt tokens"),
            Column::number("Preemptions", "sequences").hint("sequences that were put back to make room for others"),
            Column::number("KV cache in use", "%, p95")
                .hint("sampled over the held windows; below, median and highest"),
            time("Queue", "from the arrival at the engine to the first step"),
            time("Prefill", "from the first step to the first token"),
            time("Decode", "from the first to the last token"),
            time("Between tokens", "gap between two tokens of a request"),
            time("Whole request", "from the arrival at the engine to the last token"),
        ],
        rows: rows.collect(),
    })
}

fn prefix_hits(arm: &CellFindings) -> Cell {
    let c = &arm.engine;
    c.prefix_hit_ratio.map_or_else(
        || Cell::absent("nothing was looked up, or the engine does not tell"),
        |ratio| {
            let of = c.prefix_queries.map_or_else(
                || format!("mean of {}", number::count(c.trials, "trial")),
                |n| format!("of {} looked up", number::count(n, "token")),
            );
            Cell::number(number::share(ratio), ratio).title(of)
        },
    )
}

fn kv_use(used: Option<KvUse>) -> Cell {
    used.map_or_else(
        || Cell::absent("no sample tells"),
        |k| {
            Cell::number(number::share(k.p95), k.p95)
                .below(format!(
                    "{}, {}",
                    number::fixed(k.p50 * 100.0, 1),
                    number::fixed(k.max * 100.0, 1)
                ))
                .title(number::count(k.n, "sample"))
        },
    )
}

fn times(t: Option<&EngineTimes>) -> Cell {
    let Some(t) = t else { return Cell::absent(SILENT) };
    let below = match (t.p50, t.p95) {
        (Some(p50), Some(p95)) => format!("{}, {}", point(&p50), point(&p95)),
        _ => String::new(),
    };
    let ends = |name: &str, q: Option<BucketQuantile>| {
        let q = q?;
        Some(match q.high_s {
            Some(high) => format!("; {name} between {} and {} ms", ms(q.low_s), ms(high)),
            None => format!("; {name} above {} ms, the last bound of the histogram", ms(q.low_s)),
        })
    };
    Cell::number(ms(t.mean_s), t.mean_s).below(below).title(format!(
        "n = {}{}{}",
        number::grouped(t.n),
        ends("p50", t.p50).unwrap_or_default(),
        ends("p95", t.p95).unwrap_or_default()
    ))
}

fn point(q: &BucketQuantile) -> String {
    q.point_s.map_or_else(|| format!(">\u{a0}{}", ms(q.low_s)), ms)
}

/// Drafts and how many were right; none where no engine drafted.
pub(crate) fn speculation(cx: &Context<'_>) -> Option<Table> {
    let drafted: Vec<(&CellFindings, &Acceptance)> = told(cx)?
        .iter()
        .filter_map(|arm| Some((arm, arm.engine.speculation.as_ref()?)))
        .collect();
    let positions = drafted.iter().map(|(_, a)| a.per_position.len()).max()?;
    let mut columns = vec![
        Column::text("Variant"),
        Column::text("Load"),
        Column::number("Drafts", ""),
        Column::number("Drafted", "tokens"),
        Column::number("Accepted", "% of drafted tokens"),
    ];
    let numbers = || (1_u32..).take(positions);
    columns.extend(numbers().map(|i| {
        Column::number(&format!("Position {i}"), "% of drafts").hint("drafts whose token at this position was accepted")
    }));
    let rows = drafted.into_iter().map(|(arm, a)| {
        let mut cells = name(cx, arm).to_vec();
        let whole = |n: u64| Cell::count(u32::try_from(n).unwrap_or(u32::MAX));
        cells.push(a.drafts.map_or_else(|| Cell::absent(SILENT), whole));
        cells.push(whole(a.draft_tokens));
        let share = |ratio: f64| Cell::number(number::share(ratio), ratio);
        cells.push(a.ratio.map_or_else(|| Cell::absent("nothing was drafted"), share));
        let at = |i: usize| a.per_position.get(i).copied();
        cells.extend((0..positions).map(|i| at(i).map_or_else(|| Cell::absent(SILENT), share)));
        Row {
            cells,
            ..Row::default()
        }
    });
    Some(Table {
        id: format!("{}-speculation", cx.anchor),
        title: "Speculative decoding".to_owned(),
        note:
            "tokens that were guessed ahead and how many of the guesses the model confirmed, over the trials that count"
                .to_owned(),
        columns,
        rows: rows.collect(),
    })
}

/// Client against server.
pub(crate) fn outside(cx: &Context<'_>) -> Option<Table> {
    let rows = told(cx)?.iter().map(|arm| {
        let o = &arm.outside;
        let cell = |value: Option<OverBlocks>| {
            value.map_or_else(
                || Cell::absent("no trial in which both saw the same requests"),
                |v| {
                    Cell::number(ms(v.mean), v.mean)
                        .below(format!("{} to {}", ms(v.low), ms(v.high)))
                        .title(format!("mean of {}; lowest and highest", number::count(v.n, "trial")))
                },
            )
        };
        let mut cells = name(cx, arm).to_vec();
        cells.extend([
            Cell::count(o.requests).below(number::count(o.trials, "trial")),
            cell(o.client_s),
            cell(o.engine_s),
            cell(o.outside_s),
            Cell::long(why_not(o)),
        ]);
        Row {
            cells,
            ..Row::default()
        }
    });
    Some(Table {
        id: format!("{}-outside", cx.anchor),
        title: "Client against engine".to_owned(),
        note: "mean time to first token of the same requests, once as the client saw it and once as the engine counted it from \
               the request's arrival; the difference passed on the network, in the client or in the HTTP server; only trials in \
               which both counted equally many"
            .to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Load"),
            Column::number("Requests", "seen by both"),
            Column::number("TTFT, client", "ms, mean"),
            Column::number("TTFT, engine", "ms, mean"),
            Column::number("Outside the engine", "ms, mean").hint("client − engine"),
            Column::text("Trials without it"),
        ],
        rows: rows.collect(),
    })
}

/// Why trials have no such comparison, in words; empty where all have one.
fn why_not(outside: &OutsideFindings) -> String {
    let said = outside.why_not.iter().map(|(why, n)| match n {
        1 => why.to_string(),
        n => format!("{why} ({n} trials)"),
    });
    said.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_beyond_the_last_bound_says_so() {
        let far = BucketQuantile {
            point_s: None,
            low_s: 2.0,
            high_s: None,
        };
        let t = EngineTimes {
            n: 3,
            mean_s: 5.0,
            p50: Some(far),
            p95: Some(far),
        };
        let cell = times(Some(&t));
        assert!(
            cell.below.starts_with('>') && cell.title.contains("above 2000 ms"),
            "{cell:?}"
        );
    }
}
