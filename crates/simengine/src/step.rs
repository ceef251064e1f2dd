//! The engine's step loop in engine time: who is scheduled, how long the step lasts, what it yields. Pure: no clock, no sockets.
//!
//! Scheduler, KV cache, host tier and roofline are `inference-lab`'s. Its own driver (`simulation::Engine`) is not used,
//! because it cannot stop a request and draws every request's speculation from one distribution; with neither in play this
//! loop gives the same times to the last bit, which a test proves.

use std::collections::{BTreeMap, HashMap, VecDeque};

use inference_lab::compute::ComputeEngine;
use inference_lab::config::{
    ClusterSpec, LoadOverlap, MemoryConfig, ParallelConfig, PromoteFill, SchedulerConfig, StepCostModel, WritePolicy,
};
use inference_lab::kv_cache::{KVCacheManager, MemoryGraph, SharedMemoryGraph};
use inference_lab::request::Request;
use inference_lab::scheduler::{Scheduler, SchedulingPolicy};
use servelab_random::hash;

use crate::config::{EngineConfig, Ngram};
use crate::error::SimError;
use crate::host::StepOverhead;
use crate::profile::HOST_STORE;
use crate::speculation::Acceptance;
use crate::task::Task;

/// The scheduler's number of a request.
pub type RequestId = u64;

/// A request ready for the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its number, unique in a run.
    pub id: RequestId,
    /// When the scheduler may first see it, in engine seconds.
    pub ready_s: f64,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Tokens it will generate.
    pub output_tokens: u32,
    /// Cumulative content hashes of the prompt's whole blocks; empty when no cache may hold it.
    pub block_hashes: Vec<u64>,
    /// What it asks for (speculation succeeds by task).
    pub task: Task,
    /// Seed of its speculation.
    pub seed: u64,
}

/// What one step gives one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// The request.
    pub id: RequestId,
    /// Tokens it gets when the step ends.
    pub tokens: u32,
    /// Is this its last step?
    pub finished: bool,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Begin, in engine seconds.
    pub start_s: f64,
    /// End: when its tokens come out.
    pub end_s: f64,
    /// Tokens by request, in batch order.
    pub outputs: Vec<Output>,
    /// Requests that cannot ever fit the KV cache and end here without a token.
    pub rejected: Vec<RequestId>,
    /// Requests that were scheduled for the first time in this step.
    pub started: Vec<RequestId>,
    /// Positions computed.
    pub positions: u32,
    /// Draft lengths and accepted tokens of this step's verified drafts.
    pub drafts: Vec<(u32, u32)>,
}

/// Gauges and counters after the last step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gauges {
    /// Sequences in the batch set.
    pub running: usize,
    /// Sequences waiting.
    pub waiting: usize,
    /// Share of KV blocks in use, 0 to 1.
    pub kv_usage: f64,
    /// Preemptions so far.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache, and found.
    pub prefix_queries: u64,
    /// Prompt tokens found in the prefix cache.
    pub prefix_hits: u64,
}

#[derive(Debug)]
struct Live {
    acceptance: Acceptance,
    seed: u64,
    steps: u64,
    cancelled: bool,
    started: bool,
}

/// A ready time as a map key; engine seconds are finite.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ready(f64);

impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The step loop.
pub struct StepEngine {
    scheduler: Scheduler,
    compute: ComputeEngine,
    memory: SharedMemoryGraph,
    has_tiers: bool,
    overhead: StepOverhead,
    ngram: Option<Ngram>,
    /// Prompts are never split: a request waits here until a whole prompt fits the step's budget.
    hold_whole: bool,
    budget: u32,
    max_seqs: usize,
    arrivals: BTreeMap<(Ready, RequestId), Submission>,
    held: VecDeque<Submission>,
    live: HashMap<RequestId, Live>,
    /// The end of the step in progress.
    busy_until: Option<f64>,
    prefix_queries: u64,
    prefix_caching: bool,
}

impl std::fmt::Debug for StepEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepEngine")
            .field("live", &self.live.len())
            .field("busy_until", &self.busy_until)
            .finish_non_exhaustive()
    }
}

