//! A strip for each trial: requests in flight, requests waiting, KV cache in use, failures, against engine time.

use super::Context;
use crate::{label, number};
use serde::Serialize;
use servelab_schema::{
    TrialInstant, Window,
    findings::{Timeline, TrialFindings},
};
use std::fmt::Write;

/// How to read a strip.
pub(crate) const NOTE: &str = "One strip a trial. The shaded part is the held window, in which throughput is taken: before and \
    after it unmeasured fillers keep the load. A strip whose frame is coloured belongs to a trial that does not count.";

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 60.0;

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
    let plan = &cx.run.plan;
    let groups = plan.variants.iter().enumerate().map(|(i, v)| {
        let takes = cx.run.findings.trials.iter().zip(&cx.run.takes);
        let takes = takes.filter(|(t, _)| t.variant == v.id);
        let strips: Vec<Strip> = takes.map(|(t, take)| strip(cx, t, take.record.held)).collect();
        let good = strips.iter().filter(|s| !s.bad).count();
        Group {
            title: format!("{} {}", v.id, v.factor.as_deref().unwrap_or_default())
                .trim_end()
                .to_owned(),
            note: format!("{good} of {} takes valid", strips.len()),
            open: i == 0,
            strips,
        }
    });
    groups.filter(|g| !g.strips.is_empty()).collect()
}

fn strip(cx: &Context<'_>, t: &TrialFindings, held: Option<Window>) -> Strip {
    let line = &t.timeline;
    let axis = Axis { end: line.end_ns };
    let most = line
        .in_flight
        .iter()
        .chain(&line.waiting)
        .map(|p| p.1)
        .max()
        .unwrap_or(0);
    let (_, word, _) = label::validity(&t.validity);
    Strip {
        anchor: format!("{}-{}", cx.anchor, t.id),
        title: t.id.to_string(),
        note: format!("block {}, order {} · {word}", t.block, t.order),
        bad: !t.validity.is_valid(),
        label: format!("Timeline of trial {}: {word}, at most {most} requests in flight", t.id),
        held: held.map(|held| held_path(held, axis)).unwrap_or_default(),
        flying: stairs(&line.in_flight, most),
        waiting: stairs(&line.waiting, most),
        kv: stairs(&line.kv_used_permille, 1000),
        failed: ticks(&line.failed),
        scale: if line.in_flight.is_empty() {
            "no request was sent".to_owned()
        } else {
            format!("at most {most} in flight")
        },
        end: format!("{} s", number::significant(line.end_ns.as_secs_f64(), 3)),
    }
}

/// Engine time to the width of a strip.
#[derive(Debug, Clone, Copy)]
struct Axis {
    end: TrialInstant,
}

impl Axis {
    fn x(self, at: TrialInstant) -> f64 {
        if self.end == TrialInstant::START {
            0.0
        } else {
            WIDTH * at.as_secs_f64() / self.end.as_secs_f64()
        }
    }
}

/// Where a column begins.
fn left(column: u32) -> f64 {
    WIDTH * f64::from(column) / f64::from(Timeline::COLUMNS)
}

/// A path that keeps each value until the next; empty where there is none.
fn stairs(points: &[(u32, u32)], most: u32) -> String {
    let mut path = String::new();
    for (column, value) in points {
        let (x, share) = (left(*column), f64::from(*value) / f64::from(most.max(1)));
        let y = HEIGHT - 2.0 - (HEIGHT - 4.0) * share;
        if path.is_empty() {
            let _ = write!(path, "M{x:.1} {y:.1}");
        } else {
            let _ = write!(path, "H{x:.1}V{y:.1}");
        }
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

fn ticks(columns: &[u32]) -> String {
    let mut path = String::new();
    for column in columns {
        let _ = write!(path, "M{:.1} 46V60", left(*column));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_move_only_where_the_value_does() {
        assert_eq!(stairs(&[], 1), "");
        assert_eq!(stairs(&[(0, 1), (8, 0)], 1), "M0.0 2.0H20.0V58.0H400");
        assert_eq!(stairs(&[(0, 0)], 0), "M0.0 58.0H400");
        assert_eq!(ticks(&[4]), "M10.0 46V60");
    }
}
