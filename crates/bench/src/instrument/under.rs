//! Under which load the error of the times is measured: that of a plan, as its wall time has it.
//!
//! What the plan says is taken from it: the heaviest load, the sizes of its requests, the tokens of its answers, its time
//! scale. What nobody knows before the run, the engine's own times, is taken to be short, since more chunks a second are
//! harder: [`ENGINE_TTFT`] and [`ENGINE_ITL`] of engine time. The certificate records all of it.

use super::InstrumentError;
use servelab_load::bench::body::{Asking, Text};
use servelab_schema::{Load, Plan, Rate};
use std::{collections::HashMap, fs, num::NonZeroU32, path::Path, time::Duration};

/// Size of a request of ordinary length, in bytes.
pub const USUAL_BODY_BYTES: u32 = 820;

/// Time to the first token, and between two, that an engine is taken to have in engine time, and the most of wall time that
/// either is measured with: a scale of 20 makes 10 ms and 2 ms of them.
const ENGINE_TTFT: Duration = Duration::from_millis(200);
const ENGINE_ITL: Duration = Duration::from_millis(40);
const LONGEST_TTFT: Duration = Duration::from_millis(50);
const LONGEST_ITL: Duration = Duration::from_millis(10);

/// Longest answer that is asked for: 5 s at [`LONGEST_ITL`], beyond which the length changes nothing but the wait.
const MOST_CHUNKS: u32 = 512;
/// Most sizes of requests that are kept.
const MOST_SIZES: usize = 256;
/// A slower open loop is measured at this rate, so that its requests do not take a minute to arrive.
const LEAST_RATE_PER_S: f64 = 10.0;
/// Requests of an open loop at least.
const LEAST_OPEN_REQUESTS: f64 = 20.0;
/// How long the error is measured where the load allows it.
const ERROR_TIME_S: f64 = 1.0;
/// Answers longer than this come once in each slot of a closed loop, shorter ones twice.
const LONG_ANSWER_S: f64 = 2.0;

/// The load under which the error is measured, and how the server answers it. All times and rates are of the wall.
#[derive(Debug, Clone, PartialEq)]
pub struct Under {
    /// Closed or open loop.
    pub load: Load,
    /// Engine seconds per wall second of the plan that this stands for; 1 where there is none.
    pub time_scale: NonZeroU32,
    /// Sizes of the requests' bodies, bytes, used in turn.
    pub request_bytes: Vec<u32>,
    /// Token chunks of each answer.
    pub chunks: NonZeroU32,
    /// From the request to its first token.
    pub ttft: Duration,
    /// Between two tokens.
    pub itl: Duration,
}

impl Default for Under {
    fn default() -> Self {
        Self {
            load: Load::Closed {
                concurrency: NonZeroU32::MIN.saturating_add(31),
            },
            time_scale: NonZeroU32::MIN,
            request_bytes: vec![USUAL_BODY_BYTES],
            chunks: NonZeroU32::MIN.saturating_add(15),
            ttft: LONGEST_TTFT,
            itl: LONGEST_ITL,
        }
    }
}

/// What one request of a plan is, as far as the instrument feels it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    body_bytes: u32,
    tokens: NonZeroU32,
}

impl Under {
    /// The load of a plan whose prompt files lie in the folder `project`.
    ///
    /// # Errors
    /// [`InstrumentError::Prompts`] where its prompt file cannot be read.
    pub fn plan(plan: &Plan, project: &Path) -> Result<Self, InstrumentError> {
        Ok(Self::of(plan, &asked(plan, project)?))
    }

    fn of(plan: &Plan, asked: &[Asked]) -> Self {
        let time_scale = plan.engine.time_scale().get();
        let scale = time_scale.get();
        let wall = |time: Duration, most: Duration| time.checked_div(scale).unwrap_or(time).min(most);
        let tokens: u64 = asked.iter().map(|a| u64::from(a.tokens.get())).sum();
        let requests = u64::try_from(asked.len()).unwrap_or(u64::MAX);
        let mean = tokens.checked_div(requests).and_then(|mean| u32::try_from(mean).ok());
        let usual = Self::default();
        let chunks = mean.and_then(|mean| NonZeroU32::new(mean.min(MOST_CHUNKS)));
        let mut under = Self {
            load: usual.load,
            time_scale,
            request_bytes: asked.iter().map(|a| a.body_bytes).collect(),
            chunks: chunks.unwrap_or(usual.chunks),
            ttft: wall(ENGINE_TTFT, LONGEST_TTFT),
            itl: wall(ENGINE_ITL, LONGEST_ITL),
        };
        let answer_s = under.answer_s();
        let weight = |load: &Load| match load {
            Load::Closed { concurrency } => f64::from(concurrency.get()),
            // As many streams as answers hold in flight.
            Load::Open { rate_per_s, .. } => rate_per_s.get() * answer_s,
        };
        let loads = plan.loads.iter().map(|named| in_wall_time(named.load, scale));
        if let Some(heaviest) = loads.max_by(|a, b| weight(a).total_cmp(&weight(b))) {
            under.load = heaviest;
        }
        under
    }