/// The scheduler settings and the cluster that `config` describes.
pub(crate) fn model_inputs(config: &EngineConfig) -> (ClusterSpec, SchedulerConfig) {
    let host_bytes = config.host_kv_bytes();
    let memory = MemoryConfig {
        tiers: if host_bytes > 0.0 {
            vec![HOST_STORE.to_owned()]
        } else {
            Vec::new()
        },
        // vLLM's native offloading stores every block as it is filled and loads it before the request runs.
        write: Some(WritePolicy::WriteThrough {}),
        promote_fill: Some(PromoteFill::Direct),
        load_overlap: Some(LoadOverlap::None),
        ..MemoryConfig::default()
    };
    let cluster = ClusterSpec {
        hardware: config.profile.hardware(host_bytes),
        parallel: ParallelConfig {
            tp: 1,
            ep: 1,
            dp_attention: false,
        },
        num_workers: 1,
        memory,
        step_cost: StepCostModel::Roofline,
    };
    let scheduler = SchedulerConfig {
        max_num_batched_tokens: config.max_num_batched_tokens,
        max_num_seqs: config.max_num_seqs,
        max_waiting: 0,
        policy: SchedulingPolicy::FCFS,
        enable_chunked_prefill: config.chunked_prefill,
        mix_prefill_with_decode: config.mixed_steps,
        overlap_schedule: false,
        prefill_delayer_max_passes: 0,
        idle_pass_s: 0.0,
        long_prefill_decode_interval: 0,
        long_prefill_min_tokens: u32::MAX,
        long_prefill_token_threshold: 0,
        max_num_partial_prefills: 1,
        block_size: config.block_size,
        gpu_memory_utilization: config.gpu_memory_utilization,
        kv_cache_capacity: config.kv_cache_bytes,
        max_model_len: Some(config.max_model_len),
        enable_preemption_free: false,
        enable_cascade_attention: false,
        balance_set: None,
    };
    (cluster, scheduler)
}

impl StepEngine {
    /// The loop for `config`, every step slowed by the factor `hidden` (1 = not).
    ///
    /// # Errors
    /// [`SimError::Model`] where the timing model refuses the configuration.
    pub fn new(config: &EngineConfig, hidden: f64) -> Result<Self, SimError> {
        let (cluster, settings) = model_inputs(config);
        cluster.validate().map_err(SimError::Model)?;
        let spec = config.profile.model_spec(config.weights, config.kv_fp8());
        let memory = MemoryGraph::build(
            &[&cluster],
            settings.block_size,
            KVCacheManager::content_curve(&spec, settings.block_size),
            None,
        )
        .map_err(SimError::Model)?
        .shared_handle();
        let policies = cluster.memory.policies();
        let has_tiers = !cluster.memory.tiers.is_empty();
        let mut cache = KVCacheManager::for_model(config.kv_cache_bytes, settings.block_size, &spec, true)
            .with_hbm_eviction(policies.hbm_eviction);
        if has_tiers {
            cache = cache.with_memory(memory.clone(), 0);
        }
        let scheduler = Scheduler::new(settings, cache)
            .with_source(policies.source, None)
            .with_prefetch(policies.prefetch)
            .with_hicache(policies.promote_fill, policies.storage_prefetch, policies.load_overlap);
        Ok(Self {
            scheduler,
            compute: cluster.compute_engine(spec),
            memory,
            has_tiers,
            overhead: StepOverhead::of(config, hidden),
            ngram: config.ngram,
            hold_whole: !config.chunked_prefill,
            budget: config.max_num_batched_tokens,
            max_seqs: usize::try_from(config.max_num_seqs).unwrap_or(usize::MAX),
            arrivals: BTreeMap::new(),
            held: VecDeque::new(),
            live: HashMap::new(),
            busy_until: None,
            prefix_queries: 0,
            prefix_caching: config.prefix_caching,
        })
    }

    /// Takes a request in; the scheduler sees it from `ready_s` on.
    pub fn submit(&mut self, submission: Submission) {
        self.live.insert(
            submission.id,
            Live {
                acceptance: Acceptance::of(submission.task),
                seed: submission.seed,
                steps: 0,
                cancelled: false,
                started: false,
            },
        );
        self.arrivals
            .insert((Ready(submission.ready_s), submission.id), submission);
    }

