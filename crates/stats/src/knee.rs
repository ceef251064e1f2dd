//! The knee of a sweep: the load from which on more load costs more latency than it brings throughput.
//!
//! The rule is *power*, throughput / latency, and its maximum (Kleinrock, Power and deterministic rules of thumb for
//! probabilistic problems in computer communications, ICC 1979; Jain, Ramakrishnan, Chiu, DEC-TR-506, 1987, call it the knee).
//! Where power rises, a step to more load gains a larger share of throughput than it costs of latency. It needs no scale, no
//! smoothing and no parameter, unlike a curvature (Kneedle), which noise moves. What noise can decide is not told apart: loads
//! whose power lies within [`NOISE`] of the highest are one flat top. A top that reaches an end of the loads tried is no knee.

/// Share of the highest power within which loads are not told apart.
pub const NOISE: f64 = 0.1;

/// Loads that a knee needs at least: one on each side.
const LEAST: usize = 3;

/// What a sweep measured at one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadPoint {
    /// Any latency, above 0.
    pub latency: f64,
    /// Any throughput, not negative.
    pub throughput: f64,
}

impl LoadPoint {
    /// Throughput / latency.
    #[must_use]
    pub fn power(&self) -> f64 {
        self.throughput / self.latency
    }
}

/// Where the knee is; numbers are positions in the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knee {
    /// Here.
    At {
        /// The highest power.
        best: usize,
        /// First and last point of the flat top around it.
        top: (usize, usize),
    },
    /// Power still rises at the highest loads tried.
    Beyond,
    /// Power falls from the lowest loads tried on.
    Below,
    /// Power hardly changes over the loads tried.
    Flat,
    /// Fewer than three loads have both figures.
    TooFew,
}

/// The knee of points in the order of their load.
#[must_use]
pub fn knee(points: &[LoadPoint]) -> Knee {
    let powers: Vec<f64> = points.iter().map(LoadPoint::power).collect();
    let last = powers.len().saturating_sub(1);
    let best = powers.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some((best, &highest)) = best.filter(|_| powers.len() >= LEAST && powers.iter().all(|p| p.is_finite())) else {
        return Knee::TooFew;
    };
    let is_top = |power: &&f64| **power > (1.0 - NOISE) * highest;
    let before = powers.iter().take(best).rev().take_while(is_top).count();
    let after = powers.iter().skip(best + 1).take_while(is_top).count();
    let top = (best - before, best + after);
    match (top.0 == 0, top.1 == last) {
        (true, true) => Knee::Flat,
        (true, false) => Knee::Below,
        (false, true) => Knee::Beyond,
        (false, false) => Knee::At { best, top },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;
    use proptest::prelude::*;

    fn points(of: &[(f64, f64)]) -> Vec<LoadPoint> {
        let point = |&(throughput, latency)| LoadPoint { latency, throughput };
        of.iter().map(point).collect()
    }

    /// A closed loop over a server that holds `most` requests at once: its asymptotes cross there.
    fn closed(loads: &[f64], most: f64, noise: &mut impl FnMut() -> f64) -> Vec<LoadPoint> {
        let point = |&n: &f64| LoadPoint {
            latency: (n / most).max(1.0) * noise(),
            throughput: n.min(most) * noise(),
        };
        loads.iter().map(point).collect()
    }

    #[test]
    fn tables() {
        let check = |of: &[(f64, f64)], expected| assert_eq!(knee(&points(of)), expected, "{of:?}");
        check(&[], Knee::TooFew);
        check(&[(1.0, 1.0), (2.0, 1.0)], Knee::TooFew);
        check(&[(1.0, 1.0), (4.0, 1.0), (4.1, 4.0)], Knee::At { best: 1, top: (1, 1) });
        check(&[(1.0, 1.0), (2.0, 1.0), (4.0, 1.0)], Knee::Beyond);
        check(&[(4.0, 1.0), (4.0, 2.0), (4.0, 4.0)], Knee::Below);
        check(&[(1.0, 1.0), (2.0, 2.0), (4.0, 4.1)], Knee::Flat);
        check(
            &[(1.0, 1.0), (4.0, 1.0), (8.0, 2.1), (9.0, 9.0)],
            Knee::At { best: 1, top: (1, 2) },
        );
        check(&[(1.0, 1.0), (4.0, 0.0), (8.0, 2.1)], Knee::TooFew);
    }

    /// Known answer: with 5 % of noise on both figures the knee is found, and at no other load.
    #[test]
    fn noise_does_not_move_it() {
        let loads = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        let mut rng = SplitMix64::new(3);
        let mut noise = || (0.05 * rng.normal()).exp();
        for _ in 0..500 {
            assert_eq!(
                knee(&closed(&loads, 8.0, &mut noise)),
                Knee::At { best: 3, top: (3, 3) }
            );
        }
    }

    /// M/M/1: throughput λ, latency 1 / (1 − λ); Kleinrock's answer is half of the capacity.
    #[test]
    fn a_queue_s_knee_is_kleinrock_s() {
        let points: Vec<LoadPoint> = (1..10)
            .map(|i| f64::from(i) / 10.0)
            .map(|load| LoadPoint {
                latency: 1.0 / (1.0 - load),
                throughput: load,
            })
            .collect();
        assert_eq!(knee(&points), Knee::At { best: 4, top: (3, 5) });
    }

    proptest! {
        #[test]
        fn units_do_not_matter(a in 0.001..1000.0_f64, b in 0.001..1000.0_f64, seed in 0_u64..1000) {
            let mut rng = SplitMix64::new(seed);
            let these: Vec<LoadPoint> = (0..6)
                .map(|_| LoadPoint { latency: rng.uniform() + 0.1, throughput: rng.uniform() })
                .collect();
            let scaled = these.iter().map(|p| LoadPoint { latency: a * p.latency, throughput: b * p.throughput });
            prop_assert_eq!(knee(&scaled.collect::<Vec<_>>()), knee(&these));
        }
    }
}
