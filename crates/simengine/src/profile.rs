//! What is simulated: one GPU and one model, as data-sheet and architecture figures. No behaviour.

use inference_lab::config::{HardwareConfig, LayerClass, LinkTemplate, MemoryTemplate, ModelSpec, Precision, Scope};
use inference_lab::config::{StoreKind, StoreTemplate, WeightStream};

use crate::error::SimError;

/// The store behind `--kv-offloading-size`.
pub const HOST_STORE: &str = "host_dram";

/// Bytes per second that one direction of the L4's PCIe 4.0 x16 port moves: 16 lanes × 16 GT/s × 128/130 / 8 = 31.5 GB/s on
/// the wire, times 0.8 for packet headers and pinned-memory copies.
pub const PCIE_BYTES_PER_S: f64 = 25.2e9;

/// A GPU with a model on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The name that `--profile` takes.
    pub name: &'static str,
    /// The GPU's name.
    pub gpu: &'static str,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Device memory bandwidth in bytes per second.
    pub memory_bytes_per_s: f64,
    /// Dense BF16/FP16 rate in FLOP per second.
    pub flops_bf16: f64,
    /// Dense FP8 rate in FLOP per second.
    pub flops_fp8: f64,
    /// Board power limit in watts.
    pub power_watts: f64,
    /// The model's usual name.
    pub model: &'static str,
    /// Transformer layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Width of the feed-forward layer.
    pub intermediate: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Vocabulary size.
    pub vocabulary: u32,
    /// Longest context of the architecture, in tokens.
    pub max_position: u32,
}

/// NVIDIA L4 (data sheet: 24 GB GDDR6 at 300 GB/s, 72 W; dense 121 TFLOPS FP16 and 242 TFLOPS FP8, the sheet leads with the
/// sparse figures) with Mistral-7B-Instruct-v0.3 (its `config.json`).
pub const L4_MISTRAL_7B: Profile = Profile {
    name: "l4-mistral-7b",
    gpu: "NVIDIA L4",
    memory_bytes: 24_000_000_000,
    memory_bytes_per_s: 300e9,
    flops_bf16: 121e12,
    flops_fp8: 242e12,
    power_watts: 72.0,
    model: "mistralai/Mistral-7B-Instruct-v0.3",
    layers: 32,
    hidden: 4096,
    intermediate: 14_336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocabulary: 32_768,
    max_position: 32_768,
};

/// Every profile. Their names stand in `matrix/engines/sim/profiles.toml` too, where the planner reads them.
pub const PROFILES: [Profile; 1] = [L4_MISTRAL_7B];

/// Precision of the linear layers' weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// As published: bfloat16.
    Bf16,
    /// FP8 per tensor; embedding and output head stay bfloat16, as vLLM keeps them.
    Fp8,
}

impl Profile {
    /// The profile called `name`.
    ///
    /// # Errors
    /// [`SimError::Profile`] with the names that exist.
    pub fn by_name(name: &str) -> Result<Self, SimError> {
        PROFILES
            .into_iter()
            .find(|p| p.name == name)
            .ok_or_else(|| SimError::Profile {
                given: name.to_owned(),
                known: PROFILES.map(|p| p.name).join(", "),
            })
    }

    /// Parameters of the linear layers: q, k, v, o and the three feed-forward matrices of every layer.
    #[must_use]
    pub fn linear_parameters(&self) -> u64 {
        let wide = |a: u32, b: u32| u64::from(a) * u64::from(b);
        let kv_width = self.kv_heads * self.head_dim;
        let attention = 2 * wide(self.hidden, self.heads * self.head_dim) + 2 * wide(self.hidden, kv_width);
        u64::from(self.layers) * (attention + 3 * wide(self.hidden, self.intermediate))
    }

    /// Parameters of one vocabulary matrix (the embedding; the output head is as large).
    #[must_use]
    pub fn vocabulary_parameters(&self) -> u64 {
        u64::from(self.vocabulary) * u64::from(self.hidden)
    }

    /// Bytes that the weights occupy.
    #[must_use]
    pub fn weight_bytes(&self, weights: Weights) -> u64 {
        let linear = match weights {
            Weights::Bf16 => 2 * self.linear_parameters(),
            Weights::Fp8 => self.linear_parameters(),
        };
        linear + 2 * 2 * self.vocabulary_parameters()
    }

