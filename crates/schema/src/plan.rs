//! `plan.json`: everything that a run will do, with nothing left to a default.

use crate::{Bucket, Bytes, Capabilities, Dialect, WallNanos, changes};
use crate::{
    Gates, IdError, Load, LoadId, Margin, MetricName, Nanos, OutputPolicy, PlainPrompt, PlannedVariant, Prompt,
    PromptId, PromptSetId, Ratio, Sha256Hex, Slo, Task, TimeScale, Timeouts, TrialId, V, VariantId, WarmUp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, num::NonZeroU32};

/// Where numbers come from. The three never look alike on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// A real engine answered.
    Measured,
    /// The simulated engine answered: no GPU gave these numbers.
    Simulated,
    /// Somebody else measured.
    Imported,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Measured => "MEASURED",
            Self::Simulated => "SIMULATED",
            Self::Imported => "IMPORTED",
        })
    }
}

/// An input file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Path relative to the project.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Hex,
}

/// The machine and model that the numbers are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name, such as `l4-mistral-7b`.
    pub name: String,
    /// GPU, such as `NVIDIA L4`; null where nobody said, as of the next ones.
    pub gpu: Option<String>,
    /// GPU memory.
    pub gpu_memory_bytes: Option<Bytes>,
    /// Cloud machine type, such as `g2-standard-8`.
    pub machine_type: Option<String>,
    /// Model id.
    pub model: String,
    /// Weight type, such as `float16`.
    pub dtype: Option<String>,
    /// Context of prompt and answer together.
    pub context_tokens: Option<NonZeroU32>,
    /// Price of the machine in micro-US-dollars an hour; null where nothing is declared.
    pub price_micro_usd_per_hour: Option<u64>,
}

/// How the engine comes to be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Provider {
    /// The simulated engine, `servelab sim`, as a child process.
    Sim {
        /// Engine seconds per wall second; 1 is real time.
        time_scale: NonZeroU32,
        /// Seed of the simulator.
        seed: u64,
        /// Folder of the tokenizer that it counts with, relative to the project.
        tokenizer: String,
        /// More words for `servelab sim` itself (faults, hidden factors: for known-answer runs).
        extra_args: Vec<String>,
    },
    /// A command that is started as a child process; flags, `--host` and `--port` are added.
    Process {
        /// Program and leading words, such as `["vllm", "serve", "{model}"]`: `{model}` stands for the variant's model.
        command: Vec<String>,
    },
    /// A container of an image, through `docker run`; flags, `--host` and `--port` are added.
    Docker {
        /// The image, pinned by digest, such as `vllm/vllm-openai@sha256:…`.
        image: String,
        /// What `--gpus` says, such as `all`; `none` for a container without GPUs.
        gpus: String,
        /// Volumes as `-v` takes them, such as `/data/huggingface:/root/.cache/huggingface`.
        volumes: Vec<String>,
        /// Names of environment variables that the container gets from servelab's environment.
        env: Vec<String>,
        /// Words for the image's entry point before the variant's flags, such as `["--model", "{model}"]`.
        args: Vec<String>,
    },
    /// A server that is up already. Nothing is started or stopped, no flag is set, and its log is not there: what is known
    /// of it is what its own pages show.
    Url {
        /// Its address, such as `http://127.0.0.1:8000`: the baseline's server, and that of its copies.
        base: String,
        /// The servers of the treatments: a variant that is one differs from its control by which server answers. Those that
        /// are not here are served at `base`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        others: BTreeMap<VariantId, OtherServer>,
        /// True where the servers are simulated engines: no GPU gives their numbers, and pages say so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        simulated: bool,
        /// What requests ask of the servers at most. A server is asked less where it takes less; servers that are compared are
        /// asked no more than each of them takes.
        #[serde(default, skip_serializing_if = "Capabilities::is_full")]
        asked_at_most: Capabilities,
        /// False where requests must not carry a `cache_salt`. Else they carry one where the server takes it: trials then share
        /// no prefix cache.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        cache_salt: bool,
        /// True where a trial counts though nobody can tell what the server's prefix cache held.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_unknown_cache: bool,
    },
}

/// A server that is up already and stands for one variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtherServer {
    /// Its address, such as `http://127.0.0.1:8001`.
    pub base: String,
    /// Name that requests to it give as `model`.
    pub served_model: String,
    /// Whose pages and metrics it has.
    pub dialect: Dialect,
    /// Environment variable that holds its API key; absent where it wants none. No server is sent another one's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Tokens that it counts in every prompt beyond what the plan says of it, since its chat template is longer; negative where
    /// it is shorter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_prompt_tokens: i32,
}

