//! What the CPU adds to a step and to a request: launches, scheduling, tokenization. Formulas and sources: docs/SIMULATOR.md.
//! All times are engine seconds.

use crate::config::EngineConfig;

/// Kernels that one transformer layer launches without fusion: two norms, q/k/v and output projections, rotary embedding,
/// cache write, attention (two), gate-up and down projections, activation, two residual adds, and three small copies.
const KERNELS_PER_LAYER: f64 = 16.0;
/// Embedding, last norm, output head, sampling.
const KERNELS_OUTSIDE_LAYERS: f64 = 8.0;
/// Seconds of one kernel launch from Python that the GPU waits for.
const LAUNCH_S: f64 = 5e-6;

/// Scheduler, input preparation and output processing of one step, and per sequence in it.
const STEP_HOST_S: f64 = 0.8e-3;
const STEP_HOST_PER_SEQUENCE_S: f64 = 20e-6;
/// N-gram lookup in one sequence's context.
const NGRAM_S: f64 = 0.1e-3;

/// Rendering the chat template and building the request object, and each token's share of tokenization.
const RENDER_S: f64 = 0.5e-3;
const TOKENIZE_PER_TOKEN_S: f64 = 3e-6;

/// What the CPU adds to each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOverhead {
    eager_s: f64,
    asynchronous: bool,
    ngram: bool,
    /// Weights read over PCIe in every step instead of from device memory.
    offload_s: f64,
    /// A hidden factor on the whole step, for known-answer tests; 1 otherwise.
    hidden: f64,
}

impl StepOverhead {
    /// The overheads of `config`; `hidden` multiplies every step (1 = none).
    #[must_use]
    pub fn of(config: &EngineConfig, hidden: f64) -> Self {
        let kernels = KERNELS_PER_LAYER * f64::from(config.profile.layers) + KERNELS_OUTSIDE_LAYERS;
        let per_byte = 1.0 / crate::profile::PCIE_BYTES_PER_S - 1.0 / config.profile.memory_bytes_per_s;
        Self {
            eager_s: if config.enforce_eager { kernels * LAUNCH_S } else { 0.0 },
            asynchronous: config.async_scheduling,
            ngram: config.ngram.is_some(),
            offload_s: config.offloaded_weight_bytes() * per_byte,
            hidden,
        }
    }

    /// Seconds of a step whose GPU work takes `gpu_s` for `sequences` sequences. With asynchronous scheduling the CPU's part
    /// is hidden behind the GPU's; without, it comes on top.
    #[must_use]
    pub fn step_s(&self, gpu_s: f64, sequences: u32) -> f64 {
        let sequences = f64::from(sequences);
        let ngram = if self.ngram { NGRAM_S * sequences } else { 0.0 };
        let host = STEP_HOST_S + STEP_HOST_PER_SEQUENCE_S * sequences + ngram;
        let device = gpu_s + self.eager_s + self.offload_s;
        let step = if self.asynchronous {
            device.max(host)
        } else {
            device + host
        };
        step * self.hidden
    }
}

/// The CPU workers that tokenize prompts, as a queue with k servers in order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerPool {
    free_at_s: Vec<f64>,
}

impl TokenizerPool {
    /// A pool of `workers` (at least one).
    #[must_use]
    pub fn new(workers: u32) -> Self {
        Self {
            free_at_s: vec![0.0; usize::try_from(workers.max(1)).unwrap_or(1)],
        }
    }

    /// When the prompt of `tokens` that arrived at `arrival_s` is ready for the scheduler.
    pub fn ready_at(&mut self, arrival_s: f64, tokens: u32) -> f64 {
        let cost = RENDER_S + TOKENIZE_PER_TOKEN_S * f64::from(tokens);
        let Some(worker) = self.free_at_s.iter_mut().min_by(|a, b| a.total_cmp(b)) else {
            return arrival_s + cost;
        };
        let ready = worker.max(arrival_s) + cost;
        *worker = ready;
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::flags::parse;
    use crate::profile::L4_MISTRAL_7B;

    fn overhead(line: &str, hidden: f64) -> StepOverhead {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let config = resolve(&parse(&args).unwrap(), L4_MISTRAL_7B, "h", 1).unwrap();
        StepOverhead::of(&config, hidden)
    }

    #[test]
    fn each_overhead_lengthens_the_step() {
        let base = overhead("m --max-model-len 8192", 1.0).step_s(0.05, 8);
        assert!((base - 0.05).abs() < 1e-12);
        let eager = overhead("m --max-model-len 8192 --enforce-eager", 1.0).step_s(0.05, 8);
        assert!((eager - 0.05 - 520.0 * 5e-6).abs() < 1e-12, "{eager}");
        let sync = overhead("m --max-model-len 8192 --no-async-scheduling", 1.0).step_s(0.05, 8);
        assert!((sync - 0.05 - 0.000_96).abs() < 1e-12, "{sync}");
        let offload = overhead("m --max-model-len 8192 --cpu-offload-gb 4", 1.0).step_s(0.05, 8);
        assert!(offload > 0.2, "{offload}");
        let hidden = overhead("m --max-model-len 8192", 1.25).step_s(0.05, 8);
        assert!((hidden - 0.0625).abs() < 1e-12);
    }

    #[test]
    fn more_workers_tokenize_in_parallel() {
        let mut one = TokenizerPool::new(1);
        let mut two = TokenizerPool::new(2);
        let cost = 0.5e-3 + 1000.0 * 3e-6;
        assert!((one.ready_at(1.0, 1000) - 1.0 - cost).abs() < 1e-12);
        assert!((one.ready_at(1.0, 1000) - 1.0 - 2.0 * cost).abs() < 1e-12);
        two.ready_at(1.0, 1000);
        assert!((two.ready_at(1.0, 1000) - 1.0 - cost).abs() < 1e-12);
        // An idle pool starts at once.
        assert!((one.ready_at(9.0, 1000) - 9.0 - cost).abs() < 1e-12);
    }
}