    /// KV-cache bytes of one token: keys and values of every layer.
    #[must_use]
    pub fn kv_bytes_per_token(&self, fp8: bool) -> u64 {
        let values = 2 * u64::from(self.layers) * u64::from(self.kv_heads) * u64::from(self.head_dim);
        if fp8 { values } else { 2 * values }
    }

    /// The GPU for the timing model, with a host store of `host_bytes` behind PCIe where that is not 0.
    #[must_use]
    pub fn hardware(&self, host_bytes: f64) -> HardwareConfig {
        let memory = (host_bytes > 0.0).then(|| MemoryTemplate {
            gpus_per_node: Some(1),
            stores: vec![StoreTemplate {
                name: HOST_STORE.to_owned(),
                per: Scope::Node,
                kind: StoreKind::Store,
                capacity: host_bytes,
                bandwidth: None,
                stripe: 1,
                aggregate_bandwidth: None,
                latency: 0.0,
                pin: None,
            }],
            junctions: Vec::new(),
            links: vec![LinkTemplate {
                name: "pcie".to_owned(),
                from: "gpu".to_owned(),
                to: HOST_STORE.to_owned(),
                bandwidth: PCIE_BYTES_PER_S,
                latency: 10e-6,
            }],
        });
        HardwareConfig {
            name: self.gpu.to_owned(),
            flops_fp4: None,
            flops_fp8: Some(self.flops_fp8),
            flops_bf16: Some(self.flops_bf16),
            flops_fp16: Some(self.flops_bf16),
            memory_bandwidth: self.memory_bytes_per_s,
            memory_capacity: self.memory_bytes,
            memory,
            fabric: None,
        }
    }

    /// The model for the timing model.
    #[must_use]
    pub fn model_spec(&self, weights: Weights, kv_fp8: bool) -> ModelSpec {
        let stream = |precision, active_params, resident_params| WeightStream {
            precision,
            active_params,
            resident_params,
            routing: None,
        };
        let (linear, head) = (self.linear_parameters(), self.vocabulary_parameters());
        let weights = match weights {
            Weights::Bf16 => vec![stream(Precision::Bf16, linear + head, linear + 2 * head)],
            Weights::Fp8 => vec![
                stream(Precision::Fp8, linear, linear),
                stream(Precision::Bf16, head, 2 * head),
            ],
        };
        ModelSpec {
            name: self.model.to_owned(),
            hidden_dim: self.hidden,
            max_seq_len: self.max_position,
            attention_precision: Precision::Bf16,
            activation_bytes: 2,
            weights,
            layers: vec![LayerClass::Attention {
                count: self.layers,
                heads: self.heads,
                head_dim: self.head_dim,
                kv_heads: self.kv_heads,
                kv_shared: false,
                window: 0,
                kv_precision: if kv_fp8 { Precision::Fp8 } else { Precision::Bf16 },
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistral_7b_has_the_published_size() {
        let p = L4_MISTRAL_7B;
        // 7.248 billion parameters in the published checkpoint, norms aside.
        assert_eq!(p.linear_parameters() + 2 * p.vocabulary_parameters(), 7_247_757_312);
        assert_eq!(p.weight_bytes(Weights::Bf16), 14_495_514_624);
        assert_eq!(p.weight_bytes(Weights::Fp8), 7_516_192_768);
        assert_eq!(p.kv_bytes_per_token(false), 131_072);
        assert_eq!(p.kv_bytes_per_token(true), 65_536);
    }

    #[test]
    fn the_planner_knows_the_same_profiles() {
        let list: toml::Table = toml::from_str(include_str!("../../../matrix/engines/sim/profiles.toml")).unwrap();
        let listed: Vec<&str> = list["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap())
            .collect();
        assert_eq!(listed, PROFILES.map(|p| p.name));
    }

    #[test]
    fn an_unknown_profile_names_the_known_ones() {
        let e = Profile::by_name("h100").unwrap_err().to_string();
        assert!(e.contains("h100") && e.contains("l4-mistral-7b"), "{e}");
    }
}
