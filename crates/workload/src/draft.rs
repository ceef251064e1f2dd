//! Decides, one prompt after another, which text each prompt gets. Nothing here depends on threads.

use crate::{
    WorkloadError,
    config::{BucketRange, Config, SetConfig, TaskConfig},
    lengths::log_uniform,
    pool::{Piece, Pool, split},
    records::{Dataset, Question},
    template::{Fields, PromptTemplate},
};
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_random::HashStream;
use std::collections::BTreeMap;

/// A prompt whose text is chosen and whose distractor is still too long.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// Whether this is one of the fillers.
    pub(crate) filler: bool,
    /// Index into the configuration's tasks and buckets.
    pub(crate) task: usize,
    pub(crate) bucket: usize,
    pub(crate) target: u32,
    pub(crate) case: u32,
    pub(crate) primary: Piece,
    pub(crate) question: Option<Question>,
    pub(crate) distractors: Vec<Piece>,
}

/// Prompts of a build have a case number of four digits.
const CASES: std::ops::Range<u32> = 1000..10_000;

/// Tokens of the text around the sections, a little more than any title and field need.
fn overhead(template: &PromptTemplate, chat: &ChatTokenizer) -> Result<usize, WorkloadError> {
    let fields = Fields {
        case: 1000,
        title: "Sense and Sensibility, Volume III, Chapter XLVIII",
        field: "Manpower available for military service",
        country: "Papua New Guinea",
        speaker: "A",
        ..Fields::default()
    };
    Ok(chat.count_chat(&[ChatMessage::user(&template.render(fields)?)])?)
}

struct Slot {
    filler: bool,
    bucket: usize,
    target: u32,
}

fn slots(config: &Config, task: &TaskConfig, set: &SetConfig, filler: bool) -> Vec<Slot> {
    let of_bucket = |(bucket, range): (usize, &BucketRange)| {
        let name = format!("lengths/{}/{}/{}", set.id, task.task, range.bucket);
        let n = usize::try_from(set.per_cell).unwrap_or(0);
        let targets = log_uniform(
            n,
            range.shortest,
            range.longest,
            &mut HashStream::new(config.seed, &name),
        );
        targets.into_iter().map(move |target| Slot { filler, bucket, target })
    };
    (0..).zip(&config.buckets).flat_map(of_bucket).collect()
}

/// Chooses the text of every prompt, in the order tasks × (fillers, then the measured ones, longest first).
pub(crate) fn choose(
    config: &Config,
    datasets: &[Dataset],
    templates: &[PromptTemplate],
    chat: &ChatTokenizer,
) -> Result<Vec<Draft>, WorkloadError> {
    let reserve = config.filler.as_ref().map_or(0, |f| f.reserve_percent);
    // For each dataset: what fillers take from, and what measured prompts take from.
    let mut pools: BTreeMap<&str, (Pool<'_>, Pool<'_>)> = datasets
        .iter()
        .map(|d| {
            (
                d.id.as_str(),
                split(
                    d,
                    reserve,
                    &mut HashStream::new(config.seed, &format!("reserve/{}", d.id)),
                ),
            )
        })
        .collect();
    let mut cases: Vec<u32> = CASES.collect();
    HashStream::new(config.seed, "cases").shuffle(&mut cases);
    let mut cases = cases.into_iter();

    let mut drafts = Vec::new();
    for ((index, task), template) in (0..).zip(&config.tasks).zip(templates) {
        let overhead = overhead(template, chat)?;
        let mut slots: Vec<Slot> = config
            .filler
            .iter()
            .flat_map(|filler| slots(config, task, &filler.set, true))
            .chain(slots(config, task, &config.full, false))
            .collect();
        slots.sort_by_key(|s| (!s.filler, std::cmp::Reverse(s.target)));
        let first = drafts.len();
        let mut stream = HashStream::new(config.seed, &format!("primary/{}", task.task));
        for slot in slots {
            let Some((fillers, measured)) = pools.get_mut(task.primary.as_str()) else {
                continue;
            };
            let pool = if slot.filler { fillers } else { measured };
            let target = usize::try_from(slot.target).unwrap_or(0);
            let (min, max) = (
                usize::try_from(config.share.min).unwrap_or(1),
                usize::try_from(config.share.max).unwrap_or(1),
            );
            let percent = min + stream.below(max - min + 1);
            let want = (target.saturating_sub(overhead) * percent / 100).max(1);
            let (primary, question) = pool.primary(want, chat, &mut stream)?;
            let case = cases.next().ok_or_else(|| WorkloadError::Unpackable {
                task: task.task.to_string(),
                target,
                message: format!("a build has at most {} prompts; lower `per_cell`", CASES.len()),
            })?;
            let Slot { filler, bucket, target } = slot;
            drafts.push(Draft {
                filler,
                task: index,
                bucket,
                target,
                case,
                primary,
                question,
                distractors: Vec::new(),
            });
        }
        // Distractors come from what no primary has used, so that a text stands in one prompt only.
        let mut stream = HashStream::new(config.seed, &format!("distractor/{}", task.task));
        for draft in drafts.iter_mut().skip(first) {
            let Some((fillers, measured)) = pools.get_mut(task.distractor.as_str()) else {
                continue;
            };
            let pool = if draft.filler { fillers } else { measured };
            let target = usize::try_from(draft.target).unwrap_or(0);
            // The template's own text is not taken off: what is too much is cut.
            let want = target.saturating_sub(draft.primary.tokens);
            let answer = draft.question.as_ref().map(|q| q.answer.as_str());
            draft.distractors = pool.distractors(want, &draft.primary.group, answer, &mut stream)?;
        }
    }
    Ok(drafts)
}