    /// Stops a request: it leaves the engine at the end of the step in progress, at the latest.
    pub fn cancel(&mut self, id: RequestId) {
        let before = self.arrivals.len() + self.held.len();
        self.arrivals.retain(|(_, a), _| *a != id);
        self.held.retain(|s| s.id != id);
        if self.arrivals.len() + self.held.len() < before {
            self.live.remove(&id);
        } else if let Some(live) = self.live.get_mut(&id) {
            live.cancelled = true;
        }
    }

    /// When something happens next without a new request: the end of the step in progress, the first arrival, or the end of
    /// a transfer that a request waits for.
    pub fn next_event_s(&mut self, now_s: f64) -> Option<f64> {
        if self.busy_until.is_some() {
            return self.busy_until;
        }
        if self.scheduler.num_running() > 0 {
            return Some(now_s);
        }
        let arrival = self.arrivals.keys().next().map(|(ready, _)| ready.0);
        let transfer = (self.has_tiers && self.scheduler.num_waiting() > 0)
            .then(|| self.memory.lock().ok()?.next_completion_delay().map(|d| now_s + d))
            .flatten();
        match (arrival, transfer) {
            (Some(a), Some(t)) => Some(a.min(t)),
            (a, t) => a.or(t),
        }
    }

    /// Is there anything left to do?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// Ends the step in progress, if any, and begins the next one at `now_s`. `None` when there is nothing to run now.
    pub fn advance(&mut self, now_s: f64) -> Option<Step> {
        self.busy_until = None;
        self.finish_cancelled(now_s);
        let mut rejected = Vec::new();
        // A pass that only preempted has changed the state: run it again (it cannot preempt twice in a row).
        for _ in 0..3 {
            self.take_arrivals(now_s);
            let decision = self.scheduler.schedule(now_s);
            for done in &decision.completed {
                if let Ok(id) = done.request_id.parse::<RequestId>() {
                    if done.rejected {
                        rejected.push(id);
                    }
                    self.live.remove(&id);
                }
            }
            if !decision.batch.is_empty() {
                let step = self.run(now_s, &decision.batch, rejected);
                self.scheduler.recycle_batch(decision.batch);
                self.busy_until = Some(step.end_s);
                return Some(step);
            }
            if decision.num_preempted == 0 {
                break;
            }
        }
        (!rejected.is_empty()).then(|| Step {
            start_s: now_s,
            end_s: now_s,
            outputs: Vec::new(),
            rejected,
            started: Vec::new(),
            positions: 0,
            drafts: Vec::new(),
        })
    }

    /// A running request that was cancelled is brought to its end, so that the next pass frees its blocks.
    fn finish_cancelled(&mut self, now_s: f64) {
        if !self.live.values().any(|l| l.cancelled) {
            return;
        }
        let ends: Vec<(usize, u32)> = self
            .scheduler
            .running()
            .iter()
            .enumerate()
            .filter(|(_, r)| {
                r.request_id
                    .parse()
                    .ok()
                    .and_then(|id: RequestId| self.live.get(&id))
                    .is_some_and(|l| l.cancelled)
            })
            .map(|(idx, r)| (idx, r.tokens_to_process()))
            .collect();
        for (idx, tokens) in ends {
            self.scheduler.record_progress(idx, tokens, now_s);
        }
    }

    fn take_arrivals(&mut self, now_s: f64) {
        while let Some(entry) = self.arrivals.first_entry() {
            if entry.key().0.0 > now_s {
                break;
            }
            self.held.push_back(entry.remove());
        }
        let mut room = if self.hold_whole { self.room() } else { u32::MAX };
        // Finished requests are still in the running set; they leave it before anything is scheduled.
        let unfinished = self.scheduler.running().iter().filter(|r| !r.is_finished()).count();
        let mut waiting = unfinished + self.scheduler.num_waiting();
        while let Some(first) = self.held.front() {
            // Without chunking a prompt enters only when it fits the rest of the step's budget whole.
            if self.hold_whole && (first.prompt_tokens > room || waiting >= self.max_seqs) {
                break;
            }
            room = room.saturating_sub(first.prompt_tokens);
            waiting += 1;
            let Some(s) = self.held.pop_front() else { break };
            let mut request = Request::new(s.id.to_string(), 0, s.ready_s, s.prompt_tokens, s.output_tokens);
            if self.prefix_caching {
                self.prefix_queries += u64::from(s.prompt_tokens);
            }
            request.prompt_block_hashes = s.block_hashes;
            self.scheduler.add_request_at(request, now_s);
        }
    }

