//! Looking early without paying for it: Lan and DeMets' spending of α in O'Brien and Fleming's shape.
//!
//! Each look at information fraction τ (blocks so far / most blocks) may spend, on each of the two sides with its α' = α/2,
//! α*(τ) = 2(1 − Φ(z(1 − α'/2)/√τ)) in total, so that both together reach α at τ = 1.
//! The boundary of each look follows by integrating over the paths that crossed none before (Armitage, McPherson, Rowe
//! 1969). On few blocks the statistic is a t: its boundary is the t quantile at the same nominal level.

use crate::{
    Probability,
    num::count,
    special::{normal_cdf, normal_quantile, t_quantile},
};

/// One planned look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Blocks seen at this look.
    pub blocks: u32,
    /// Share of the information, blocks / most blocks.
    pub information: f64,
    /// α spent up to and with this look.
    pub spent: f64,
    /// Two-sided nominal level of this look: stop where the plain p is at or below it.
    pub nominal_alpha: f64,
    /// |Z| at which to stop.
    pub z: f64,
    /// |t| with blocks − 1 degrees of freedom at which to stop.
    pub t: f64,
}

/// Points of the grid on which the density of the running statistic is held.
const GRID: usize = 801;

/// Boundaries of looks at `first`, `first + 1`, … `last` blocks, for a two-sided α in total. None unless
/// 2 ≤ first ≤ last.
#[must_use]
pub fn looks(first: u32, last: u32, alpha: Probability) -> Option<Vec<Look>> {
    if first < 2 || first > last {
        return None;
    }
    let spending = spending(alpha)?;
    let mut out = Vec::new();
    let mut density: Option<Density> = None;
    let mut spent = 0.0;
    for blocks in first..=last {
        let information = f64::from(blocks) / f64::from(last);
        let target = spending(information);
        let step = Probability::new(target - spent).ok()?;
        let (z, next) = match density {
            None => {
                let z = normal_quantile(Probability::new(1.0 - step.get() / 2.0).ok()?);
                (z, Density::first(information, z))
            }
            Some(d) => d.step(information, step),
        };
        let nominal_alpha = 2.0 * normal_cdf(-z);
        let t = t_quantile(
            Probability::new(1.0 - nominal_alpha / 2.0).ok()?,
            f64::from(blocks.saturating_sub(1)),
        );
        out.push(Look {
            blocks,
            information,
            spent: target,
            nominal_alpha,
            z,
            t,
        });
        spent = target;
        density = Some(next);
    }
    Some(out)
}

/// α spent on both sides together up to an information fraction.
fn spending(alpha: Probability) -> Option<impl Fn(f64) -> f64> {
    let z = normal_quantile(Probability::new(1.0 - alpha.get() / 4.0).ok()?);
    Some(move |information: f64| 4.0 * normal_cdf(-z / information.sqrt()))
}

/// Density of the score B = Z·√τ over the paths that crossed no boundary so far, on an even grid between the boundaries.
struct Density {
    information: f64,
    points: Vec<(f64, f64)>,
    width: f64,
}

impl Density {
    fn on_grid(information: f64, z: f64, value: impl Fn(f64) -> f64) -> Self {
        let edge = z * information.sqrt();
        let width = 2.0 * edge / count(GRID.saturating_sub(1));
        let points = (0..GRID)
            .map(|i| {
                let b = count(i).mul_add(width, -edge);
                (b, value(b))
            })
            .collect();
        Self {
            information,
            points,
            width,
        }
    }

    fn first(information: f64, z: f64) -> Self {
        let sd = information.sqrt();
        Self::on_grid(information, z, |b| normal_density(b / sd) / sd)
    }

    /// Integral of the density times `f` by Simpson's rule.
    fn integrate(&self, f: impl Fn(f64) -> f64) -> f64 {
        let last = self.points.len().saturating_sub(1);
        let weight = |i: usize| match i {
            0 => 1.0,
            _ if i == last => 1.0,
            _ if i.is_multiple_of(2) => 2.0,
            _ => 4.0,
        };
        let sum: f64 = self
            .points
            .iter()
            .enumerate()
            .map(|(i, &(b, d))| weight(i) * d * f(b))
            .sum();
        sum * self.width / 3.0
    }

    /// The boundary that spends `alpha` at the next look, and the density behind it.
    fn step(&self, information: f64, alpha: Probability) -> (f64, Self) {
        let sd = (information - self.information).sqrt();
        let crossing = |z: f64| {
            let edge = z * information.sqrt();
            self.integrate(|b| normal_cdf((-edge - b) / sd) + normal_cdf((b - edge) / sd))
        };
        let (mut low, mut high) = (0.0_f64, 20.0_f64);
        for _ in 0..60 {
            let middle = low.midpoint(high);
            if crossing(middle) > alpha.get() {
                low = middle;
            } else {
                high = middle;
            }
        }
        let z = low.midpoint(high);
        (
            z,
            Self::on_grid(information, z, |b| {
                self.integrate(|a| normal_density((b - a) / sd) / sd)
            }),
        )
    }
}

fn normal_density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;

    fn alpha() -> Probability {
        Probability::new(0.05).unwrap()
    }

    #[test]
    fn published_boundaries() {
        // Five even looks, two-sided 5 %, O'Brien-Fleming spending (Lan and DeMets; R package gsDesign, sfLDOF):
        // 4.8769, 3.3569, 2.6803, 2.2898, 2.0310. Looks at 2, 4, 6, 8, 10 blocks are even; here the density is stepped by hand.
        let spending = spending(alpha()).unwrap();
        let mut spent = 0.0;
        let mut density: Option<Density> = None;
        for (i, expected) in [4.8769, 3.3569, 2.6803, 2.2898, 2.0310].into_iter().enumerate() {
            let information = count(i + 1) / 5.0;
            let target = spending(information);
            let step = Probability::new(target - spent).unwrap();
            let (z, next) = match density {
                None => {
                    let z = normal_quantile(Probability::new(1.0 - step.get() / 2.0).unwrap());
                    (z, Density::first(information, z))
                }
                Some(d) => d.step(information, step),
            };
            assert!((z - expected).abs() < 2e-3, "look {}: {z}, not {expected}", i + 1);
            (spent, density) = (target, Some(next));
        }
    }

    #[test]
    fn one_look_is_the_plain_test() {
        let one = looks(10, 10, alpha()).unwrap();
        assert_eq!(one.len(), 1);
        assert!((one[0].t - 2.262_157).abs() < 1e-4 && (one[0].nominal_alpha - 0.05).abs() < 1e-9);
        assert_eq!(looks(1, 10, alpha()), None);
        assert_eq!(looks(5, 4, alpha()), None);
    }

    #[test]
    fn equal_arms_are_told_apart_no_more_often_than_promised() {
        let plan = looks(4, 10, alpha()).unwrap();
        assert!(plan.windows(2).all(|w| w[0].z > w[1].z && w[0].spent < w[1].spent));
        let mut rng = SplitMix64::new(5);
        let false_alarms = (0..4000)
            .filter(|_| {
                let d: Vec<f64> = (0..10).map(|_| rng.normal()).collect();
                plan.iter().any(|look| {
                    let seen = &d[..usize::try_from(look.blocks).unwrap()];
                    crate::paired_t(seen, Probability::P95).unwrap().p <= look.nominal_alpha
                })
            })
            .count();
        // 5 % + 3 standard errors of 4000 repetitions; the t correction is approximate, so it may also be a little under.
        assert!(false_alarms <= 241, "{false_alarms} of 4000");
    }
}