/// What requests of a variant, and questions about its engine, go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'p> {
    /// The address of the server that is up already; none where servelab starts the engine.
    pub base: Option<&'p str>,
    /// Name that requests give as `model`.
    pub served_model: &'p str,
    /// Whose pages and metrics.
    pub dialect: Dialect,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<&'p str>,
    /// Tokens that it counts in every prompt beyond what the plan says of it.
    pub more_prompt_tokens: i32,
}

const fn is_zero(n: &i32) -> bool {
    *n == 0
}

const fn yes() -> bool {
    true
}

const fn is_yes(on: &bool) -> bool {
    *on
}

/// What the prefix cache of an engine holds when a trial begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAtStart {
    /// Nothing: the engine is started for the trial.
    Empty,
    /// What others left in it: the engine was up before.
    Unknown {
        /// True where requests may carry a salt of their trial.
        may_salt: bool,
        /// True where the plan accepts not to know it.
        accepted: bool,
    },
}

/// The engine under test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineSpec {
    /// Whose flags, metrics and log lines.
    pub dialect: Dialect,
    /// Version that the flags were resolved for.
    pub version: String,
    /// How it comes to be there.
    pub provider: Provider,
    /// Name that requests give as `model`.
    pub served_model: String,
    /// Environment variable that holds its API key; absent where it wants none. The key itself is in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
}

impl EngineSpec {
    /// Where its numbers come from.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        match self.provider {
            Provider::Sim { .. } | Provider::Url { simulated: true, .. } => EngineKind::Simulated,
            Provider::Process { .. } | Provider::Docker { .. } | Provider::Url { .. } => EngineKind::Measured,
        }
    }

    /// What a variant's requests go by.
    #[must_use]
    pub fn asked(&self, variant: &VariantId) -> Asked<'_> {
        let own = Asked {
            base: None,
            served_model: &self.served_model,
            dialect: self.dialect,
            api_key_env: self.api_key_env.as_deref(),
            more_prompt_tokens: 0,
        };
        let Provider::Url { base, others, .. } = &self.provider else {
            return own;
        };
        others.get(variant).map_or(
            Asked {
                base: Some(base),
                ..own
            },
            |other| Asked {
                base: Some(&other.base),
                served_model: &other.served_model,
                dialect: other.dialect,
                api_key_env: other.api_key_env.as_deref(),
                more_prompt_tokens: other.more_prompt_tokens,
            },
        )
    }

    /// What its requests ask for at most.
    #[must_use]
    pub const fn asked_at_most(&self) -> Capabilities {
        match self.provider {
            Provider::Url { asked_at_most, .. } => asked_at_most,
            Provider::Sim { .. } | Provider::Process { .. } | Provider::Docker { .. } => Capabilities::FULL,
        }
    }

    /// True for a variant that is a server of its own.
    #[must_use]
    pub fn has_own_server(&self, variant: &VariantId) -> bool {
        matches!(&self.provider, Provider::Url { others, .. } if others.contains_key(variant))
    }

    /// True where engines live on from block to block: nothing is restarted, so that what one block found may still hold in the
    /// next, and blocks are no independent draws.
    #[must_use]
    pub const fn lives_on(&self) -> bool {
        matches!(self.provider, Provider::Url { .. })
    }

    /// What its prefix cache holds when a trial begins.
    #[must_use]
    pub const fn cache_at_start(&self) -> CacheAtStart {
        match self.provider {
            Provider::Sim { .. } | Provider::Process { .. } | Provider::Docker { .. } => CacheAtStart::Empty,
            Provider::Url {
                cache_salt,
                accept_unknown_cache,
                ..
            } => CacheAtStart::Unknown {
                may_salt: cache_salt,
                accepted: accept_unknown_cache,
            },
        }
    }

    /// Engine seconds per wall second; 1 unless simulated.
    #[must_use]
    pub const fn time_scale(&self) -> TimeScale {
        match self.provider {
            Provider::Sim { time_scale, .. } => TimeScale::new(time_scale),
            Provider::Process { .. } | Provider::Docker { .. } | Provider::Url { .. } => TimeScale::REAL,
        }
    }
}

