//! Cuts a draft's distractor so that the prompt has its target length, counted through the model's chat template.

use crate::{
    WorkloadError,
    config::{BucketRange, TaskConfig},
    draft::Draft,
    project::sha256,
    template::{Fields, PromptTemplate},
};
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_schema::{PromptSource, Sha256Hex, SourceRecord};

/// A prompt of its final length.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) content: String,
    pub(crate) rendered_sha256: Sha256Hex,
    pub(crate) prompt_tokens: u32,
    pub(crate) source: PromptSource,
    /// The first token ids, enough to compare prefixes.
    pub(crate) head: Vec<u32>,
}

/// Token ids kept of each prompt.
pub(crate) const HEAD: usize = 64;

/// Tokens by which a prompt may miss its target: half of the longest word, or title and word, that is not torn.
const LARGEST_MISS: usize = 20;

/// One way to cut the distractor, and what it gives.
struct Attempt {
    cut: usize,
    content: String,
    rendered: String,
    ids: Vec<u32>,
}

/// Where a distractor may end, and what it then holds.
struct Layout {
    text: String,
    /// Bytes behind each word of each unit, ascending.
    cuts: Vec<usize>,
    /// For each piece: the byte at which each unit begins.
    starts: Vec<Vec<usize>>,
}

fn layout(draft: &Draft) -> Layout {
    let mut out = Layout {
        text: String::new(),
        cuts: Vec::new(),
        starts: Vec::new(),
    };
    for piece in &draft.distractors {
        if !out.text.is_empty() {
            out.text.push_str("\n\n");
        }
        out.text.push_str(&format!("[{}]", piece.title));
        let mut starts = Vec::new();
        for unit in &piece.units {
            out.text.push('\n');
            starts.push(out.text.len());
            let base = out.text.len();
            let mut before = ' ';
            for (i, c) in unit.char_indices() {
                if c.is_whitespace() && !before.is_whitespace() && i > 0 {
                    out.cuts.push(base + i);
                }
                before = c;
            }
            out.text.push_str(unit);
            out.cuts.push(out.text.len());
        }
        out.starts.push(starts);
    }
    out
}

/// The record, with the units used of it, numbered from 1.
fn source_record(dataset: &str, record: &str, start: usize, units: usize) -> SourceRecord {
    SourceRecord {
        dataset: dataset.to_owned(),
        record: format!("{record}#{}-{}", start + 1, start + units),
    }
}

fn source(draft: &Draft, layout: &Layout, cut: usize) -> PromptSource {
    let primary = &draft.primary;
    let distractors = draft
        .distractors
        .iter()
        .zip(&layout.starts)
        .filter_map(|(piece, starts)| {
            let used = starts.partition_point(|start| *start < cut);
            (used > 0).then(|| source_record(&piece.dataset, &piece.record, piece.start, used))
        });
    PromptSource {
        primary: source_record(&primary.dataset, &primary.record, primary.start, primary.units.len()),
        distractors: distractors.collect(),
    }
}

/// Who speaks next in a conversation that ends with `A: …` or `B: …`.
fn next_speaker(units: &[String]) -> &'static str {
    if units.last().is_some_and(|turn| turn.starts_with("A:")) {
        "B"
    } else {
        "A"
    }
}