    /// What the coming step's budget leaves for new prompts.
    fn room(&self) -> u32 {
        let mut room = self.budget;
        for r in self.scheduler.running().iter().filter(|r| !r.is_finished()) {
            let positions = if r.is_prefill() {
                r.tokens_to_process()
            } else {
                1 + r.pending_draft_len
            };
            room = room.saturating_sub(positions);
        }
        for r in self.scheduler.waiting() {
            room = room.saturating_sub(r.prefill_len());
        }
        room
    }

    fn run(&mut self, now_s: f64, batch: &[inference_lab::scheduler::ScheduledSeq], rejected: Vec<RequestId>) -> Step {
        let running = self.scheduler.running();
        let mut requests = Vec::with_capacity(batch.len());
        let mut tokens = Vec::with_capacity(batch.len());
        let mut plan = Vec::with_capacity(batch.len());
        let mut drafts = Vec::new();
        for seq in batch {
            let Some(request) = running.get(seq.idx) else { continue };
            let advance = if request.is_prefill() {
                seq.num_tokens
            } else {
                let draft = seq.num_tokens.saturating_sub(1);
                let accepted = request.pending_round_commits.unwrap_or(0).min(draft);
                if draft > 0 {
                    drafts.push((draft, accepted));
                }
                1 + accepted
            };
            requests.push(request);
            tokens.push(seq.num_tokens);
            plan.push((seq.idx, advance, request.request_id.parse::<RequestId>().ok()));
        }
        let gpu_s = self.compute.step_cost(&requests, &tokens).time;
        let sequences = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let end_s = now_s + self.overhead.step_s(gpu_s, sequences);

        let mut outputs = Vec::with_capacity(plan.len());
        let mut started = Vec::new();
        for (idx, advance, id) in plan {
            let produced = self.scheduler.record_progress(idx, advance, end_s);
            let Some(id) = id else { continue };
            if let Some(live) = self.live.get_mut(&id).filter(|l| !l.started) {
                live.started = true;
                started.push(id);
            }
            if produced > 0 {
                let finished = self.scheduler.running().get(idx).is_some_and(Request::is_finished);
                outputs.push(Output {
                    id,
                    tokens: produced,
                    finished,
                });
            }
        }
        self.plan_drafts();
        Step {
            start_s: now_s,
            end_s,
            outputs,
            rejected,
            started,
            positions: tokens.iter().sum(),
            drafts,
        }
    }

    /// Draws the next step's draft for every sequence that decodes.
    fn plan_drafts(&mut self) {
        let Some(ngram) = self.ngram else { return };
        let mut plans = Vec::new();
        for r in self
            .scheduler
            .running()
            .iter()
            .filter(|r| !r.is_prefill() && !r.is_finished())
        {
            let draft = r
                .request_id
                .parse()
                .ok()
                .and_then(|id: RequestId| self.live.get_mut(&id))
                .map(|live| {
                    live.steps += 1;
                    live.acceptance
                        .draft(ngram.tokens, hash::mix_all(&[live.seed, live.steps]))
                });
            let (length, accepted) = draft.unwrap_or((0, 0));
            plans.push((length, Some(accepted)));
        }
        self.scheduler.set_draft_plans(&plans);
    }

    /// Gauges after the last step.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let cache = self.scheduler.kv_cache_manager();
        Gauges {
            running: self.scheduler.num_running(),
            waiting: self.scheduler.num_waiting() + self.held.len() + self.arrivals.len(),
            kv_usage: cache.utilization(),
            preemptions: self.scheduler.num_preemptions(),
            prefix_queries: self.prefix_queries,
            prefix_hits: if self.prefix_caching {
                cache.prefix_cache_stats().hit_size_sum
            } else {
                0
            },
        }
    }
}

/// Cumulative hashes of the whole blocks of `tokens`, salted: block n's hash covers everything up to its end.
#[must_use]
pub fn block_hashes(tokens: &[u32], block_size: u32, salt: u64) -> Vec<u64> {
    let size = usize::try_from(block_size).unwrap_or(usize::MAX).max(1);
    let mut running = hash::mix(salt);
    tokens
        .chunks_exact(size)
        .map(|block| {
            for t in block {
                running = hash::mix(running ^ u64::from(*t));
            }
            running
        })
        .collect()
}
