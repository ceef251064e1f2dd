//! When requests of an open loop arrive: offsets generated ahead of the load from a seed, never drawn while it runs.
//!
//! The mean rate is the same for every process. What differs is how uneven the gaps are: constant gaps have a coefficient of
//! variation of 0, gamma gaps of `1/√shape`, Poisson arrivals (exponential gaps, gamma with shape 1) of 1; bursts of `n`
//! leave together, `n` mean gaps apart. Constant arrivals are bursts of one: the first leaves at once.
//!
//! Measured arrivals [fill](Schedule::fill) their horizon: n of them in n mean gaps, so that the rate that was asked for is the
//! rate that arrives, whatever the seed. n + 1 gaps are drawn and scaled so that they end with the horizon. For exponential
//! gaps that is the Poisson process given its count, n sorted uniform moments (Ross, Stochastic Processes, theorem 2.3.1). Gamma gaps
//! divided by their sum are Dirichlet-distributed and independent of it (Lukacs 1955), so these are the gaps of the renewal process
//! whose arrival n + 1 comes exactly at the end. Without that, 120 Poisson arrivals miss their rate by 9 % (one σ).

use servelab_random::{ChaChaStream, UnitGamma};
use servelab_schema::{Arrivals, Nanos, Rate};

/// A schedule of arrivals as offsets from its start, in engine time; never decreasing. Endless, or [filled](Self::fill).
#[derive(Debug)]
pub struct Schedule {
    process: Process,
    stream: ChaChaStream,
    mean_gap_ns: f64,
    /// Over this the rate rises linearly from 0.
    ramp_ns: f64,
    /// Exact sum of the gaps so far; kept as a float so that rounding does not add up.
    at_ns: f64,
    index: u64,
}

#[derive(Debug)]
enum Process {
    Poisson,
    Gamma(UnitGamma),
    Burst { size: u64 },
}

/// Arrivals that realise their rate over a horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The arrivals, each before the horizon's end.
    pub offsets: Vec<Nanos>,
    /// The time that they fill, from the schedule's start; a ramp is part of it.
    pub horizon: Nanos,
}

/// The schedule of the measured requests of an open loop under a seed, without a ramp.
#[must_use]
pub fn measured(arrivals: Arrivals, rate: Rate, seed: u64) -> Schedule {
    Schedule::new(arrivals, rate, seed, "measured")
}

impl Schedule {
    /// The schedule of `arrivals` at `rate` that `seed` and `name` determine.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: Rate, seed: u64, name: &str) -> Self {
        let process = match arrivals {
            Arrivals::Constant => Process::Burst { size: 1 },
            Arrivals::Poisson => Process::Poisson,
            // Shapes that cannot be drawn from are extremes beyond 1e±300, where the gaps are constant for all that a clock
            // can show.
            Arrivals::Gamma { shape } => UnitGamma::new(shape.get()).map_or(Process::Burst { size: 1 }, Process::Gamma),
            Arrivals::Burst { size } => Process::Burst {
                size: u64::from(size.get()),
            },
        };
        Self {
            process,
            stream: ChaChaStream::new(seed, name),
            mean_gap_ns: 1e9 / rate.get(),
            ramp_ns: 0.0,
            at_ns: 0.0,
            index: 0,
        }
    }

    /// The same arrivals with a rate that rises linearly from 0 to its full value over `ramp`. What is transformed is time,
    /// not the gaps: seen on the integral of the rate the arrivals are the same process, and a burst stays together.
    #[must_use]
    pub fn ramped(mut self, ramp: Nanos) -> Self {
        self.ramp_ns = ramp.as_secs_f64() * 1e9;
        self
    }

    /// The next gap, in mean gaps.
    fn gap(&mut self) -> f64 {
        let gap = match &self.process {
            Process::Poisson => self.stream.exponential(),
            Process::Gamma(gamma) => self.stream.gamma(gamma),
            Process::Burst { size } if self.index > 0 && self.index.is_multiple_of(*size) => to_f64(*size),
            Process::Burst { .. } => 0.0,
        };
        self.index += 1;
        gap
    }

    /// The next arrival of an endless schedule.
    pub fn next_offset(&mut self) -> Nanos {
        self.at_ns += self.gap() * self.mean_gap_ns;
        to_nanos(ramp_time(self.at_ns, self.ramp_ns))
    }

    /// The next `n` arrivals of an endless schedule: their rate differs from the one asked for by chance.
    pub fn take_offsets(&mut self, n: usize) -> Vec<Nanos> {
        std::iter::repeat_with(|| self.next_offset()).take(n).collect()
    }

    /// `n` arrivals in exactly the time in which the rate gives `n`.
    #[must_use]
    pub fn fill(self, n: usize) -> Filled {
        let area_ns = to_f64(u64::try_from(n).unwrap_or(u64::MAX)) * self.mean_gap_ns;
        let horizon = to_nanos(ramp_time(area_ns, self.ramp_ns));
        self.spread(n, area_ns, horizon)
    }

    /// Arrivals that the rate gives in `length`, to the nearest whole one.
    #[must_use]
    pub fn count_in(&self, length: Nanos) -> usize {
        nearest(self.area_ns(length) / self.mean_gap_ns)
    }

    /// [So many](Self::count_in) arrivals in `length`.
    #[must_use]
    pub fn fill_for(self, length: Nanos) -> Filled {
        let (n, area_ns) = (self.count_in(length), self.area_ns(length));
        self.spread(n, area_ns, length)
    }

    /// The rate's integral over `length`, in mean gaps × their length.
    fn area_ns(&self, length: Nanos) -> f64 {
        ramp_area(length.as_secs_f64() * 1e9, self.ramp_ns)
    }

    /// `n` arrivals within `area_ns` of the rate's integral (in mean gaps × their length), which is `horizon` of time.
    fn spread(mut self, n: usize, area_ns: f64, horizon: Nanos) -> Filled {
        if n > 0 && !matches!(self.process, Process::Burst { .. }) {
            let mut sums: Vec<f64> = Vec::with_capacity(n);
            let mut sum = 0.0;
            for _ in 0..n {
                sum += self.gap();
                sums.push(sum);
            }
            let all = sum + self.gap();
            // Gaps of an extreme shape may all be 0, or too large for a sum: then nothing is left to scale.
            if all > 0.0 && all.is_finite() {
                let last = Nanos(horizon.0.saturating_sub(1));
                let at = |sum: f64| to_nanos(ramp_time(sum / all * area_ns, self.ramp_ns)).min(last);
                let offsets = sums.into_iter().map(at).collect();
                return Filled { offsets, horizon };
            }
            self.process = Process::Burst { size: 1 };
            self.index = 0;
        }
        let offsets = self.take_offsets(n);
        Filled { offsets, horizon }
    }
}