/// What the report must know of a prompt without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptRef {
    /// Name.
    pub id: PromptId,
    /// What is asked for; absent where it is none of the tasks of a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Length class; absent where the length is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Tokens that the baseline's server must count in it, and every other one but for what its template is longer; absent where
    /// that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<NonZeroU32>,
    /// Tokens that may be generated.
    pub max_new_tokens: NonZeroU32,
    /// The exact answer, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl From<Prompt> for PromptRef {
    fn from(prompt: Prompt) -> Self {
        Self {
            id: prompt.id,
            task: Some(prompt.task),
            bucket: Some(prompt.bucket),
            prompt_tokens: Some(prompt.prompt_tokens),
            max_new_tokens: prompt.max_new_tokens,
            answer: prompt.answer,
        }
    }
}

impl From<PlainPrompt> for PromptRef {
    fn from(prompt: PlainPrompt) -> Self {
        Self {
            id: prompt.id,
            task: None,
            bucket: None,
            prompt_tokens: prompt.prompt_tokens,
            max_new_tokens: prompt.max_new_tokens,
            answer: None,
        }
    }
}

/// A prompt file, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptSetRef {
    /// Name of the set.
    pub id: PromptSetId,
    /// The prompt file, relative to the project.
    pub path: String,
    /// SHA-256 of the prompt file.
    pub sha256: Sha256Hex,
    /// SHA-256 of the tokenizer that counted it; absent where none did: its rows are then of
    /// [`PlainPrompt`](crate::PlainPrompt).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_sha256: Option<Sha256Hex>,
    /// SHA-256 of the chat template that rendered it for counting; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template_sha256: Option<Sha256Hex>,
    /// Its prompts, in file order.
    pub prompts: Vec<PromptRef>,
}

impl PromptSetRef {
    /// A row of its file, with what a request needs of it.
    ///
    /// # Errors
    /// Where the line is no such row.
    pub fn row(&self, line: &str) -> Result<PlainPrompt, serde_json::Error> {
        if self.tokenizer_sha256.is_some() {
            serde_json::from_str::<Prompt>(line).map(PlainPrompt::from)
        } else {
            serde_json::from_str(line)
        }
    }

    /// What the plan says of a row of its file.
    ///
    /// # Errors
    /// Where the line is no such row.
    pub fn reference(&self, line: &str) -> Result<PromptRef, serde_json::Error> {
        if self.tokenizer_sha256.is_some() {
            serde_json::from_str::<Prompt>(line).map(PromptRef::from)
        } else {
            serde_json::from_str::<PlainPrompt>(line).map(PromptRef::from)
        }
    }
}

/// A load with its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedLoad {
    /// Name, such as `c8`.
    pub id: LoadId,
    /// The load.
    pub load: Load,
}

/// What a run does whose baseline fails to start twice in a row with one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnRepeatedFailure {
    /// It ends, and is sealed as aborted with that cause: without a baseline nothing can be compared.
    Stop,
    /// It goes on to its last trial.
    #[default]
    GoOn,
}

/// Order of the trials inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockOrder {
    /// Seeded random order, new in each block.
    Random,
    /// As declared; verdicts are then only indicative.
    Sequential,
}

/// One block: the prompts every cell serves in it, and the order of the trials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedBlock {
    /// Number, from 1.
    pub block: u32,
    /// Seed of arrivals and fillers, the same for every trial of the block.
    pub seed: u64,
    /// Measured prompts in the order they are sent, the same for every trial of the block that has none of its own.
    pub prompts: Vec<PromptId>,
    /// The trials in the order they are executed.
    pub trials: Vec<PlannedTrial>,
}

impl PlannedBlock {
    /// The measured prompts of one of its trials, in the order they are sent.
    #[must_use]
    pub fn prompts_of<'b>(&'b self, trial: &'b PlannedTrial) -> &'b [PromptId] {
        trial.prompts.as_deref().unwrap_or(&self.prompts)
    }
}

/// One cell in one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedTrial {
    /// Position in the block, from 1.
    pub order: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Load put on it.
    pub load: LoadId,
    /// Prompts of its own in place of the block's, as many and as long: those of a copy that asks a server which has seen the
    /// block's already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<PromptId>>,
}

impl PlannedTrial {
    /// Name of a take of it (from 1) in a block, such as `b03-01-C7-c8-t1`: that of the take's folder.
    ///
    /// # Errors
    /// Where the variant's and the load's names are too long together.
    pub fn take_id(&self, block: u32, take: u32) -> Result<TrialId, IdError> {
        let Self {
            order, variant, load, ..
        } = self;
        TrialId::new(format!("b{block:02}-{order:02}-{variant}-{load}-t{take}"))
    }
}

