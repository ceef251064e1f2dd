//! The answer of a re-run as one document: what `servelab rerun --format json` prints, and what its Markdown and JUnit are made of.

use crate::{Overall, Settled, overall, stages};
use serde::Serialize;
use servelab_schema::{
    EngineKind, MetricName, Pin, PinName, RunId, Sha256Hex,
    findings::{Change, ChangeOf, ChangeVerdict, Unlike, WorseBy},
};

/// A run that the answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunShown {
    /// Its name.
    pub run_id: RunId,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// Versions that its engines said.
    pub engine_versions: Vec<String>,
}

/// What a re-run says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RerunReport {
    /// The pin.
    pub pin: PinName,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// What it came to.
    pub answer: Overall,
    /// The metric that decides.
    pub metric: MetricName,
    /// The smallest change that matters, per cent.
    pub delta_percent: f64,
    /// The pinned run.
    pub pinned: RunShown,
    /// The re-run.
    pub run: RunShown,
    /// The run of the suspects; null where there was none.
    pub again: Option<RunShown>,
    /// Every question of the metric that decides, with its answer.
    pub questions: Vec<Settled>,
    /// The other metrics, which decide nothing.
    pub exploratory: Vec<Change>,
}

impl RerunReport {
    /// Of the settled questions, and the changes of the first stage.
    #[must_use]
    pub fn new(pin: &Pin, run: RunShown, again: Option<RunShown>, questions: Vec<Settled>, changes: &[Change]) -> Self {
        Self {
            pin: pin.name.clone(),
            engine_kind: pin.engine_kind,
            answer: overall(&questions),
            metric: stages::metric(&pin.plan),
            delta_percent: pin.plan.delta.get() * 100.0,
            pinned: RunShown {
                run_id: pin.run_id.clone(),
                fingerprint: pin.fingerprint.clone(),
                engine_versions: pin.engine_versions.clone(),
            },
            run,
            again,
            questions,
            exploratory: changes.iter().filter(|c| !c.primary).cloned().collect(),
        }
    }

    /// True where no machine gave the numbers.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.engine_kind == EngineKind::Simulated
    }

    /// The answer in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let word = self.answer.as_str();
        let (pin, of) = (&self.pin, self.questions.len());
        let count = |answers: &[crate::Answer]| self.questions.iter().filter(|q| answers.contains(&q.answer)).count();
        let said = match self.answer {
            Overall::Worse => format!("{} of {of} questions are worse", count(&[crate::Answer::Worse])),
            Overall::NoEvidence => {
                let open = [
                    crate::Answer::NoEvidence,
                    crate::Answer::NotComparable,
                    crate::Answer::OtherMachine,
                ];
                format!("{} of {of} questions are not decided, none is worse", count(&open))
            }
            Overall::Better => format!(
                "{} of {of} questions are better, the others the same",
                count(&[crate::Answer::Better])
            ),
            Overall::Same => format!("all {of} questions are answered within ±{} %", self.delta_percent),
        };
        let simulated = if self.is_simulated() { " (SIMULATED)" } else { "" };
        format!("{pin}{simulated}: {word}; {said}")
    }
}

/// What a question is, in words: `C5 c8 relative`.
pub(crate) fn asked(change: &Change) -> String {
    format!("{} {} {}", change.variant, change.load, change.of)
}

/// The change with its interval: `-4.8 % [-6.1, -3.4]`; a dash where there is none.
#[must_use]
pub fn effect(change: &Change) -> String {
    change.estimate.map_or_else(
        || "–".to_owned(),
        |e| {
            format!(
                "{:+.1} % [{:+.1}, {:+.1}]",
                e.change_percent, e.interval_percent.low, e.interval_percent.high
            )
        },
    )
}

/// What a side was: a value in the metric's unit with its blocks, or an effect.
#[must_use]
pub fn side(change: &Change, side: &servelab_schema::findings::ChangeSide) -> String {
    match (side.value, change.of) {
        (None, _) => "–".to_owned(),
        (Some(value), ChangeOf::Absolute) => format!("{} {} (n {})", digits(value), change.metric.unit(), side.n),
        (Some(value), ChangeOf::Relative) => format!("{value:+.1} % (n {})", side.n),
    }
}

/// Four digits that count.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 1000.0 => 0,
        x if x >= 100.0 => 1,
        x if x >= 10.0 => 2,
        x if x >= 1.0 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// Why the word is what it is, where the numbers do not say it.
#[must_use]
pub fn why(settled: &Settled) -> String {
    let change = settled.decisive();
    let mut words: Vec<String> = Vec::new();
    match &change.verdict {
        ChangeVerdict::NotComparable { why } => words.extend(why.iter().map(unlike)),
        ChangeVerdict::NoEvidence {
            withheld: Some(withheld),
            ..
        } => words.push(format!("withheld: {withheld:?}").to_lowercase()),
        ChangeVerdict::NoEvidence {
            starts_to_show: Some(n),
            ..
        } => words.push(format!("{n} blocks would show a change of that size")),
        ChangeVerdict::Worse {
            by: WorseBy::LostBlocks,
        } => {
            words.extend(change.losses.map(|l| {
                format!(
                    "the engine lost {} of {} blocks, {} of {} then",
                    l.new_lost, l.new_of, l.old_lost, l.old_of
                )
            }));
        }
        _ => {}
    }
    if change.indicative && !matches!(change.verdict, ChangeVerdict::NotComparable { .. }) {
        words.push(format!(
            "only a hint of {}: fewer than 6 blocks, or an early end",
            change.verdict.as_str()
        ));
    }
    if settled.again.is_some() {
        words.push("a suspect, looked at again in fresh blocks".to_owned());
    } else if settled.suspect {
        words.push("a suspect that was not looked at again".to_owned());
    }
    words.join("; ")
}

fn unlike(u: &Unlike) -> String {
    match u {
        Unlike::Differs { what, old, new } => format!("{} differ: {old} then, {new} now", what.as_str()),
        Unlike::EnginesLiveOn => "engines lived on from block to block".to_owned(),
        Unlike::TooFewBlocks { old, new } => format!("too few blocks: {old} then, {new} now"),
        Unlike::LostToEngine { old, new } => format!("blocks lost to the engine could turn it: {old} then, {new} now"),
    }
}