/// Packs one prompt. The same draft gives the same bytes, whoever packs it.
pub(crate) fn fit(
    draft: &Draft,
    task: &TaskConfig,
    range: BucketRange,
    template: &PromptTemplate,
    chat: &ChatTokenizer,
) -> Result<Fitted, WorkloadError> {
    let layout = layout(draft);
    let primary = draft.primary.text();
    let content = |cut: usize| {
        template.render(Fields {
            case: draft.case,
            title: &draft.primary.title,
            primary: &primary,
            distractor: layout.text.get(..cut).unwrap_or_default(),
            field: draft.question.as_ref().map_or("", |q| q.field.as_str()),
            country: &draft.primary.group,
            speaker: next_speaker(&draft.primary.units),
        })
    };
    let attempt = |cut: usize| -> Result<Attempt, WorkloadError> {
        let content = content(cut)?;
        let rendered = chat.render(&[ChatMessage::user(&content)], true)?;
        let ids = chat.encode_ids(&rendered)?;
        Ok(Attempt {
            cut,
            content,
            rendered,
            ids,
        })
    };
    let target = usize::try_from(draft.target).unwrap_or(0);
    let (shortest, longest) = (
        usize::try_from(range.shortest).unwrap_or(0),
        usize::try_from(range.longest).unwrap_or(0),
    );
    let unpackable = |message: &str| WorkloadError::Unpackable {
        task: task.task.to_string(),
        target,
        message: format!(
            "{message} (primary {}, {} tokens)",
            draft.primary.record, draft.primary.tokens
        ),
    };

    // Tokens are nearly additive: the count at one cut predicts those at the others up to a token or two.
    let ends = chat.token_ends(&layout.text)?;
    let own = |cut: usize| ends.partition_point(|end| *end <= cut);
    let mut surplus = attempt(0)?.ids.len();
    let mut best: Option<Attempt> = None;
    for _ in 0..6 {
        let fitting = layout.cuts.partition_point(|cut| own(*cut) + surplus <= target);
        let Some(&cut) = layout.cuts.get(..fitting).and_then(<[_]>::last) else {
            return Err(unpackable(
                "the PRIMARY section leaves no room for a DISTRACTOR; lower `primary_share_percent`",
            ));
        };
        let tried = attempt(cut)?;
        let found = tried.ids.len().saturating_sub(own(cut));
        if tried.ids.len() <= target && best.as_ref().is_none_or(|best| tried.ids.len() > best.ids.len()) {
            best = Some(tried);
        }
        if found == surplus {
            break;
        }
        surplus = found;
    }
    let mut best = best.ok_or_else(|| unpackable("no cut of the DISTRACTOR comes out at or below it"))?;
    let after = |cut: usize| layout.cuts.get(layout.cuts.partition_point(|c| *c <= cut)).copied();
    // One word more may come nearer to the target, most of all where the next word has a title before it.
    if target - best.ids.len() > 1
        && let Some(next) = after(best.cut)
    {
        let tried = attempt(next)?;
        if tried.ids.len() <= longest && tried.ids.len().abs_diff(target) < best.ids.len().abs_diff(target) {
            best = tried;
        }
    }
    // At the lower end of a bucket the next word is taken rather than the bucket left.
    while best.ids.len() < shortest {
        best = attempt(after(best.cut).ok_or_else(|| unpackable("the texts are too short"))?)?;
    }
    let count = best.ids.len();
    if count > longest {
        return Err(unpackable("no cut of the DISTRACTOR stays inside the bucket"));
    }
    if target.abs_diff(count) > LARGEST_MISS {
        return Err(unpackable("the texts are too short"));
    }
    Ok(Fitted {
        rendered_sha256: sha256(best.rendered.as_bytes()),
        prompt_tokens: u32::try_from(count).map_err(|e| WorkloadError::Internal(e.to_string()))?,
        source: source(draft, &layout, best.cut),
        head: best.ids.into_iter().take(HEAD).collect(),
        content: best.content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Piece;

    fn piece(title: &str, start: usize, units: &[&str]) -> Piece {
        Piece {
            dataset: "d".to_owned(),
            record: title.to_lowercase(),
            title: title.to_owned(),
            group: String::new(),
            start,
            units: units.iter().map(|u| (*u).to_owned()).collect(),
            tokens: 0,
        }
    }

    #[test]
    fn cuts_are_behind_words_and_name_what_they_hold() {
        let draft = Draft {
            filler: false,
            task: 0,
            bucket: 0,
            target: 0,
            case: 0,
            primary: piece("P", 4, &["x"]),
            question: None,
            distractors: vec![piece("One", 0, &["aa bb", "cc"]), piece("Two", 2, &["dd  ee"])],
        };
        let layout = layout(&draft);
        let prefixes: Vec<_> = layout.cuts.iter().map(|cut| &layout.text[..*cut]).collect();
        assert_eq!(
            prefixes,
            [
                "[One]\naa",
                "[One]\naa bb",
                "[One]\naa bb\ncc",
                "[One]\naa bb\ncc\n\n[Two]\ndd",
                "[One]\naa bb\ncc\n\n[Two]\ndd  ee"
            ]
        );
        let records = |cut: usize| -> Vec<String> {
            source(&draft, &layout, layout.cuts[cut])
                .distractors
                .into_iter()
                .map(|r| r.record)
                .collect()
        };
        assert_eq!(records(0), ["one#1-1"]);
        assert_eq!(records(2), ["one#1-2"]);
        assert_eq!(records(3), ["one#1-2", "two#3-3"]);
        assert_eq!(source(&draft, &layout, 0).primary.record, "p#5-5");
    }

    #[test]
    fn speakers_take_turns() {
        assert_eq!(next_speaker(&["A: x".to_owned(), "B: y".to_owned()]), "A");
        assert_eq!(next_speaker(&["B: y".to_owned(), "A: x".to_owned()]), "B");
    }
}
