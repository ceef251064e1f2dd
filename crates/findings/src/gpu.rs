//! What a trial took of its GPUs: energy, memory, heat, and which requests met a throttled GPU.
//!
//! Energy is that of the whole board over the held window, its idle power included, because the rented machine draws it too.

use crate::num::{count, len_u32};
use servelab_schema::{
    GpuFacts, GpuSample, Nanos, RequestId, TelemetrySample, ThrottleReason, Trace, TrialInstant, Window,
    findings::{GpuUse, OverBlocks, Throttled, TrialGpus},
};
use std::collections::BTreeSet;

/// Smallest share of the window that samples must span before it has an energy.
const SPAN_RATIO: f64 = 0.9;

/// The GPUs of a trial while its traces go by.
#[derive(Debug)]
pub(crate) struct Gpus {
    gpus: Vec<GpuUse>,
    window_s: f64,
    requests: u32,
    throttled_requests: Vec<RequestId>,
}

impl Gpus {
    /// From the trial's samples; none where no sample has a GPU. `facts` gives their memory; `held` is the held window.
    pub(crate) fn of(facts: &[GpuFacts], held: Window, samples: &[TelemetrySample]) -> Option<Self> {
        let seen: BTreeSet<u32> = samples.iter().flat_map(|s| &s.gpus).map(|g| g.index).collect();
        (!seen.is_empty()).then(|| Self {
            gpus: seen
                .into_iter()
                .map(|index| one_gpu(index, facts.iter().find(|f| f.index == index), held, samples))
                .collect(),
            window_s: held.length().as_secs_f64(),
            requests: 0,
            throttled_requests: Vec::new(),
        })
    }

    /// One attempt of the trial.
    pub(crate) fn add(&mut self, trace: &Trace) {
        let Some(sent) = trace.sent_ns.filter(|_| trace.measured) else {
            return;
        };
        self.requests += 1;
        let meets = |w: Window| sent < w.end_ns && trace.finished_ns > w.start_ns;
        if self.gpus.iter().flat_map(|g| &g.throttled).any(|t| meets(t.window)) {
            self.throttled_requests.push(trace.request_id.clone());
        }
    }

    /// `output_tokens` arrived in the window; none where they were not counted.
    pub(crate) fn finish(self, output_tokens: Option<u64>) -> TrialGpus {
        TrialGpus {
            gpus: self.gpus,
            window_s: self.window_s,
            output_tokens,
            throttled_requests: self.throttled_requests,
            requests: self.requests,
        }
    }
}

fn one_gpu(index: u32, facts: Option<&GpuFacts>, held: Window, samples: &[TelemetrySample]) -> GpuUse {
    let of: Vec<(TrialInstant, &GpuSample)> = samples
        .iter()
        .filter_map(|s| Some((s.t_ns, s.gpus.iter().find(|g| g.index == index)?)))
        .collect();
    let series = |value: fn(&GpuSample) -> Option<u64>| -> Vec<(f64, f64)> {
        let known = of
            .iter()
            .filter_map(|(t, g)| Some((t.as_secs_f64(), count(value(g)?) / 1e3)));
        known.collect()
    };
    let peak = of.iter().filter_map(|(_, g)| g.memory_used_bytes).map(|b| b.0).max();
    let total = facts.and_then(|f| f.memory_total_bytes);
    let throttled = throttled(&of);
    GpuUse {
        index,
        samples: len_u32(of.len()),
        trapezoid_joules: trapezoid(&series(|g| g.power_milliwatts), held),
        counter_joules: counter(&series(|g| g.energy_millijoules), held),
        peak_memory_bytes: peak,
        headroom_bytes: total.zip(peak).and_then(|(total, peak)| total.0.checked_sub(peak)),
        utilisation_ratio: utilisation(&of, held),
        max_temperature_celsius: of.iter().filter_map(|(_, g)| g.temperature_celsius).max(),
        throttled_ratio: share(&of, &throttled, held),
        throttled,
    }
}

fn utilisation(of: &[(TrialInstant, &GpuSample)], held: Window) -> Option<f64> {
    let inside = of.iter().filter(|(t, _)| *t >= held.start_ns && *t <= held.end_ns);
    OverBlocks::of(inside.filter_map(|(_, g)| g.utilisation_ratio.map(|r| r.get()))).map(|said| said.mean)
}

