//! When requests of an open loop arrive: offsets generated ahead of the load from a seed, never drawn while it runs.
//!
//! The mean rate is the same for every process. What differs is how uneven the gaps are: constant gaps have a coefficient of
//! variation of 0, gamma gaps of `1/√shape`, Poisson arrivals (exponential gaps, gamma with shape 1) of 1; bursts of `n`
//! leave together, `n` mean gaps apart.

use servelab_random::{ChaChaStream, UnitGamma};
use servelab_schema::{Arrivals, Nanos, Rate};

/// An endless schedule of arrivals as offsets from its start, in engine time; never decreasing. The first one comes after
/// the first gap, except for bursts, whose first one leaves at once.
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
    Constant,
    Poisson,
    Gamma(UnitGamma),
    Burst { size: u64 },
}

impl Schedule {
    /// The schedule of `arrivals` at `rate` that `seed` and `name` determine.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: Rate, seed: u64, name: &str) -> Self {
        let process = match arrivals {
            Arrivals::Constant => Process::Constant,
            Arrivals::Poisson => Process::Poisson,
            // Shapes that cannot be drawn from are extremes beyond 1e±300, where the gaps are constant for all that a clock
            // can show.
            Arrivals::Gamma { shape } => UnitGamma::new(shape.get()).map_or(Process::Constant, Process::Gamma),
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

    /// The next arrival.
    pub fn next_offset(&mut self) -> Nanos {
        let gap = match &self.process {
            Process::Constant => 1.0,
            Process::Poisson => self.stream.exponential(),
            Process::Gamma(gamma) => self.stream.gamma(gamma),
            Process::Burst { size } if self.index > 0 && self.index.is_multiple_of(*size) => to_f64(*size),
            Process::Burst { .. } => 0.0,
        };
        self.index += 1;
        self.at_ns += gap * self.mean_gap_ns;
        to_nanos(ramp_time(self.at_ns, self.ramp_ns))
    }

    /// The next `n` arrivals.
    pub fn take_offsets(&mut self, n: usize) -> Vec<Nanos> {
        std::iter::repeat_with(|| self.next_offset()).take(n).collect()
    }
}

/// The time at which a rate that rises linearly from 0 to 1 over `ramp` and stays there has the integral `at`: r²/2·ramp
/// while it rises, ramp/2 behind afterwards.
fn ramp_time(at: f64, ramp: f64) -> f64 {
    let half = ramp / 2.0;
    if at < half { (2.0 * at * ramp).sqrt() } else { at + half }
}

#[expect(clippy::as_conversions, reason = "burst sizes are far below 2^53")]
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

#[cfg(test)]
mod tests {
    #![expect(clippy::as_conversions, reason = "tests compare counts with floats")]

    use super::*;
    use servelab_schema::Shape;
    use std::num::NonZeroU32;

    const N: usize = 20_000;

    fn offsets(arrivals: Arrivals, seed: u64) -> Vec<u64> {
        let rate = Rate::new(250.0).unwrap();
        Schedule::new(arrivals, rate, seed, "test")
            .take_offsets(N)
            .into_iter()
            .map(|n| n.0)
            .collect()
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
        assert_eq!((offsets[0], offsets[N - 1]), (4_000_000, 4_000_000 * N as u64));
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
            let schedule = Schedule::new(arrivals, Rate::new(rate).unwrap(), 4, "test");
            let offsets = schedule.ramped(Nanos::from_secs(20)).take_offsets(N);
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

    #[test]
    fn every_process_keeps_the_rate() {
        let burst = Arrivals::Burst {
            size: NonZeroU32::new(10).unwrap(),
        };
        for arrivals in [Arrivals::Constant, Arrivals::Poisson, gamma(0.25), gamma(9.0), burst] {
            let last = offsets(arrivals, 3)[N - 1] as f64;
            let rate = N as f64 / (last / 1e9);
            assert!((rate / 250.0 - 1.0).abs() < 0.05, "{arrivals:?}: {rate}");
        }
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