/// What a run may take at most: checked against the prediction by the plan, and against the clock while the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest wall time, from the run's start.
    pub max_duration_ns: Option<WallNanos>,
    /// No block begins that would end later than this after the run's start, by the blocks before it; the run is complete then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_within_ns: Option<WallNanos>,
    /// Most money, in micro-US-dollars: wall time since the run's start × the declared price of the machine.
    pub max_cost_micro_usd: Option<u64>,
}

/// Everything that a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format version.
    pub v: V<1>,
    /// Name of the matrix.
    pub name: String,
    /// Where the numbers will come from.
    pub engine_kind: EngineKind,
    /// Version of the measuring method.
    pub method_version: u32,
    /// The one seed that all others are split from.
    pub seed: u64,
    /// The TOML files it was resolved from.
    pub sources: Vec<SourceFile>,
    /// Machine and model.
    pub profile: Profile,
    /// The engine under test.
    pub engine: EngineSpec,
    /// The measured prompts.
    pub prompts: PromptSetRef,
    /// The unmeasured prompts that hold the load.
    pub fillers: PromptSetRef,
    /// Order of the trials inside a block.
    pub order: BlockOrder,
    /// The loads.
    pub loads: Vec<NamedLoad>,
    /// The arms; the baseline first.
    pub variants: Vec<PlannedVariant>,
    /// What is asked of the model.
    pub output: OutputPolicy,
    /// What happens before the first measured request.
    pub warm_up: WarmUp,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits of validity.
    pub gates: Gates,
    /// Objectives.
    pub slo: Slo,
    /// The metric that Holm's correction protects.
    pub primary_metric: MetricName,
    /// Smallest effect that matters.
    pub delta: Margin,
    /// Family-wise error rate.
    pub alpha: Margin,
    /// Interval between telemetry samples, in engine time.
    pub telemetry_interval_ns: Nanos,
    /// How often a trial that the instrument made Invalid is taken again, at the end of its block. Never one that the engine
    /// or the setting made Invalid.
    #[serde(default)]
    pub retakes: u32,
    /// A load is ended where its first so many measured requests all fail; null: never.
    #[serde(default)]
    pub give_up_after: Option<NonZeroU32>,
    /// What a run does whose baseline keeps failing to start.
    #[serde(default)]
    pub on_repeated_failure: OnRepeatedFailure,
    /// What the run may take at most.
    pub limits: Limits,
    /// Predicted wall time of the whole run: an upper guess from token counts, not a measurement.
    pub predicted_wall_ns: Nanos,
    /// Predicted cost, where a price is declared and the engine is not simulated.
    pub predicted_cost_micro_usd: Option<u64>,
    /// Share of the blocks' prompts that the plan uses of the set, such as 1 for all.
    pub prompt_share_ratio: Ratio,
    /// The blocks in order.
    pub blocks: Vec<PlannedBlock>,
}

impl Plan {
    /// The variant of that name.
    #[must_use]
    pub fn variant(&self, id: &VariantId) -> Option<&PlannedVariant> {
        self.variants.iter().find(|v| &v.id == id)
    }

    /// The load of that name.
    #[must_use]
    pub fn load(&self, id: &LoadId) -> Option<&Load> {
        self.loads.iter().find(|l| &l.id == id).map(|l| &l.load)
    }

    /// What keeps this plan from being an earlier one that goes on, each with what it was and is; empty where it is one. Blocks may be
    /// added, and limits change; what follows from those, and the files it was written in, may differ.
    #[must_use]
    pub fn continues(&self, earlier: &Self) -> Vec<String> {
        let mut same = self.clone();
        same.limits = earlier.limits;
        same.sources.clone_from(&earlier.sources);
        same.predicted_wall_ns = earlier.predicted_wall_ns;
        same.predicted_cost_micro_usd = earlier.predicted_cost_micro_usd;
        same.prompt_share_ratio = earlier.prompt_share_ratio;
        if earlier.blocks.len() <= same.blocks.len() {
            same.blocks.truncate(earlier.blocks.len());
        }
        changes(earlier, &same)
    }

    /// Number of trials in all blocks.
    #[must_use]
    pub fn trial_count(&self) -> usize {
        self.blocks.iter().map(|b| b.trials.len()).sum()
    }
}
