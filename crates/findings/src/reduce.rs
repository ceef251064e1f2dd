//! One trial's traces go by and leave a small record: 48 bytes a measured request, and what its figures are made of.

use crate::{
    gates::Work,
    gpu::Gpus,
    groups::Grouping,
    metrics::Measuring,
    quality::answer_found,
    request::{Request, UNKNOWN_PROMPT},
    timeline::Moments,
    triangulation::ClientView,
};
use servelab_schema::{
    Bucket, Completion, EngineRecord, EnvironmentRecord, GpuFacts, Nanos, Outcome, Plan, PromptId, Reason, Slo, Task,
    TelemetrySample, Trace, TrialRecord,
    findings::{FailureWords, GroupMetrics, NoTriangle, TimeOutside, Timeline, TrialGpus, TrialMetrics},
};
use std::collections::{BTreeMap, HashMap};

/// Different words of failed requests that are kept of a trial.
const MOST_WORDS: usize = 60;

/// The prompts of a plan by name: their place, group and known answer.
#[derive(Debug)]
pub struct Prompts<'p> {
    places: HashMap<&'p PromptId, u32>,
    /// None for a prompt of no group.
    groups: Vec<Option<(Task, Bucket)>>,
    answers: HashMap<&'p PromptId, &'p str>,
}

impl<'p> Prompts<'p> {
    /// The measured prompts of a plan; answers of its fillers are known too.
    #[must_use]
    pub fn of(plan: &'p Plan) -> Self {
        let measured = &plan.prompts.prompts;
        let all = measured.iter().chain(&plan.fillers.prompts);
        Self {
            places: (0..).zip(measured).map(|(place, p)| (&p.id, place)).collect(),
            groups: measured.iter().map(|p| p.task.zip(p.bucket)).collect(),
            answers: all.filter_map(|p| Some((&p.id, p.answer.as_deref()?))).collect(),
        }
    }

    /// Whether the prompt's known answer is in an attempt's text; none where no text was kept or no answer is known.
    #[must_use]
    pub fn answer_found(&self, trace: &Trace) -> Option<bool> {
        let text = trace.completion().and_then(Completion::text)?;
        answer_found(text, self.answers.get(&trace.prompt_id)?)
    }

    fn place(&self, id: &PromptId) -> u32 {
        self.places.get(id).copied().unwrap_or(UNKNOWN_PROMPT)
    }

    pub(crate) fn group(&self, place: u32) -> Option<(Task, Bucket)> {
        self.groups.get(usize::try_from(place).ok()?).copied()?
    }
}

/// A trial whose traces have gone by: everything that [`evaluate`](crate::evaluate()) needs of it.
#[derive(Debug)]
pub struct Trial {
    /// What happened.
    pub record: TrialRecord,
    /// What its engine showed.
    pub engine: EngineRecord,
    pub(crate) metrics: Option<TrialMetrics>,
    pub(crate) groups: Vec<GroupMetrics>,
    pub(crate) requests: Vec<Request>,
    pub(crate) outside: Result<TimeOutside, NoTriangle>,
    pub(crate) gpus: Option<TrialGpus>,
    pub(crate) gpu_note: Option<String>,
    pub(crate) failure_words: Vec<FailureWords>,
    pub(crate) timeline: Timeline,
    pub(crate) kv_used: Vec<f64>,
    pub(crate) median_ttft: Option<Nanos>,
    pub(crate) median_generation: Option<Nanos>,
    pub(crate) prompt_token_mismatches: u32,
    pub(crate) work: Option<Work>,
}

impl Trial {
    /// True where its engine was sent any request: a start that never served shows nothing of its setting.
    pub(crate) const fn served(&self) -> bool {
        self.record.span.is_some()
    }
}

/// A trial while its traces go by.
#[derive(Debug)]
pub struct Reducer<'p> {
    prompts: &'p Prompts<'p>,
    record: TrialRecord,
    engine: EngineRecord,
    telemetry: Vec<TelemetrySample>,
    measuring: Measuring,
    grouping: Grouping,
    client: ClientView,
    gpus: Option<Gpus>,
    moments: Moments,
    words: BTreeMap<(Reason, Option<u16>, String), u32>,
    prompt_token_mismatches: u32,
    attempts: u64,
    chunks: u64,
}

impl<'p> Reducer<'p> {
    /// A trial with its records and telemetry; its traces follow. `gpus` are the facts of environment.json.
    #[must_use]
    pub fn new(
        prompts: &'p Prompts<'p>,
        slo: Slo,
        gpus: &[GpuFacts],
        record: TrialRecord,
        engine: EngineRecord,
        telemetry: Vec<TelemetrySample>,
    ) -> Self {
        Self {
            gpus: record.held.and_then(|held| Gpus::of(gpus, held, &telemetry)),
            measuring: Measuring::new(record.held, slo),
            prompts,
            record,
            engine,
            telemetry,
            grouping: Grouping::default(),
            client: ClientView::default(),
            moments: Moments::default(),
            words: BTreeMap::new(),
            prompt_token_mismatches: 0,
            attempts: 0,
            chunks: 0,
        }
    }

