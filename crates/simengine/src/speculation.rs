//! N-gram speculation: how often a draft is found and how far it is accepted, by task. docs/SIMULATOR.md states the figures'
//! standing: they are assumptions in the range of published prompt-lookup results, not measurements.

use servelab_random::hash;

use crate::task::Task;

/// How a task's output repeats its prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Acceptance {
    /// Share of decode steps for which the n-gram lookup finds a draft.
    pub found: f64,
    /// Probability that draft position d is accepted, given that all before it were; the last value goes on for deeper drafts.
    pub by_position: [f64; 4],
}

impl Acceptance {
    /// The figures for `task`. The chance of a next position rises with depth: once a copied span has matched for some
    /// tokens it usually goes on.
    #[must_use]
    pub fn of(task: Task) -> Self {
        match task {
            Task::Summarisation => Self {
                found: 0.75,
                by_position: [0.55, 0.65, 0.70, 0.70],
            },
            Task::Qa => Self {
                found: 0.70,
                by_position: [0.50, 0.60, 0.65, 0.65],
            },
            Task::Dialogue => Self {
                found: 0.40,
                by_position: [0.25, 0.35, 0.40, 0.40],
            },
            Task::Other => Self {
                found: 0.50,
                by_position: [0.35, 0.45, 0.50, 0.50],
            },
        }
    }

    /// The draft of one step: how long it is (0 or `gamma`) and how much of it will be accepted. A function of `seed` alone.
    #[must_use]
    pub fn draft(&self, gamma: u32, seed: u64) -> (u32, u32) {
        if hash::unit(seed) >= self.found {
            return (0, 0);
        }
        let mut accepted = 0;
        let mut chances = self.by_position.iter().copied();
        let mut chance = 0.0;
        while accepted < gamma {
            chance = chances.next().unwrap_or(chance);
            if hash::unit(seed.wrapping_add(u64::from(accepted) + 1)) >= chance {
                break;
            }
            accepted += 1;
        }
        (gamma, accepted)
    }

    /// Expected tokens per decode step with drafts of `gamma`: 1 + found × Σ_d Π_{i≤d} a_i.
    #[must_use]
    pub fn expected_tokens(&self, gamma: u32) -> f64 {
        let mut reach = self.found;
        let mut sum = 1.0;
        let mut chances = self.by_position.iter().copied();
        let mut chance = 0.0;
        for _ in 0..gamma {
            chance = chances.next().unwrap_or(chance);
            reach *= chance;
            sum += reach;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_follow_the_expectation() {
        for task in [Task::Summarisation, Task::Qa, Task::Dialogue, Task::Other] {
            let acceptance = Acceptance::of(task);
            let n = 40_000u64;
            let total: u64 = (0..n).map(|i| 1 + u64::from(acceptance.draft(4, hash::mix(i)).1)).sum();
            let mean = f64::from(u32::try_from(total).unwrap()) / 40_000.0;
            let expected = acceptance.expected_tokens(4);
            assert!((mean - expected).abs() < 0.02, "{task:?}: {mean} against {expected}");
        }
    }

    #[test]
    fn copying_tasks_gain_most() {
        let gain = |task| Acceptance::of(task).expected_tokens(4);
        assert!(gain(Task::Summarisation) > gain(Task::Qa));
        assert!(gain(Task::Qa) > gain(Task::Other));
        assert!(gain(Task::Other) > gain(Task::Dialogue));
        assert!(gain(Task::Summarisation) < 5.0 && gain(Task::Dialogue) > 1.0);
    }
}