/// The time at which a rate that rises linearly from 0 to 1 over `ramp` and stays there has the integral `at`: r²/2·ramp
/// while it rises, ramp/2 behind afterwards.
fn ramp_time(at: f64, ramp: f64) -> f64 {
    let half = ramp / 2.0;
    if at < half { (2.0 * at * ramp).sqrt() } else { at + half }
}

/// Its inverse: the integral at a time.
fn ramp_area(time: f64, ramp: f64) -> f64 {
    if time < ramp {
        time * time / (2.0 * ramp)
    } else {
        time - ramp / 2.0
    }
}

#[expect(
    clippy::as_conversions,
    reason = "burst sizes and numbers of requests are far below 2^53"
)]
const fn to_f64(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::as_conversions,
    reason = "float to integer saturates; offsets are finite and not negative"
)]
const fn to_nanos(ns: f64) -> Nanos {
    Nanos(ns as u64)
}

/// The nearest whole number.
#[expect(
    clippy::as_conversions,
    reason = "float to integer saturates; a share of time is not negative"
)]
fn nearest(x: f64) -> usize {
    x.round() as usize
}

#[cfg(test)]
mod tests {
    #![expect(clippy::as_conversions, reason = "tests compare counts with floats")]

    use super::*;
    use servelab_schema::Shape;
    use std::num::NonZeroU32;

    const N: usize = 20_000;

    fn schedule(arrivals: Arrivals, rate: f64, seed: u64) -> Schedule {
        Schedule::new(arrivals, Rate::new(rate).unwrap(), seed, "test")
    }

    fn offsets(arrivals: Arrivals, seed: u64) -> Vec<u64> {
        let filled = schedule(arrivals, 250.0, seed).fill(N);
        filled.offsets.into_iter().map(|n| n.0).collect()
    }

    fn gaps(offsets: &[u64]) -> Vec<f64> {
        let mut before = 0;
        let gap = |&at: &u64| {
            let gap = at - before;
            before = at;
            gap as f64 / 4e6
        };
        offsets.iter().map(gap).collect()
    }

    /// Kolmogorov–Smirnov distance of gaps (in mean gaps) from a distribution function.
    fn ks(mut gaps: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = |(i, x): (usize, &f64)| {
            let f = cdf(*x);
            (f - i as f64 / n).abs().max((f - (i + 1) as f64 / n).abs())
        };
        gaps.iter().enumerate().map(distance).fold(0.0, f64::max)
    }

    /// Critical distance at the 0.1 % level for N gaps.
    fn critical() -> f64 {
        1.949 / (N as f64).sqrt()
    }

