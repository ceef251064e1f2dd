//! What servers took of what they were asked, and who counted their tokens: facts of a run at servers that were up before, where
//! they differ from what an engine does that servelab starts.

use super::Fact;
use servelab_schema::{TokenSource, VariantId};
use servelab_store::RunData;
use std::collections::BTreeMap;

/// What differs from the usual; nothing where nothing does.
pub(crate) fn facts(run: &RunData) -> Vec<Fact> {
    let lacks = run.takes.iter().flat_map(|take| {
        let notes = take.engine.capability_notes.iter();
        notes.map(|note| (note.as_str(), &take.record.variant))
    });
    let counted = run.findings.trials.iter().filter_map(|trial| {
        let descriptive = &trial.metrics.as_ref()?.descriptive;
        (trial.counts.completed > 0).then(|| (counter(descriptive.token_source), &trial.variant))
    });
    let counted: Vec<_> = counted.collect();
    let usual = counter(Some(TokenSource::Usage));
    let is_usual = counted.iter().all(|(words, _)| *words == usual);
    let told = [
        (
            "Tokens counted by",
            said(run, counted.into_iter().filter(|_| !is_usual)),
        ),
        ("What servers lack", said(run, lacks)),
    ];
    let told = told.into_iter().filter(|(_, value)| !value.is_empty());
    told.map(|(label, value)| Fact {
        label,
        value,
        code: false,
    })
    .collect()
}

/// Who counted, in words.
const fn counter(source: Option<TokenSource>) -> &'static str {
    match source {
        Some(TokenSource::Usage) => "the server itself",
        Some(TokenSource::Tokenizer) => "servelab, from the texts, with the tokenizer that it was given",
        Some(TokenSource::ServerTokenize) => "the server's /tokenize, from the texts",
        None => "nobody, or not everywhere the same",
    }
}

/// Each of the words once, with the variants that they are of where that is not all that ran.
fn said<'r>(run: &RunData, of: impl Iterator<Item = (&'r str, &'r VariantId)>) -> String {
    let mut by_words: BTreeMap<&str, Vec<&VariantId>> = BTreeMap::new();
    for (words, variant) in of {
        let variants = by_words.entry(words).or_default();
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    let ran = |variant: &&VariantId| run.takes.iter().any(|take| take.record.variant == **variant);
    let all: Vec<&VariantId> = run.plan.variants.iter().map(|v| &v.id).filter(ran).collect();
    let sentence = |(words, variants): (&str, Vec<&VariantId>)| {
        let whose: Vec<&str> = all
            .iter()
            .filter(|v| variants.contains(*v))
            .map(|v| v.as_str())
            .collect();
        if whose.len() == all.len() {
            words.to_owned()
        } else {
            format!("{}: {words}", whose.join(", "))
        }
    };
    by_words.into_iter().map(sentence).collect::<Vec<_>>().join("; ")
}