    /// How long the server takes for an answer.
    fn answer_s(&self) -> f64 {
        self.ttft.as_secs_f64() + self.itl.as_secs_f64() * f64::from(self.chunks.get().saturating_sub(1))
    }

    /// Requests that fill the time for the error, but each slot of a closed loop once at least (twice where answers are
    /// short), and enough of an open loop for a percentile.
    pub(crate) fn requests(&self) -> u32 {
        let answer_s = self.answer_s();
        let (least, rate) = match self.load {
            Load::Closed { concurrency } => {
                let streams = f64::from(concurrency.get());
                let rounds = if answer_s > LONG_ANSWER_S { 1.0 } else { 2.0 };
                (rounds * streams, streams / answer_s.max(1e-3))
            }
            Load::Open { rate_per_s, .. } => (LEAST_OPEN_REQUESTS, rate_per_s.get()),
        };
        super::whole((rate * ERROR_TIME_S).max(least).min(20_000.0))
    }

    /// Mean and largest body of the first `requests` requests, bytes.
    pub(crate) fn body_bytes(&self, requests: u32) -> (u32, u32) {
        let sent = usize::try_from(requests).unwrap_or(usize::MAX);
        let sizes = || self.request_bytes.iter().cycle().take(sent).copied();
        let sum: u64 = sizes().map(u64::from).sum();
        let mean = sum.checked_div(u64::from(requests)).and_then(|m| u32::try_from(m).ok());
        (mean.unwrap_or(0), sizes().max().unwrap_or(0))
    }
}

/// A load of engine time as the client feels it.
fn in_wall_time(load: Load, scale: u32) -> Load {
    match load {
        Load::Closed { .. } => load,
        Load::Open { rate_per_s, arrivals } => {
            let rate = (rate_per_s.get() * f64::from(scale)).max(LEAST_RATE_PER_S);
            Load::Open {
                rate_per_s: Rate::new(rate).unwrap_or(rate_per_s),
                arrivals,
            }
        }
    }
}

