//! What GPUs and engines told of each variant, as values with unit, n and interval.

use super::MetricDoc;
use crate::{arms::Arm, results::OverBlocks};
use servelab_findings::{BucketQuantile, EngineTimes, KvUse};

/// Every value of the arm that is known.
pub(super) fn metrics(arm: &Arm<'_>, out: &mut Vec<MetricDoc>) {
    gpus(arm, out);
    counts(arm, out);
    times(arm, out);
    let outside = &arm.outside;
    for (metric, value) in [
        ("ttft-mean-client", outside.client_s()),
        ("ttft-mean-server", outside.server_s()),
        ("time-outside-engine", outside.outside_s()),
    ] {
        let note = format!("{} that both sides counted", outside.requests());
        out.extend(over(arm, metric, "s", value).map(|doc| MetricDoc { note, ..doc }));
    }
}

/// A value of all the arm's trials.
fn plain(arm: &Arm<'_>, metric: &str, statistic: &'static str, value: f64, unit: &'static str) -> MetricDoc {
    MetricDoc::new(
        arm.load.id.as_str(),
        arm.variant.id.as_str(),
        metric.to_owned(),
        statistic,
        unit,
    )
    .value(value)
}

/// A mean over blocks.
fn over(arm: &Arm<'_>, metric: &str, unit: &'static str, value: Option<OverBlocks>) -> Option<MetricDoc> {
    let value = value?;
    let doc = plain(arm, metric, "mean", value.mean, unit).n(value.n, "blocks");
    Some(doc.interval(value.low, value.high, "lowest and highest block"))
}

#[expect(clippy::as_conversions, reason = "counts and bytes here are far below 2^53")]
const fn count(n: u64) -> f64 {
    n as f64
}

fn at_most_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn gpus(arm: &Arm<'_>, out: &mut Vec<MetricDoc>) {
    let n = arm.gpu_trials();
    if n == 0 {
        return;
    }
    out.extend(over(
        arm,
        "gpu-energy-per-output-token",
        "J/token",
        arm.joules_per_output_token(),
    ));
    out.extend(over(arm, "gpu-power", "W", arm.watts()));
    out.extend(over(arm, "gpu-utilisation", "ratio", arm.utilisation_ratio()));
    out.extend(over(arm, "gpu-throttled-time", "ratio", arm.throttled_ratio()));
    let of_trials = |doc: MetricDoc| doc.n(n, "trials");
    let peak = arm.memory_peak_bytes();
    out.extend(peak.map(|b| of_trials(plain(arm, "gpu-memory-peak", "max", count(b), "bytes"))));
    let free = arm.memory_headroom_bytes();
    out.extend(free.map(|b| of_trials(plain(arm, "gpu-memory-headroom", "min", count(b), "bytes"))));
    let heat = arm.celsius();
    out.extend(heat.map(|c| of_trials(plain(arm, "gpu-temperature", "max", f64::from(c), "°C"))));
    if arm.throttled_ratio().is_some() {
        let (met, all) = arm.throttled_requests();
        let reasons = arm.throttle_reasons();
        let reasons: Vec<&str> = reasons
            .into_iter()
            .map(servelab_schema::ThrottleReason::as_str)
            .collect();
        out.push(MetricDoc {
            note: reasons.join(", "),
            ..plain(arm, "gpu-throttled-requests", "count", f64::from(met), "requests").n(all, "requests")
        });
    }
}

fn counts(arm: &Arm<'_>, out: &mut Vec<MetricDoc>) {
    let c = &arm.counts;
    if let Some(ratio) = c.prefix_hit_ratio {
        let doc = plain(arm, "engine-prefix-hit", "share", ratio, "ratio");
        out.push(match c.prefix_queries {
            Some(tokens) => doc.n(at_most_u32(tokens), "prompt tokens"),
            None => doc.n(c.trials, "trials"),
        });
    }
    let preemptions = c.preemptions;
    out.extend(
        preemptions.map(|n| plain(arm, "engine-preemptions", "count", count(n), "sequences").n(c.trials, "trials")),
    );
    if let Some(s) = &c.speculation {
        let n = at_most_u32(s.draft_tokens);
        let ratio = s.ratio;
        out.extend(ratio.map(|r| plain(arm, "engine-draft-acceptance", "share", r, "ratio").n(n, "draft tokens")));
        let drafts = at_most_u32(s.drafts.unwrap_or_default());
        for (position, share) in (1_u32..).zip(&s.per_position) {
            let metric = format!("engine-draft-acceptance-position-{position}");
            out.push(plain(arm, &metric, "share", *share, "ratio").n(drafts, "drafts"));
        }
    }
    if let Some(KvUse { n, p50, p95, max }) = c.kv_use {
        for (statistic, value) in [("p50", p50), ("p95", p95), ("max", max)] {
            out.push(plain(arm, "engine-kv-cache-use", statistic, value, "ratio").n(n, "samples"));
        }
    }
}

fn times(arm: &Arm<'_>, out: &mut Vec<MetricDoc>) {
    let c = &arm.counts;
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
        let n = at_most_u32(*n);
        out.push(plain(arm, metric, "mean", *mean_s, "s").n(n, "observations"));
        for (statistic, quantile) in [("p50", p50), ("p95", p95)] {
            let doc = plain(arm, metric, statistic, 0.0, "s").n(n, "observations");
            out.extend(quantile.as_ref().map(|q| bucket(doc, q)));
        }
    }
}

fn bucket(doc: MetricDoc, q: &BucketQuantile) -> MetricDoc {
    let doc = MetricDoc {
        value: q.point_s,
        note: "from the engine's histogram".to_owned(),
        ..doc
    };
    match q.high_s {
        Some(high) => doc.interval(q.low_s, high, "ends of the histogram's bucket"),
        None => MetricDoc {
            note: format!("from the engine's histogram: above its last bound, {} s", q.low_s),
            ..doc
        },
    }
}
