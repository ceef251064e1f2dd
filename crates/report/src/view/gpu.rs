//! What each variant took of the GPUs: energy, memory, heat, throttling. Only where GPUs were read.

use super::{Context, values::range_cell};
use crate::{
    number,
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::{
    ThrottleReason,
    findings::{CellFindings, GpuFindings, OverBlocks},
};
use std::collections::BTreeMap;

/// Variant × what its GPUs did; none where no trial that counts has a GPU sample.
pub(crate) fn table(cx: &Context<'_>) -> Option<Table> {
    let cells = &cx.run.findings.cells;
    let any = cells.iter().any(|cell| cell.gpu.is_some());
    any.then(|| Table {
        id: format!("{}-gpu", cx.anchor),
        title: "GPU".to_owned(),
        note: format!(
            "trials that count; energy of the whole board over the held window, {}; a throttled time lasts from the first sample \
             that says so to the first that does not, idleness and clocks set by hand apart{}",
            idle(cx),
            silent(cx)
        ),
        columns: vec![
            Column::text("Variant"),
            Column::text("Load"),
            Column::number("Trials", "with GPU samples"),
            Column::number("Energy", "J/output token").hint(
                "energy of all GPUs in the held window (their counter, else trapezoids of the sampled power) / output tokens \
                 that arrived in it; mean over blocks, lowest and highest below",
            ),
            Column::number("Power", "W").hint("energy of all GPUs in the held window / its length; mean over blocks"),
            Column::number("Utilisation", "% of the time").hint("share of the time in which a kernel ran, as the driver tells it"),
            Column::number("Memory peak", "GiB").hint("highest over the trials and GPUs; below, the least that stayed free"),
            Column::number("Temperature", "°C, highest").hint("over the trials and GPUs"),
            Column::number("Throttled", "% of the held window")
                .hint("the worst GPU of each trial; mean over blocks, with the reasons that were given"),
            Column::number("Throttled", "requests").hint("measured requests in flight while a GPU was throttled"),
        ],
        rows: cells.iter().filter_map(|cell| Some(row(cell, cell.gpu.as_ref()?))).collect(),
    })
}

/// What was said of GPUs that stopped answering, with the number of trials; empty where they always did.
fn silent(cx: &Context<'_>) -> String {
    let mut said: BTreeMap<&str, u32> = BTreeMap::new();
    for note in cx.run.findings.trials.iter().filter_map(|t| t.gpu_note.as_deref()) {
        *said.entry(note).or_default() += 1;
    }
    let each = said.into_iter().map(|(note, n)| {
        format!(
            "; in {} the GPUs were no longer read: {note}",
            number::count(n, "trial")
        )
    });
    each.collect()
}

/// The idle baseline in words.
fn idle(cx: &Context<'_>) -> String {
    let gpus = &cx.run.environment.gpus;
    let idle: Option<u64> = gpus.iter().map(|g| g.power_at_start_milliwatts).sum();
    let memory: Option<u64> = gpus.iter().map(|g| g.memory_used_at_start_bytes.map(|b| b.0)).sum();
    let known = |value: Option<u64>| value.filter(|_| !gpus.is_empty());
    // Milliwatts and milliseconds have the same thousand.
    let watts = known(idle).map(|mw| number::significant(std::time::Duration::from_millis(mw).as_secs_f64(), 3));
    let memory = known(memory).map(|bytes| number::significant(gib(bytes), 3));
    let before: Vec<String> = [watts.map(|w| format!("{w} W")), memory.map(|m| format!("{m} GiB"))]
        .into_iter()
        .flatten()
        .collect();
    if before.is_empty() {
        "idle power included".to_owned()
    } else {
        format!("idle power included (before the first engine: {})", before.join(", "))
    }
}

#[expect(clippy::as_conversions, reason = "bytes of a GPU are far below 2^53")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn row(cell: &CellFindings, gpu: &GpuFindings) -> Row {
    let n = gpu.trials;
    let or_absent =
        |value: Option<OverBlocks>, why: &str| value.map_or_else(|| Cell::absent(why), |v| range_cell(Some(v)));
    let of_trials = format!("highest of {}", number::count(n, "trial"));
    let memory = gpu.memory_peak_bytes.map_or_else(
        || Cell::absent("the GPU does not tell"),
        |peak| {
            let free = gpu.memory_headroom_bytes;
            let below = free.map(|f| format!("{} free", number::significant(gib(f), 3)));
            Cell::number(number::significant(gib(peak), 3), gib(peak))
                .below(below.unwrap_or_default())
                .title(of_trials.clone())
        },
    );
    let heat = gpu.max_temperature_celsius.map_or_else(
        || Cell::absent("the GPU does not tell"),
        |celsius| Cell::count(celsius).title(of_trials.clone()),
    );
    Row {
        cells: vec![
            Cell::name(cell.variant.to_string()),
            Cell::text(cell.load.to_string()),
            Cell::count(n),
            or_absent(
                gpu.joules_per_output_token,
                "no power or energy was read over the held window",
            ),
            or_absent(gpu.watts, "no power or energy was read over the held window"),
            share_cell(gpu.utilisation_ratio),
            memory,
            heat,
            throttled(gpu),
            Cell::count(gpu.throttled_requests).below(format!("of {}", number::grouped(u64::from(gpu.requests)))),
        ],
        ..Row::default()
    }
}

fn throttled(gpu: &GpuFindings) -> Cell {
    let words: Vec<&str> = gpu
        .throttle_reasons
        .iter()
        .copied()
        .map(ThrottleReason::as_str)
        .collect();
    let tone = if words.is_empty() { Tone::Plain } else { Tone::Warn };
    share_cell(gpu.throttled_ratio).below(words.join(", ")).tone(tone)
}

/// A mean share over trials.
fn share_cell(share: Option<OverBlocks>) -> Cell {
    share.map_or_else(
        || Cell::absent("the GPU does not tell"),
        |share| {
            Cell::number(number::share(share.mean), share.mean).title(format!(
                "mean of {}; {} to {}",
                number::count(share.n, "trial"),
                number::share(share.low),
                number::share(share.high)
            ))
        },
    )
}