/// The requests of the plan's first block in their order: a block has prompts of every length in random order.
fn asked(plan: &Plan, project: &Path) -> Result<Vec<Asked>, InstrumentError> {
    let path = project.join(&plan.prompts.path);
    let fail = |why: String| InstrumentError::Prompts {
        path: path.clone(),
        why: format!("{why}; build the prompts again"),
    };
    let text = fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
    let asking = Asking::chat(&plan.engine.served_model, plan.output);
    let mut all = HashMap::new();
    for (n, line) in text.lines().enumerate() {
        let at = |e: String| fail(format!("line {}: {e}", n + 1));
        let prompt = plan.prompts.row(line).map_err(|e| at(e.to_string()))?;
        let body = asking.body(&Text::Messages(prompt.messages), prompt.max_new_tokens);
        let body = body.map_err(|e| at(e.to_string()))?;
        let asked = Asked {
            body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            tokens: prompt.max_new_tokens,
        };
        all.insert(prompt.id, asked);
    }
    let first = plan
        .blocks
        .first()
        .map(|block| block.prompts.as_slice())
        .unwrap_or_default();
    Ok(first
        .iter()
        .filter_map(|id| all.get(id).copied())
        .take(MOST_SIZES)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Arrivals, NamedLoad, Provider, examples};

    fn closed(n: u32) -> Load {
        Load::Closed {
            concurrency: NonZeroU32::new(n).unwrap(),
        }
    }

    fn open(rate: f64) -> Load {
        Load::Open {
            rate_per_s: Rate::new(rate).unwrap(),
            arrivals: Arrivals::Poisson,
        }
    }

    fn plan(scale: u32, loads: &[Load]) -> Plan {
        let mut plan = examples::plan();
        let first = plan.loads[0].clone();
        plan.loads = loads
            .iter()
            .map(|load| NamedLoad {
                load: *load,
                ..first.clone()
            })
            .collect();
        plan.engine.provider = Provider::Sim {
            time_scale: NonZeroU32::new(scale).unwrap(),
            seed: 1,
            tokenizer: "t".to_owned(),
            extra_args: Vec::new(),
        };
        plan
    }

    fn asked(sizes: &[(u32, u32)]) -> Vec<Asked> {
        let one = |(body_bytes, tokens): &(u32, u32)| Asked {
            body_bytes: *body_bytes,
            tokens: NonZeroU32::new(*tokens).unwrap(),
        };
        sizes.iter().map(one).collect()
    }

    #[test]
    fn the_heaviest_load_of_a_plan_is_certified() {
        let check = |loads: &[Load], expected| {
            let of = Under::of(&plan(1, loads), &asked(&[(900, 20)]));
            assert_eq!(of.load, expected);
        };
        check(&[closed(4), closed(64), closed(8)], closed(64));
        check(&[closed(4), open(300.0)], open(300.0));
        check(&[closed(400), open(300.0)], closed(400));
        check(&[open(2.0)], open(10.0));
    }

    /// 20 times faster than life: requests and tokens come 20 times as fast.
    #[test]
    fn a_time_scale_shortens_the_times_and_raises_the_rate() {
        let of = Under::of(&plan(20, &[open(5.0)]), &asked(&[(900, 20)]));
        assert_eq!((of.load, of.time_scale.get()), (open(100.0), 20));
        assert_eq!((of.ttft, of.itl), (Duration::from_millis(10), Duration::from_millis(2)));
        let of = Under::of(&plan(1, &[closed(1)]), &asked(&[(900, 20)]));
        assert_eq!((of.ttft, of.itl), (LONGEST_TTFT, LONGEST_ITL));
    }

    #[test]
    fn requests_are_as_large_and_answers_as_long_as_the_plans() {
        let of = Under::of(&plan(1, &[closed(2)]), &asked(&[(900, 20), (40_000, 60)]));
        assert_eq!(of.chunks.get(), 40);
        assert_eq!(of.request_bytes, [900, 40_000]);
        assert_eq!(of.body_bytes(3), (13_933, 40_000));
        assert_eq!(of.body_bytes(1), (900, 900), "what was not sent does not count");
        let long = Under::of(&plan(1, &[closed(2)]), &asked(&[(900, 9_000)]));
        assert_eq!(long.chunks.get(), MOST_CHUNKS);
        assert_eq!(long.requests(), 2, "once in each slot");
    }

    #[test]
    fn a_measurement_is_long_enough_and_short() {
        let under = |load| Under {
            load,
            ..Under::default()
        };
        assert_eq!(under(closed(32)).requests(), 160, "one second of 200 ms answers");
        assert_eq!(under(closed(1)).requests(), 5);
        assert_eq!(under(open(300.0)).requests(), 300);
        assert_eq!(under(open(10.0)).requests(), 20, "two seconds");
        let slow = Under {
            itl: Duration::from_millis(100),
            ..under(closed(100))
        };
        assert_eq!(slow.requests(), 200, "two rounds");
    }

    #[test]
    fn sizes_come_from_the_prompt_file() {
        let dir = tempfile::tempdir().unwrap();
        let plan = examples::plan();
        let missing = Under::plan(&plan, dir.path()).unwrap_err().to_string();
        assert!(
            missing.contains(&plan.prompts.path) && missing.contains("build the prompts"),
            "{missing}"
        );
        let path = dir.path().join(&plan.prompts.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut rows = String::new();
        for (n, id) in plan.blocks[0].prompts.iter().enumerate() {
            let mut prompt = examples::prompt();
            prompt.id = id.clone();
            prompt.messages[0].content = "x".repeat(1000 * (n + 1));
            rows += &(serde_json::to_string(&prompt).unwrap() + "\n");
        }
        fs::write(&path, rows).unwrap();
        let under = Under::plan(&plan, dir.path()).unwrap();
        assert_eq!(under.request_bytes.len(), plan.blocks[0].prompts.len());
        assert!(
            under.request_bytes[0] > 1000 && under.request_bytes[0] < 1500,
            "{under:?}"
        );
        assert_eq!(under.chunks, examples::prompt().max_new_tokens);
        fs::write(&path, "{}\n").unwrap();
        let broken = Under::plan(&plan, dir.path()).unwrap_err().to_string();
        assert!(broken.contains("line 1"), "{broken}");
    }
}
