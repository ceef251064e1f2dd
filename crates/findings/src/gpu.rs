//! What a trial took of its GPUs: energy, memory, heat, and which requests met a throttled GPU.
//!
//! Energy is that of the whole board over the held window, its idle power included, because the rented machine draws it too.

use crate::{metrics::tokens_inside, num::count};
use servelab_schema::{GpuFacts, GpuSample, Nanos, RequestId, TelemetrySample, ThrottleReason, Trace, Window};
use std::collections::BTreeSet;

/// Smallest share of the window that samples must span before it has an energy.
const SPAN_RATIO: f64 = 0.9;

/// A time in which a GPU with work was slower than its settings allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttled {
    /// From the first sample that said so to the first that no longer did.
    pub window: Window,
    /// Every reason that was given in it.
    pub reasons: BTreeSet<ThrottleReason>,
}

/// One GPU in one trial. What was not observed is absent, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuUse {
    /// NVML's index.
    pub index: u32,
    /// Samples of the trial, in and around the window.
    pub samples: u32,
    /// Energy in the window: trapezoids of the sampled power, J. None where the samples span less than 90 % of it.
    pub trapezoid_joules: Option<f64>,
    /// Energy in the window by the GPU's own counter, J. None as above, or where the counter went back.
    pub counter_joules: Option<f64>,
    /// Most memory in use over the trial.
    pub peak_memory_bytes: Option<u64>,
    /// Memory that was never in use: total − peak.
    pub headroom_bytes: Option<u64>,
    /// Share of the time in which a kernel ran, mean of the samples in the window; none where the GPU never said.
    pub utilisation_ratio: Option<f64>,
    /// Highest temperature over the trial, °C.
    pub max_temperature_celsius: Option<u32>,
    /// Throttled times over the trial, in order, apart from each other.
    pub throttled: Vec<Throttled>,
    /// Share of the window that was throttled; none where the GPU never said.
    pub throttled_ratio: Option<f64>,
}

impl GpuUse {
    /// Energy in the window, J: the counter where the GPU has one, since it misses nothing between two samples.
    #[must_use]
    pub fn joules(&self) -> Option<f64> {
        self.counter_joules.or(self.trapezoid_joules)
    }
}

/// The GPUs of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialGpus {
    /// Each GPU, by index.
    pub gpus: Vec<GpuUse>,
    /// Length of the window, s of engine time.
    pub window_s: f64,
    /// Output tokens that arrived in the window, of all requests.
    pub output_tokens: u64,
    /// Measured requests that were in flight while a GPU was throttled, in the order of the traces.
    pub throttled_requests: Vec<RequestId>,
    /// Measured requests that were sent.
    pub requests: u32,
}

impl TrialGpus {
    /// Mean power of all GPUs in the window, W; none where one GPU's energy is unknown.
    #[must_use]
    pub fn mean_watts(&self) -> Option<f64> {
        let joules: Option<f64> = self.gpus.iter().map(GpuUse::joules).sum();
        joules.filter(|_| self.window_s > 0.0).map(|j| j / self.window_s)
    }

    /// Mean utilisation of the GPUs in the window; none where one of them did not say.
    #[must_use]
    pub fn utilisation_ratio(&self) -> Option<f64> {
        let each: Option<Vec<f64>> = self.gpus.iter().map(|g| g.utilisation_ratio).collect();
        mean(&each?)
    }

    /// Energy of all GPUs in the window per output token that arrived in it, J; none where one GPU's energy is unknown.
    #[must_use]
    pub fn joules_per_output_token(&self) -> Option<f64> {
        let joules: Option<f64> = self.gpus.iter().map(GpuUse::joules).sum();
        (self.output_tokens > 0).then_some(())?;
        Some(joules? / count(self.output_tokens))
    }
}

/// What a trial took of its GPUs; none where no sample has one. `facts` gives their memory; `held` is the held window.
#[must_use]
pub fn trial_gpus(
    facts: &[GpuFacts],
    held: Window,
    samples: &[TelemetrySample],
    traces: &[Trace],
) -> Option<TrialGpus> {
    let seen: BTreeSet<u32> = samples.iter().flat_map(|s| &s.gpus).map(|g| g.index).collect();
    if seen.is_empty() {
        return None;
    }
    let gpus: Vec<GpuUse> = seen
        .into_iter()
        .map(|index| one_gpu(index, facts.iter().find(|f| f.index == index), held, samples))
        .collect();
    let met = |t: &&Trace| {
        let meets = |w: Window| t.sent_ns.is_some_and(|sent| sent < w.end_ns) && t.finished_ns > w.start_ns;
        gpus.iter().flat_map(|g| &g.throttled).any(|x| meets(x.window))
    };
    let sent = || traces.iter().filter(|t| t.measured && t.sent_ns.is_some());
    let throttled_requests = sent().filter(met).map(|t| t.request_id.clone()).collect();
    Some(TrialGpus {
        throttled_requests,
        window_s: held.length().as_secs_f64(),
        requests: crate::num::len_u32(sent().count()),
        output_tokens: tokens_inside(held, traces).map_or(0, |(tokens, _)| tokens),
        gpus,
    })
}

fn one_gpu(index: u32, facts: Option<&GpuFacts>, held: Window, samples: &[TelemetrySample]) -> GpuUse {
    let of: Vec<(Nanos, &GpuSample)> = samples
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
        samples: crate::num::len_u32(of.len()),
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

fn mean(values: &[f64]) -> Option<f64> {
    let n = crate::num::len_u32(values.len());
    (n > 0).then(|| values.iter().sum::<f64>() / f64::from(n))
}

fn utilisation(of: &[(Nanos, &GpuSample)], held: Window) -> Option<f64> {
    let inside = of.iter().filter(|(t, _)| *t >= held.start_ns && *t <= held.end_ns);
    let said: Vec<f64> = inside
        .filter_map(|(_, g)| g.utilisation_ratio.map(|r| r.get()))
        .collect();
    mean(&said)
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
fn spells<'a>(of: &'a [(Nanos, &'a GpuSample)]) -> impl Iterator<Item = (Window, &'a [ThrottleReason])> {
    let times: Vec<Nanos> = of.iter().map(|(t, _)| *t).collect();
    let step = match times.as_slice() {
        [.., a, b] => b.saturating_sub(*a),
        _ => Nanos::ZERO,
    };
    of.iter().enumerate().filter_map(move |(i, (start_ns, gpu))| {
        let next = times.get(i.saturating_add(1)).copied();
        let end_ns = next.unwrap_or_else(|| start_ns.saturating_add(step));
        let window = Window {
            start_ns: *start_ns,
            end_ns,
        };
        Some((window, gpu.throttle.as_deref()?))
    })
}

fn throttled(of: &[(Nanos, &GpuSample)]) -> Vec<Throttled> {
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
    end.saturating_sub(a.start_ns.max(b.start_ns)).as_secs_f64()
}

/// Throttled share of that part of the window of which the GPU said something.
fn share(of: &[(Nanos, &GpuSample)], throttled: &[Throttled], held: Window) -> Option<f64> {
    let known: f64 = spells(of).map(|(window, _)| common(window, held)).sum();
    let slow: f64 = throttled.iter().map(|t| common(t.window, held)).sum();
    (known > 0.0).then(|| slow / known)
}

#[cfg(test)]
mod tests;