/// Where the samples begin and end inside the window, s; none where that is too little of it.
fn span(series: &[(f64, f64)], held: Window) -> Option<(f64, f64)> {
    let (start, end) = (held.start_ns.as_secs_f64(), held.end_ns.as_secs_f64());
    let from = series.first()?.0.max(start);
    let to = series.last()?.0.min(end);
    (end > start && to - from >= SPAN_RATIO * (end - start)).then_some((from, to))
}

/// The value between two samples, on the straight line; 0 ≤ t within the series.
fn at(series: &[(f64, f64)], t: f64) -> Option<f64> {
    let after = series.iter().position(|(x, _)| *x >= t)?;
    let (x1, y1) = *series.get(after)?;
    let Some((x0, y0)) = after.checked_sub(1).and_then(|i| series.get(i)).copied() else {
        return Some(y1);
    };
    Some(if x1 > x0 {
        y0 + (y1 - y0) * (t - x0) / (x1 - x0)
    } else {
        y1
    })
}

/// The part that samples do not span is taken to be like the rest.
fn whole(part: f64, (from, to): (f64, f64), held: Window) -> f64 {
    part * held.length().as_secs_f64() / (to - from)
}

/// Watts over seconds, J.
fn trapezoid(series: &[(f64, f64)], held: Window) -> Option<f64> {
    let (from, to) = span(series, held)?;
    let inside = series.iter().copied().filter(|(t, _)| *t > from && *t < to);
    let points: Vec<(f64, f64)> = std::iter::once((from, at(series, from)?))
        .chain(inside)
        .chain(std::iter::once((to, at(series, to)?)))
        .collect();
    let area = points
        .windows(2)
        .filter_map(|pair| match pair {
            [(t0, w0), (t1, w1)] => Some((t1 - t0) * (w0 + w1) / 2.0),
            _ => None,
        })
        .sum();
    Some(whole(area, (from, to), held))
}

/// Rise of a counter in J.
fn counter(series: &[(f64, f64)], held: Window) -> Option<f64> {
    let (from, to) = span(series, held)?;
    let falls = series.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if b < a));
    if falls {
        return None;
    }
    Some(whole(at(series, to)? - at(series, from)?, (from, to), held))
}

/// What a sample says holds until the next one; the last one's word holds for as long as the one before it.
fn spells<'a>(of: &'a [(TrialInstant, &'a GpuSample)]) -> impl Iterator<Item = (Window, &'a [ThrottleReason])> {
    let times: Vec<TrialInstant> = of.iter().map(|(t, _)| *t).collect();
    let step = match times.as_slice() {
        [.., a, b] => b.since(*a),
        _ => Nanos::ZERO,
    };
    of.iter().enumerate().filter_map(move |(i, (start_ns, gpu))| {
        let next = times.get(i + 1).copied();
        let end_ns = next.unwrap_or_else(|| start_ns.after(step));
        let window = Window {
            start_ns: *start_ns,
            end_ns,
        };
        Some((window, gpu.throttle.as_deref()?))
    })
}

fn throttled(of: &[(TrialInstant, &GpuSample)]) -> Vec<Throttled> {
    let mut merged: Vec<Throttled> = Vec::new();
    for (window, said) in spells(of) {
        let reasons: BTreeSet<ThrottleReason> = said.iter().copied().filter(|r| r.is_throttling()).collect();
        if reasons.is_empty() {
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.window.end_ns == window.start_ns => {
                last.window.end_ns = window.end_ns;
                last.reasons.extend(reasons);
            }
            _ => merged.push(Throttled { window, reasons }),
        }
    }
    merged
}

/// Length of what two windows have in common, s.
fn common(a: Window, b: Window) -> f64 {
    let end = a.end_ns.min(b.end_ns);
    end.since(a.start_ns.max(b.start_ns)).as_secs_f64()
}

/// Throttled share of that part of the window of which the GPU said something.
fn share(of: &[(TrialInstant, &GpuSample)], throttled: &[Throttled], held: Window) -> Option<f64> {
    let known: f64 = spells(of).map(|(window, _)| common(window, held)).sum();
    let slow: f64 = throttled.iter().map(|t| common(t.window, held)).sum();
    (known > 0.0).then(|| slow / known)
}

#[cfg(test)]
mod tests;
