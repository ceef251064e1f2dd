//! What each variant took of the GPUs: energy, memory, heat, throttling. Only where GPUs were read.

use super::{Context, values::range_cell};
use crate::{
    number,
    results::OverBlocks,
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_analysis::{TrialGpus, trial_gpus};
use servelab_schema::{NamedLoad, PlannedVariant, ThrottleReason};
use std::collections::BTreeSet;

/// Variant × what its GPUs did; none where no trial that counts has a GPU sample.
pub(crate) fn table(cx: &Context<'_>) -> Option<Table> {
    let plan = &cx.results.run.plan;
    let mut rows = Vec::new();
    let mut any = false;
    for load in &plan.loads {
        for variant in &plan.variants {
            let trials = trials(cx, load, variant);
            any |= !trials.is_empty();
            rows.push(row(load, variant, &trials));
        }
    }
    any.then(|| Table {
        id: format!("{}-gpu", cx.anchor),
        title: "GPU".to_owned(),
        note: format!(
            "trials that count; energy of the whole board over the held window, {}; a throttled time lasts from the first sample \
             that says so to the first that does not, idleness and clocks set by hand apart",
            idle(cx)
        ),
        columns: vec![
            Column::text("Variant"),
            Column::text("Load"),
            Column::number("Trials", "with GPU samples"),
            Column::number("Energy", "J/output token").hint(
                "energy of all GPUs in the held window (their counter, else trapezoids of the sampled power) / output tokens \
                 that arrived in it; mean over blocks, lowest and highest below",
            ),
            Column::number("Memory peak", "GiB").hint("highest over the trials and GPUs; below, the least that stayed free"),
            Column::number("Temperature", "°C, highest").hint("over the trials and GPUs"),
            Column::number("Throttled", "% of the held window")
                .hint("the worst GPU of each trial; mean over blocks, with the reasons that were given"),
            Column::number("Throttled", "requests").hint("measured requests in flight while a GPU was throttled"),
        ],
        rows,
    })
}

/// The idle baseline in words.
fn idle(cx: &Context<'_>) -> String {
    let gpus = &cx.results.run.environment.gpus;
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

fn trials(cx: &Context<'_>, load: &NamedLoad, variant: &PlannedVariant) -> Vec<TrialGpus> {
    let facts = &cx.results.run.environment.gpus;
    let takes = cx.results.counted(&load.id, &variant.id);
    let found =
        takes.filter_map(|take| trial_gpus(facts, take.row.record.held?, &take.row.telemetry, &take.row.traces));
    found.collect()
}

#[expect(clippy::as_conversions, reason = "bytes of a GPU are far below 2^53")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn row(load: &NamedLoad, variant: &PlannedVariant, trials: &[TrialGpus]) -> Row {
    let n = u32::try_from(trials.len()).unwrap_or(u32::MAX);
    let gpus = || trials.iter().flat_map(|t| &t.gpus);
    let per_token = OverBlocks::of(trials.iter().filter_map(TrialGpus::joules_per_output_token));
    let energy = match per_token {
        Some(_) => range_cell(per_token),
        None => Cell::absent("no power or energy was read over the held window"),
    };
    let of_trials = format!("highest of {}", number::count(n, "trial"));
    let peak = gpus().filter_map(|g| g.peak_memory_bytes).max();
    let free = gpus().filter_map(|g| g.headroom_bytes).min();
    let memory = peak.map_or_else(
        || Cell::absent("the GPU does not tell"),
        |peak| {
            let below = free.map(|f| format!("{} free", number::significant(gib(f), 3)));
            Cell::number(number::significant(gib(peak), 3), gib(peak))
                .below(below.unwrap_or_default())
                .title(of_trials.clone())
        },
    );
    let heat = gpus().filter_map(|g| g.max_temperature_celsius).max();
    let heat = heat.map_or_else(
        || Cell::absent("the GPU does not tell"),
        |celsius| Cell::count(celsius).title(of_trials.clone()),
    );
    let requests: u32 = trials.iter().map(|t| t.requests).sum();
    let met: usize = trials.iter().map(|t| t.throttled_requests.len()).sum();
    let met = u32::try_from(met).unwrap_or(u32::MAX);
    Row {
        cells: vec![
            Cell::name(variant.id.to_string()),
            Cell::text(load.id.to_string()),
            Cell::count(n),
            energy,
            memory,
            heat,
            throttled(trials, n),
            Cell::count(met).below(format!("of {}", number::grouped(u64::from(requests)))),
        ],
        ..Row::default()
    }
}

fn throttled(trials: &[TrialGpus], n: u32) -> Cell {
    let worst = trials
        .iter()
        .filter_map(|t| t.gpus.iter().filter_map(|g| g.throttled_ratio).reduce(f64::max));
    let Some(share) = OverBlocks::of(worst) else {
        return Cell::absent("the GPU does not tell");
    };
    let times = trials.iter().flat_map(|t| &t.gpus).flat_map(|g| &g.throttled);
    let reasons: BTreeSet<ThrottleReason> = times.flat_map(|t| t.reasons.iter().copied()).collect();
    let words: Vec<&str> = reasons.into_iter().map(ThrottleReason::as_str).collect();
    let tone = if words.is_empty() { Tone::Plain } else { Tone::Warn };
    Cell::number(number::share(share.mean), share.mean)
        .below(words.join(", "))
        .title(format!(
            "mean of {}; {} to {}",
            number::count(n, "trial"),
            number::share(share.low),
            number::share(share.high)
        ))
        .tone(tone)
}
