//! What can be said of one prompt.

use crate::{
    project::sha256,
    records::{Dataset, Record},
    template::{Sections, sections},
    verify::{Rule, Violation},
};
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_schema::{Prompt, Role, SourceRecord, TokenBudget};
use std::{collections::BTreeMap, num::NonZeroU32};

/// The records by dataset and id.
pub(crate) struct Sources<'a> {
    records: BTreeMap<(&'a str, &'a str), &'a Record>,
}

/// Units `first..=last`, from 1, of a record.
pub(crate) struct Part<'a> {
    pub(crate) id: &'a str,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Splits `au/geography#3-7`.
pub(crate) fn part(record: &str) -> Option<Part<'_>> {
    let (id, range) = record.rsplit_once('#')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (1 <= first && first <= last).then_some(Part { id, first, last })
}

impl<'a> Sources<'a> {
    pub(crate) fn new(datasets: &'a [Dataset]) -> Self {
        let records = datasets
            .iter()
            .flat_map(|d| d.records.iter().map(|r| ((d.id.as_str(), r.id.as_str()), r)));
        Self {
            records: records.collect(),
        }
    }

    /// The record, and the text of the units named.
    fn text(&self, source: &SourceRecord) -> Result<(&'a Record, String), String> {
        let name = format!("{} {}", source.dataset, source.record);
        let part = part(&source.record)
            .ok_or_else(|| format!("`{name}` is no record with units, such as `au/geography#3-7`"))?;
        let record = self
            .records
            .get(&(source.dataset.as_str(), part.id))
            .ok_or_else(|| format!("there is no record {name}"))?;
        let units = record
            .units
            .get(part.first - 1..part.last)
            .ok_or_else(|| format!("{name} has {} units", record.units.len()))?;
        Ok((
            record,
            units.iter().map(|u| u.text.as_str()).collect::<Vec<_>>().join("\n"),
        ))
    }
}

/// What one prompt gave.
pub(crate) struct Checked {
    pub(crate) violations: Vec<Violation>,
    pub(crate) tokens: u64,
    /// The token ids, from token 0.
    pub(crate) ids: Vec<u32>,
}

pub(crate) fn check_prompt(
    prompt: &Prompt,
    context: NonZeroU32,
    chat: &ChatTokenizer,
    sources: Option<&Sources<'_>>,
) -> Checked {
    let mut found = Vec::new();
    let mut wrong = |rule: Rule, detail: String| found.push(Violation::new(prompt.id.as_str(), rule, detail));

    let messages: Vec<ChatMessage<'_>> = prompt
        .messages
        .iter()
        .map(|m| {
            let role = match m.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            ChatMessage::new(role, &m.content)
        })
        .collect();
    let ids = match chat
        .render(&messages, true)
        .and_then(|text| Ok((sha256(text.as_bytes()), chat.encode_ids(&text)?)))
    {
        Ok((hash, ids)) => {
            if hash != prompt.rendered_sha256 {
                wrong(
                    Rule::Tokens,
                    format!("renders to sha256 {hash}, recorded is {}", prompt.rendered_sha256),
                );
            }
            ids
        }
        Err(error) => {
            wrong(Rule::Tokens, error.to_string());
            Vec::new()
        }
    };
    let counted = u32::try_from(ids.len()).ok().and_then(NonZeroU32::new);
    if counted != Some(prompt.prompt_tokens) {
        wrong(
            Rule::Tokens,
            format!("{} tokens counted, {} recorded", ids.len(), prompt.prompt_tokens),
        );
    }
    if let Some(counted) = counted {
        match TokenBudget::new(counted, prompt.max_new_tokens, context) {
            Ok(budget) if budget.bucket() == prompt.bucket => {}
            Ok(budget) => wrong(
                Rule::Budget,
                format!(
                    "{counted} tokens are bucket {}, recorded is {}",
                    budget.bucket(),
                    prompt.bucket
                ),
            ),
            Err(error) => wrong(Rule::Budget, error.to_string()),
        }
    }

    match prompt.messages.last().map(|m| sections(&m.content)) {
        Some(Ok(sections)) => {
            check_answer(prompt, sections, &mut wrong);
            if let Some(sources) = sources {
                check_sources(prompt, sections, sources, &mut wrong);
            }
        }
        Some(Err(message)) => wrong(Rule::Source, message),
        None => wrong(Rule::Source, "there is no message".to_owned()),
    }
    Checked {
        violations: found,
        tokens: u64::try_from(ids.len()).unwrap_or(u64::MAX),
        ids,
    }
}

fn check_answer(prompt: &Prompt, sections: Sections<'_>, wrong: &mut impl FnMut(Rule, String)) {
    let is_qa = prompt.task == servelab_schema::Task::Qa;
    let Some(answer) = prompt.answer.as_deref() else {
        if is_qa {
            wrong(Rule::Answer, "a qa prompt has no `answer`".to_owned());
        }
        return;
    };
    if answer.trim().is_empty() {
        wrong(Rule::Answer, "`answer` is empty".to_owned());
        return;
    }
    if !sections.primary.contains(answer) {
        wrong(
            Rule::Answer,
            format!("the PRIMARY section does not hold the answer `{answer}`"),
        );
    }
    // Case does not matter to a reader.
    let times = sections.primary.to_lowercase().matches(&answer.to_lowercase()).count();
    if times > 1 {
        wrong(
            Rule::Answer,
            format!("the PRIMARY section holds the answer `{answer}` {times} times"),
        );
    }
    if sections.distractor.to_lowercase().contains(&answer.to_lowercase()) {
        wrong(
            Rule::Answer,
            format!("the DISTRACTOR section holds the answer `{answer}`"),
        );
    }
}

fn check_sources(prompt: &Prompt, sections: Sections<'_>, sources: &Sources<'_>, wrong: &mut impl FnMut(Rule, String)) {
    let primary = match sources.text(&prompt.source.primary) {
        Ok((record, text)) => {
            // the last unit may be cut, behind a sentence or word
            if sections.primary.is_empty() || !text.starts_with(sections.primary) {
                wrong(
                    Rule::Source,
                    format!(
                        "the PRIMARY section is not the text of {}",
                        prompt.source.primary.record
                    ),
                );
            }
            Some(record)
        }
        Err(message) => {
            wrong(Rule::Source, message);
            None
        }
    };
    let mut expected = String::new();
    for source in &prompt.source.distractors {
        match sources.text(source) {
            Ok((record, text)) => {
                if !record.group.is_empty() && primary.is_some_and(|p| p.group == record.group) {
                    wrong(
                        Rule::Answer,
                        format!(
                            "the DISTRACTOR section has facts of {}, which the question is about",
                            record.group
                        ),
                    );
                }
                if !expected.is_empty() {
                    expected.push_str("\n\n");
                }
                expected.push_str(&format!("[{}]\n{text}", record.title));
            }
            Err(message) => wrong(Rule::Source, message),
        }
    }
    if sections.distractor.is_empty() {
        wrong(Rule::Source, "the DISTRACTOR section is empty".to_owned());
    } else if !expected.starts_with(sections.distractor) {
        wrong(
            Rule::Source,
            "the DISTRACTOR section is not the text of the records named".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_records() {
        let of = |text: &str| part(text).map(|p| (p.id.to_owned(), p.first, p.last));
        assert_eq!(of("au/geography#3-7"), Some(("au/geography".to_owned(), 3, 7)));
        assert_eq!(of("a#b#1-1"), Some(("a#b".to_owned(), 1, 1)));
        for bad in ["au", "au#3", "au#0-1", "au#4-3", "au#a-b", "au#-1-2"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
