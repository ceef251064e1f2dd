//! A strip for each trial: requests in flight, requests waiting, KV cache in use, failures, against engine time.

use super::Context;
use crate::{label, number, results::Take};
use serde::Serialize;
use servelab_schema::{Nanos, Ratio, Trace, Window};
use std::fmt::Write;

/// How to read a strip.
pub(crate) const NOTE: &str = "One strip a trial. The shaded part is the held window, in which throughput is taken: before and \
    after it unmeasured fillers keep the load. A strip whose frame is coloured belongs to a trial that does not count.";

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 60.0;
/// Columns that a strip is drawn in; a hundred strips must stay a small page.
const COLUMNS: u32 = 160;

/// The strips of one variant.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    title: String,
    note: String,
    open: bool,
    strips: Vec<Strip>,
}

/// One trial as SVG paths in a box of 400 × 60.
#[derive(Debug, Serialize)]
pub(crate) struct Strip {
    anchor: String,
    title: String,
    note: String,
    bad: bool,
    label: String,
    held: String,
    flying: String,
    waiting: String,
    kv: String,
    failed: String,
    scale: String,
    end: String,
}

/// Strips by variant, in the plan's order.
pub(crate) fn groups(cx: &Context<'_>) -> Vec<Group> {
    let plan = &cx.results.run.plan;
    let groups = plan.variants.iter().enumerate().map(|(i, v)| {
        let takes = cx.results.takes.iter().filter(|t| t.row.record.variant == v.id);
        let strips: Vec<Strip> = takes.map(|t| strip(cx, t)).collect();
        let good = strips.iter().filter(|s| !s.bad).count();
        Group {
            title: format!("{} {}", v.id, v.factor.as_deref().unwrap_or_default())
                .trim_end()
                .to_owned(),
            note: format!("{good} of {} trials valid", strips.len()),
            open: i == 0,
            strips,
        }
    });
    groups.filter(|g| !g.strips.is_empty()).collect()
}

fn strip(cx: &Context<'_>, take: &Take<'_>) -> Strip {
    let r = &take.row.record;
    let traces = &take.row.traces;
    let end = traces.iter().map(|t| t.finished_ns).max().unwrap_or_default();
    let axis = Axis { end };
    let flying = in_flight(traces, axis);
    let waiting: Vec<(f64, f64)> = samples(take, axis, |s| s.engine_waiting.map(f64::from));
    let most = flying.iter().chain(&waiting).map(|p| p.1).fold(0.0, f64::max);
    let kv = samples(take, axis, |s| s.kv_cache_used_ratio.map(Ratio::get));
    let failed: Vec<Nanos> = traces
        .iter()
        .filter(|t| t.completion().is_none())
        .map(|t| t.finished_ns)
        .collect();
    let (_, word, _) = label::validity(&r.validity);
    Strip {
        anchor: format!("{}-{}", cx.anchor, r.id),
        title: r.id.to_string(),
        note: format!("block {}, order {} · {word}", r.block, r.order),
        bad: !r.validity.is_valid(),
        label: format!(
            "Timeline of trial {}: {word}, at most {} requests in flight",
            r.id,
            number::fixed(most, 0)
        ),
        held: r.held.map(|held| held_path(held, axis)).unwrap_or_default(),
        flying: stairs(&flying, most),
        waiting: stairs(&waiting, most),
        kv: stairs(&kv, 1.0),
        failed: ticks(&failed, axis),
        scale: if traces.is_empty() {
            "the engine never started".to_owned()
        } else {
            format!("at most {} in flight", number::fixed(most, 0))
        },
        end: format!("{} s", number::significant(end.as_secs_f64(), 3)),
    }
}

/// Engine time to the width of a strip.
#[derive(Debug, Clone, Copy)]
struct Axis {
    end: Nanos,
}

impl Axis {
    fn x(self, at: Nanos) -> f64 {
        if self.end == Nanos::ZERO {
            0.0
        } else {
            WIDTH * at.as_secs_f64() / self.end.as_secs_f64()
        }
    }
}

/// The most requests that were in flight together in each column.
fn in_flight(traces: &[Trace], axis: Axis) -> Vec<(f64, f64)> {
    let mut events: Vec<(Nanos, bool)> = Vec::new();
    for trace in traces {
        if let Some(sent) = trace.sent_ns {
            events.push((sent, true));
            events.push((trace.finished_ns, false));
        }
    }
    // Where one ends and another begins at the same moment, the end comes first.
    events.sort_unstable();
    let mut events = events.into_iter().peekable();
    let mut now = 0.0_f64;
    let mut points = Vec::new();
    for column in 0..COLUMNS {
        let right = WIDTH * f64::from(column.saturating_add(1)) / f64::from(COLUMNS);
        let mut most = now;
        while let Some((_, begins)) = events.next_if(|(at, _)| axis.x(*at) <= right) {
            now = if begins { now + 1.0 } else { (now - 1.0).max(0.0) };
            most = most.max(now);
        }
        points.push((WIDTH * f64::from(column) / f64::from(COLUMNS), most));
    }
    points
}

fn samples(take: &Take<'_>, axis: Axis, of: fn(&servelab_schema::TelemetrySample) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in take.row.telemetry.iter().filter(|s| s.t_ns <= axis.end) {
        let Some(value) = of(sample) else { continue };
        let x = axis.x(sample.t_ns);
        // More samples than columns: the highest of a column stands for it.
        match points.last_mut() {
            Some(last) if x - last.0 < WIDTH / f64::from(COLUMNS) => last.1 = last.1.max(value),
            _ => points.push((x, value)),
        }
    }
    points
}

/// A path that keeps each value until the next; empty where there is none.
fn stairs(points: &[(f64, f64)], most: f64) -> String {
    let mut path = String::new();
    let mut height = f64::NAN;
    for (x, value) in points {
        let y = if most > 0.0 {
            HEIGHT - 2.0 - (HEIGHT - 4.0) * value / most
        } else {
            HEIGHT - 2.0
        };
        if path.is_empty() {
            let _ = write!(path, "M{x:.1} {y:.1}");
        } else if (y - height).abs() > 0.05 {
            let _ = write!(path, "H{x:.1}V{y:.1}");
        }
        height = y;
    }
    if !path.is_empty() {
        let _ = write!(path, "H{WIDTH:.0}");
    }
    path
}

fn held_path(held: Window, axis: Axis) -> String {
    let (left, right) = (axis.x(held.start_ns), axis.x(held.end_ns));
    format!("M{left:.1} 0H{right:.1}V{HEIGHT:.0}H{left:.1}Z")
}

fn ticks(at: &[Nanos], axis: Axis) -> String {
    let mut path = String::new();
    for moment in at {
        let _ = write!(path, "M{:.1} 46V60", axis.x(*moment));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_move_only_where_the_value_does() {
        assert_eq!(stairs(&[], 1.0), "");
        assert_eq!(
            stairs(&[(0.0, 1.0), (10.0, 1.0), (20.0, 0.0)], 1.0),
            "M0.0 2.0H20.0V58.0H400"
        );
        assert_eq!(stairs(&[(0.0, 0.0)], 0.0), "M0.0 58.0H400");
    }
}
