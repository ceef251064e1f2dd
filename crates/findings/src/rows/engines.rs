//! What GPUs and engines told of a cell.

use super::{Row, Scope, cells::over, exact};
use servelab_schema::{
    ThrottleReason,
    findings::{BucketQuantile, CellFindings, EngineTimes, GpuFindings, KvUse, OverBlocks},
};

/// Every value that is known.
pub(super) fn rows(cell: &CellFindings, out: &mut Vec<Row>) {
    if let Some(gpu) = &cell.gpu {
        gpus(cell, gpu, out);
    }
    counts(cell, out);
    times(cell, out);
    let outside = &cell.outside;
    for (metric, value) in [
        ("ttft-mean-client", outside.client_s),
        ("ttft-mean-server", outside.engine_s),
        ("time-outside-engine", outside.outside_s),
    ] {
        let note = format!("{} requests that both sides counted", outside.requests);
        out.extend(mean(cell, metric, "s", value).map(|row| Row { note, ..row }));
    }
}

fn plain(cell: &CellFindings, metric: &'static str, statistic: &'static str, value: f64, unit: &'static str) -> Row {
    Row::new(Scope::Cell, (&cell.load, &cell.variant), metric, statistic, unit).value(value)
}

fn mean(cell: &CellFindings, metric: &'static str, unit: &'static str, value: Option<OverBlocks>) -> Option<Row> {
    over(plain(cell, metric, "mean", 0.0, unit), value)
}

fn gpus(cell: &CellFindings, gpu: &GpuFindings, out: &mut Vec<Row>) {
    for (metric, unit, value) in [
        ("gpu-energy-per-output-token", "J/token", gpu.joules_per_output_token),
        ("gpu-power", "W", gpu.watts),
        ("gpu-utilisation", "ratio", gpu.utilisation_ratio),
        ("gpu-throttled-time", "ratio", gpu.throttled_ratio),
    ] {
        out.extend(mean(cell, metric, unit, value));
    }
    let of_trials = |row: Row| row.n(gpu.trials, "trials");
    let peak = gpu.memory_peak_bytes;
    out.extend(peak.map(|b| of_trials(plain(cell, "gpu-memory-peak", "max", exact(b), "bytes"))));
    let free = gpu.memory_headroom_bytes;
    out.extend(free.map(|b| of_trials(plain(cell, "gpu-memory-headroom", "min", exact(b), "bytes"))));
    let heat = gpu.max_temperature_celsius;
    out.extend(heat.map(|c| of_trials(plain(cell, "gpu-temperature", "max", f64::from(c), "°C"))));
    if gpu.throttled_ratio.is_some() {
        let reasons: Vec<&str> = gpu
            .throttle_reasons
            .iter()
            .copied()
            .map(ThrottleReason::as_str)
            .collect();
        let met = f64::from(gpu.throttled_requests);
        out.push(Row {
            note: reasons.join(", "),
            ..plain(cell, "gpu-throttled-requests", "count", met, "requests").n(gpu.requests, "requests")
        });
    }
}

fn counts(cell: &CellFindings, out: &mut Vec<Row>) {
    let c = &cell.engine;
    if let Some(ratio) = c.prefix_hit_ratio {
        let row = plain(cell, "engine-prefix-hit", "share", ratio, "ratio");
        out.push(match c.prefix_queries {
            Some(tokens) => row.n(tokens, "prompt tokens"),
            None => row.n(c.trials, "trials"),
        });
    }
    let preemptions = c.preemptions;
    out.extend(
        preemptions.map(|n| plain(cell, "engine-preemptions", "count", exact(n), "sequences").n(c.trials, "trials")),
    );
    if let Some(s) = &c.speculation {
        let ratio = s.ratio;
        out.extend(
            ratio
                .map(|r| plain(cell, "engine-draft-acceptance", "share", r, "ratio").n(s.draft_tokens, "draft tokens")),
        );
        let drafts = s.drafts.unwrap_or_default();
        for (position, share) in (1_u32..).zip(&s.per_position) {
            let row = plain(cell, "", "share", *share, "ratio").n(drafts, "drafts");
            out.push(Row {
                metric: format!("engine-draft-acceptance-position-{position}").into(),
                ..row
            });
        }
    }
    if let Some(KvUse { n, p50, p95, max }) = c.kv_use {
        for (statistic, value) in [("p50", p50), ("p95", p95), ("max", max)] {
            out.push(plain(cell, "engine-kv-cache-use", statistic, value, "ratio").n(n, "samples"));
        }
    }
}

fn times(cell: &CellFindings, out: &mut Vec<Row>) {
    let c = &cell.engine;
    for (metric, times) in [
        ("engine-ttft", &c.ttft),
        ("engine-queue", &c.queue),
        ("engine-prefill", &c.prefill),
        ("engine-decode", &c.decode),
        ("engine-itl", &c.itl),
        ("engine-e2e", &c.e2e),
    ] {
        let Some(EngineTimes { n, mean_s, p50, p95 }) = times else {
            continue;
        };
        out.push(plain(cell, metric, "mean", *mean_s, "s").n(*n, "observations"));
        for (statistic, quantile) in [("p50", p50), ("p95", p95)] {
            let row = plain(cell, metric, statistic, 0.0, "s").n(*n, "observations");
            out.extend(quantile.as_ref().map(|q| bucket(row, q)));
        }
    }
}

fn bucket(row: Row, q: &BucketQuantile) -> Row {
    let row = Row {
        value: q.point_s,
        note: "from the engine's histogram".to_owned(),
        ..row
    };
    match q.high_s {
        Some(high) => row.interval(q.low_s, high, "ends of the histogram's bucket"),
        None => Row {
            note: format!("from the engine's histogram: above its last bound, {} s", q.low_s),
            ..row
        },
    }
}