    /// One attempt, in the order of `traces.jsonl`. `answer_found` is [`Prompts::answer_found`], or what was kept of it.
    pub fn add(&mut self, trace: &Trace, answer_found: Option<bool>) {
        let place = self.prompts.place(&trace.prompt_id);
        self.measuring.add(trace, place, answer_found);
        if let Some(group) = self.prompts.group(place).filter(|_| trace.measured) {
            self.grouping.add(group, self.record.held, trace);
        }
        self.client.add(trace);
        self.moments.add(trace);
        if let Some(gpus) = &mut self.gpus {
            gpus.add(trace);
        }
        self.attempts += 1;
        match &trace.outcome {
            Outcome::Completed(c) => self.chunks += u64::try_from(c.chunks().len()).unwrap_or_default(),
            Outcome::Failed(f) => {
                self.prompt_token_mismatches += u32::from(f.reason == Reason::PromptTokenMismatch);
                if trace.measured {
                    let key = (f.reason, f.http_status, f.detail.clone());
                    *self.words.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// What is left of the trial.
    #[must_use]
    pub fn finish(mut self) -> Trial {
        // They are kept until the run is evaluated, and what they grew into by doubling need not be.
        self.measuring.requests.shrink_to_fit();
        let held = self.record.held;
        let metrics = self.measuring.metrics();
        let groups = held.map(|held| {
            let group = |place| self.prompts.group(place);
            self.grouping.metrics(held, &self.measuring.requests, group)
        });
        let in_window = |s: &&TelemetrySample| held.is_some_and(|w| s.t_ns >= w.start_ns && s.t_ns <= w.end_ns);
        let inside = self.telemetry.iter().filter(in_window);
        let output_tokens = self.measuring.inside.known().map(|(tokens, _)| tokens);
        Trial {
            metrics,
            groups: groups.unwrap_or_default(),
            outside: self.client.against(self.engine.metrics.as_ref()),
            gpus: self.gpus.map(|gpus| gpus.finish(output_tokens)),
            gpu_note: self.telemetry.iter().find_map(|s| s.gpu_note.clone()),
            failure_words: most_frequent(self.words),
            kv_used: inside.filter_map(|s| s.kv_cache_used_ratio.map(|r| r.get())).collect(),
            timeline: self.moments.timeline(&self.telemetry),
            median_ttft: self.measuring.median_ttft(),
            median_generation: self.measuring.median_generation(),
            prompt_token_mismatches: self.prompt_token_mismatches,
            work: self
                .record
                .span
                .and_then(|span| Work::over(span, self.attempts, self.chunks)),
            requests: self.measuring.requests,
            record: self.record,
            engine: self.engine,
        }
    }
}

/// One take, read row by row: what its figures are made of. The one way from rows to a [`Trial`], wherever they lie; each
/// trace comes with its [`Prompts::answer_found`], or with what was kept of it.
///
/// # Errors
/// The first row that did not read: telemetry first, then traces in their order.
pub fn reduce<E>(
    prompts: &Prompts<'_>,
    (plan, environment): (&Plan, &EnvironmentRecord),
    (record, engine): (TrialRecord, EngineRecord),
    telemetry: impl IntoIterator<Item = Result<TelemetrySample, E>>,
    traces: impl IntoIterator<Item = Result<(Trace, Option<bool>), E>>,
) -> Result<Trial, E> {
    let telemetry = telemetry.into_iter().collect::<Result<Vec<_>, E>>()?;
    let mut reducer = Reducer::new(prompts, plan.slo, &environment.gpus, record, engine, telemetry);
    for row in traces {
        let (trace, answer_found) = row?;
        reducer.add(&trace, answer_found);
    }
    Ok(reducer.finish())
}

fn most_frequent(words: BTreeMap<(Reason, Option<u16>, String), u32>) -> Vec<FailureWords> {
    let mut all: Vec<FailureWords> = words
        .into_iter()
        .map(|((reason, http_status, detail), requests)| FailureWords {
            reason,
            http_status,
            detail,
            requests,
        })
        .collect();
    // The order of words decides among equally frequent ones, so that the same trial always keeps the same.
    all.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.cmp(b)));
    all.truncate(MOST_WORDS);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{engine, failed, plan, record, reduce};
    use servelab_schema::Failure;

    #[test]
    fn of_many_words_of_failures_the_most_frequent_are_kept() {
        let said = |words: &str| Trace {
            outcome: Outcome::Failed(Failure::new(Reason::ErrorEvent, None, words, Nanos(5))),
            ..failed("p", 0, Reason::ErrorEvent)
        };
        let mut traces: Vec<Trace> = (0..=MOST_WORDS).map(|i| said(&format!("w{i:02}"))).collect();
        traces.extend(["often", "often"].map(said));
        let kept = |traces: &[Trace]| {
            let found = reduce(&plan(&[]), record("C1", 1), engine("C1", 1), &[], traces).failure_words;
            found.into_iter().map(|w| (w.detail, w.requests)).collect::<Vec<_>>()
        };
        let words = kept(&traces);
        assert_eq!(words.len(), MOST_WORDS);
        assert_eq!(words[0], ("often".to_owned(), 2));
        // The others are equally frequent: the last two of the alphabet go, in whatever order the requests came.
        assert_eq!(words.last(), Some(&("w58".to_owned(), 1)));
        traces.reverse();
        assert_eq!(kept(&traces), words);
    }
}