    fn gamma(shape: f64) -> Arrivals {
        Arrivals::Gamma {
            shape: Shape::new(shape).unwrap(),
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        for seed in 0..5 {
            let d = ks(gaps(&offsets(Arrivals::Poisson, seed)), |x| 1.0 - (-x).exp());
            assert!(d < critical(), "seed {seed}: {d}");
        }
    }

    #[test]
    fn gamma_gaps_follow_their_shape() {
        // Closed forms: shape 1 is exponential, shape 2 is Erlang, shape ½ is a χ² with one degree of freedom.
        let d1 = ks(gaps(&offsets(gamma(1.0), 1)), |x| 1.0 - (-x).exp());
        let d2 = ks(gaps(&offsets(gamma(2.0), 1)), |x| {
            1.0 - (-2.0 * x).exp() * (1.0 + 2.0 * x)
        });
        assert!(d1 < critical() && d2 < critical(), "{d1} {d2}");
        // The test has power: a Poisson sample is not Erlang.
        let wrong = ks(gaps(&offsets(Arrivals::Poisson, 1)), |x| {
            1.0 - (-2.0 * x).exp() * (1.0 + 2.0 * x)
        });
        assert!(wrong > 5.0 * critical(), "{wrong}");
        for shape in [0.5, 4.0] {
            let gaps = gaps(&offsets(gamma(shape), 2));
            let mean = gaps.iter().sum::<f64>() / N as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / N as f64;
            assert!(
                (variance / mean.powi(2) * shape - 1.0).abs() < 0.1,
                "shape {shape}: {variance}"
            );
        }
    }

    #[test]
    fn constant_gaps_do_not_drift() {
        let offsets = offsets(Arrivals::Constant, 9);
        assert_eq!(
            (offsets[0], offsets[1], offsets[N - 1]),
            (0, 4_000_000, 4_000_000 * (N as u64 - 1))
        );
    }

    #[test]
    fn bursts_leave_together() {
        let offsets = offsets(
            Arrivals::Burst {
                size: NonZeroU32::new(8).unwrap(),
            },
            0,
        );
        assert_eq!(&offsets[..10], &[0, 0, 0, 0, 0, 0, 0, 0, 32_000_000, 32_000_000]);
    }

    #[test]
    fn burst_offsets_are_multiples_of_their_gap() {
        for (size, rate) in [(1_u32, 250.0), (8, 250.0), (64, 1000.0), (3, 7.0)] {
            let size = NonZeroU32::new(size).unwrap();
            let rate = Rate::new(rate).unwrap();
            let offsets = Schedule::new(Arrivals::Burst { size }, rate, 0, "test").take_offsets(1000);
            let bursts: Vec<&[Nanos]> = offsets.chunk_by(|a, b| a == b).collect();
            let full = &bursts[..bursts.len() - 1];
            assert!(full.iter().all(|b| b.len() == size.get() as usize), "{size}");
            let gap = f64::from(size.get()) * 1e9 / rate.get();
            for (i, burst) in bursts.iter().enumerate() {
                assert!((burst[0].0 as f64 - i as f64 * gap).abs() < 2.0, "{size} {i}");
            }
        }
    }

    /// On the integral of a rising rate, arrivals are the process without a ramp.
    #[test]
    fn ramped_gaps_follow_the_integral_of_the_rate() {
        let (rate, ramp) = (250.0, 20.0);
        for (arrivals, shape) in [(Arrivals::Poisson, 1.0), (gamma(2.0), 2.0)] {
            let filled = schedule(arrivals, rate, 4).ramped(Nanos::from_secs(20)).fill(N);
            let (offsets, horizon) = (filled.offsets, filled.horizon.as_secs_f64());
            assert!((horizon - (N as f64 / rate + ramp / 2.0)).abs() < 1e-6, "{horizon}");
            let integral = |at: &Nanos| {
                let t = at.as_secs_f64();
                if t < ramp {
                    rate * t * t / (2.0 * ramp)
                } else {
                    rate * (t - ramp / 2.0)
                }
            };
            let mut before = 0.0;
            let gaps: Vec<f64> = offsets
                .iter()
                .map(|at| {
                    let gap = integral(at) - before;
                    before = integral(at);
                    gap
                })
                .collect();
            let erlang = |x: f64| {
                if shape < 1.5 {
                    1.0 - (-x).exp()
                } else {
                    1.0 - (-2.0 * x).exp() * (1.0 + 2.0 * x)
                }
            };
            let d = ks(gaps, erlang);
            assert!(d < critical(), "{arrivals:?}: {d}");
            // The rise itself: a quarter of the ramp's arrivals come in its first half.
            let within = |s: f64| offsets.iter().filter(|at| at.as_secs_f64() < s).count() as f64;
            assert!((within(10.0) / within(20.0) - 0.25).abs() < 0.03);
            assert!((within(20.0) / (rate * ramp / 2.0) - 1.0).abs() < 0.06);
        }
        let plain = Schedule::new(Arrivals::Poisson, Rate::new(rate).unwrap(), 4, "test").take_offsets(100);
        let none = Schedule::new(Arrivals::Poisson, Rate::new(rate).unwrap(), 4, "test").ramped(Nanos::ZERO);
        assert_eq!({ none }.take_offsets(100), plain);
    }

    #[test]
    fn a_ramped_burst_leaves_together() {
        let burst = Arrivals::Burst {
            size: NonZeroU32::new(8).unwrap(),
        };
        let schedule = Schedule::new(burst, Rate::new(100.0).unwrap(), 0, "test");
        let offsets = schedule.ramped(Nanos::from_secs(1)).take_offsets(800);
        assert!(offsets.is_sorted());
        assert!(offsets.chunk_by(|a, b| a == b).all(|b| b.len() == 8));
    }

    fn every_process() -> [Arrivals; 6] {
        let burst = Arrivals::Burst {
            size: NonZeroU32::new(10).unwrap(),
        };
        let extreme = gamma(1e-300);
        [
            Arrivals::Constant,
            Arrivals::Poisson,
            gamma(0.25),
            gamma(9.0),
            burst,
            extreme,
        ]
    }

    #[test]
    fn every_process_keeps_the_rate() {
        for arrivals in every_process() {
            // Endless, by the law of large numbers; extreme gaps have none within reach.
            if arrivals != gamma(1e-300) {
                let last = schedule(arrivals, 250.0, 3).take_offsets(N).pop().unwrap();
                let rate = N as f64 / last.as_secs_f64();
                assert!((rate / 250.0 - 1.0).abs() < 0.05, "{arrivals:?}: {rate}");
            }
            // Filled, exactly: so many in so much time, and none outside it.
            for (n, rate) in [(1, 3.0), (2, 15.0), (120, 15.0), (1000, 0.37)] {
                let filled = schedule(arrivals, rate, 3).fill(n);
                let seconds = filled.horizon.as_secs_f64();
                assert!(
                    (n as f64 / seconds / rate - 1.0).abs() < 1e-8,
                    "{arrivals:?}: {n} in {seconds}"
                );
                assert_eq!(filled.offsets.len(), n);
                assert!(filled.offsets.is_sorted() && filled.offsets.iter().all(|at| *at < filled.horizon));
            }
        }
    }

    #[test]
    fn a_time_holds_as_many_as_its_rate_gives() {
        let secs = Nanos::from_secs;
        for arrivals in every_process() {
            for (rate, length, ramp, n) in [
                (15.0, secs(8), 0, 120),
                (0.26, secs(10), 0, 3),
                (0.24, secs(10), 0, 2),
                (0.04, secs(10), 0, 0),
                (10.0, secs(10), 4, 80),
                (10.0, secs(2), 4, 5),
            ] {
                let filled = schedule(arrivals, rate, 5).ramped(secs(ramp)).fill_for(length);
                assert_eq!(
                    (filled.offsets.len(), filled.horizon),
                    (n, length),
                    "{arrivals:?} {rate}"
                );
                assert!(filled.offsets.is_sorted() && filled.offsets.iter().all(|at| *at < length));
            }
        }
    }

    /// Given their count, Poisson arrivals are uniform over the horizon, and independent: each moment by itself is uniform over
    /// the seeds, and the count in the first half is binomial.
    #[test]
    fn few_poisson_arrivals_are_uniform_over_their_horizon() {
        let (n, seeds) = (5_usize, 4000_u64);
        let filled = |seed| schedule(Arrivals::Poisson, 1.0, seed).fill(n);
        let all: Vec<f64> = (0..seeds)
            .flat_map(|seed| filled(seed).offsets)
            .map(|at| at.as_secs_f64() / n as f64)
            .collect();
        assert_eq!(all.len(), N);
        let d = ks(all, |x| x);
        assert!(d < critical(), "{d}");
        let halves = (0..seeds).map(|seed| {
            let half = filled(seed).horizon.0 / 2;
            filled(seed).offsets.iter().filter(|at| at.0 < half).count() as f64
        });
        let variance = halves.map(|k| (k - n as f64 / 2.0).powi(2)).sum::<f64>() / seeds as f64;
        // n/4 = 1.25 of a binomial; a process that were more even, or less, would show.
        assert!((variance / 1.25 - 1.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn seeds_and_names_decide() {
        let rate = Rate::new(10.0).unwrap();
        let make = |seed, name| Schedule::new(Arrivals::Poisson, rate, seed, name).take_offsets(50);
        assert_eq!(make(1, "a"), make(1, "a"));
        assert_ne!(make(1, "a"), make(2, "a"));
        assert_ne!(make(1, "a"), make(1, "b"));
    }
}
