//! Dataset files into records: a title and the units (paragraphs, facts, turns) that are never torn without need.

use crate::{
    WorkloadError,
    config::{Config, DatasetConfig},
    project::Project,
    wire::Kind,
};
use flate2::read::GzDecoder;
use rayon::prelude::*;
use serde::Deserialize;
use servelab_chat::ChatTokenizer;
use servelab_schema::SourceFile;
use std::io::Read;

/// A fact that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is asked for, such as `Coastline`.
    pub(crate) field: String,
    /// The exact words of the answer.
    pub(crate) answer: String,
}

/// A paragraph, a fact or a turn.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) text: String,
    /// Tokens that the unit adds to a text, its line break included; off by one at most. 0 until counted.
    pub(crate) tokens: usize,
    pub(crate) question: Option<Question>,
}

/// A chapter, a section or a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) title: String,
    /// What a distractor must not share with the primary: the country. Empty where there is no such thing.
    pub(crate) group: String,
    pub(crate) units: Vec<Unit>,
}

/// A dataset in memory.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prose {
    id: String,
    work: String,
    title: String,
    paragraphs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    id: String,
    country: String,
    section: String,
    facts: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dialogue {
    id: String,
    turns: Vec<String>,
}

fn unit(text: String) -> Unit {
    Unit {
        text,
        tokens: 0,
        question: None,
    }
}

fn record(kind: Kind, line: &str) -> Result<Record, serde_json::Error> {
    Ok(match kind {
        Kind::Prose => {
            let prose: Prose = serde_json::from_str(line)?;
            let title = format!("{}, {}", prose.work, prose.title);
            Record {
                id: prose.id,
                title,
                group: String::new(),
                units: prose.paragraphs.into_iter().map(unit).collect(),
            }
        }
        Kind::Facts => {
            let facts: Facts = serde_json::from_str(line)?;
            let units = facts
                .facts
                .into_iter()
                .map(|(field, text)| fact(field, &text))
                .collect();
            Record {
                id: facts.id,
                title: format!("{}, {}", facts.country, facts.section),
                group: facts.country,
                units,
            }
        }
        Kind::Dialogue => {
            let dialogue: Dialogue = serde_json::from_str(line)?;
            let title = format!("Conversation {}", dialogue.id);
            Record {
                id: dialogue.id,
                title,
                group: String::new(),
                units: dialogue.turns.into_iter().map(unit).collect(),
            }
        }
    })
}

fn fact(field: String, text: &str) -> Unit {
    let line = format!("{field}: {text}");
    // a note or definition answers nothing that its field asks, and many countries share it
    let remark = ["note", "definition", "fiscal year"]
        .iter()
        .any(|word| field.to_lowercase().contains(word));
    let question = answer(text).filter(|answer| !remark && !field.contains(answer.as_str()));
    Unit {
        text: line,
        tokens: 0,
        question: question.map(|answer| Question { field, answer }),
    }
}

/// The words to be given back, where a fact has one short answer: without a year or remark in brackets behind it.
fn answer(text: &str) -> Option<String> {
    let short = match text.split_once(" (") {
        Some((head, tail)) if tail.ends_with(')') && !tail.contains('(') => head,
        Some(_) => return None,
        None => text,
    };
    let words = short.trim();
    let listed = words.contains(';') || words.contains(": ");
    let nothing = ["NA", "none", "negl", "NEGL", "n/a"]
        .iter()
        .any(|n| words.starts_with(n));
    (6..=80).contains(&words.len()).then_some(())?;
    (!listed && !nothing).then(|| words.to_owned())
}

/// Reads and checks every dataset; the second value lists the files for the manifest.
pub(crate) fn load(
    config: &Config,
    config_name: &str,
    project: &Project,
) -> Result<(Vec<Dataset>, Vec<SourceFile>), WorkloadError> {
    let mut datasets = Vec::new();
    let mut files = Vec::new();
    for declared in &config.datasets {
        let hashed = project.read(&declared.file)?;
        if hashed.sha256 != declared.sha256 {
            return Err(WorkloadError::SourceHash {
                path: declared.file.clone(),
                config: config_name.to_owned(),
                declared: declared.sha256.to_string(),
                found: hashed.sha256.to_string(),
            });
        }
        files.push(SourceFile {
            path: declared.file.clone(),
            sha256: hashed.sha256,
        });
        datasets.push(parse(declared, &hashed.bytes)?);
    }
    Ok((datasets, files))
}

fn parse(declared: &DatasetConfig, packed: &[u8]) -> Result<Dataset, WorkloadError> {
    let wrong = |line: usize, message: String| WorkloadError::Record {
        path: declared.file.clone(),
        line,
        message,
    };
    let mut text = String::new();
    GzDecoder::new(packed)
        .read_to_string(&mut text)
        .map_err(|e| wrong(0, format!("not gzipped UTF-8 text: {e}")))?;
    let records = text
        .lines()
        .enumerate()
        .map(|(i, line)| record(declared.kind, line).map_err(|e| wrong(i + 1, e.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ids = std::collections::BTreeSet::new();
    for (i, record) in records.iter().enumerate() {
        if !ids.insert(record.id.as_str()) {
            return Err(wrong(i + 1, format!("record id `{}` is there twice", record.id)));
        }
        // a section's text must never look like the end of a section
        if record.units.iter().any(|unit| unit.text.contains("===")) {
            return Err(wrong(
                i + 1,
                "a text holds `===`, which marks the sections of a prompt".to_owned(),
            ));
        }
    }
    if records.len() != declared.records {
        return Err(WorkloadError::RecordCount {
            path: declared.file.clone(),
            dataset: declared.id.clone(),
            declared: declared.records,
            found: records.len(),
        });
    }
    Ok(Dataset {
        id: declared.id.clone(),
        kind: declared.kind,
        records,
    })
}

/// Counts every unit once; all that chooses texts adds these counts up.
pub(crate) fn count(datasets: &mut [Dataset], chat: &ChatTokenizer) -> Result<(), WorkloadError> {
    datasets
        .par_iter_mut()
        .flat_map(|dataset| &mut dataset.records)
        .try_for_each(|record| {
            for unit in &mut record.units {
                // the word boundary that every text begins with stands for the line break
                unit.tokens = chat.encode_ids(&unit.text)?.len() + 1;
            }
            Ok(())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_short_and_whole() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(answer(text).as_deref(), expected, "{text}");
        check("2,524 km", Some("2,524 km"));
        check("8,665,550 (July 2015 est.)", Some("8,665,550"));
        check("$652 million (2014 est.); $600 million (2013 est.)", None);
        check("none (landlocked)", None);
        check("NA", None);
        check("60%", None);
        check("male: 3, female: 5", None);
        check("a; b; cdefg", None);
        check(&"long ".repeat(20), None);
    }

    #[test]
    fn records_of_each_kind() {
        let prose = record(
            Kind::Prose,
            r#"{"id":"a/1","work":"W","title":"T","paragraphs":["p","q"]}"#,
        )
        .unwrap();
        assert_eq!((prose.title.as_str(), prose.units.len()), ("W, T", 2));
        let facts = record(
            Kind::Facts,
            r#"{"id":"au/g","country":"Austria","section":"Geography","facts":[["Coastline","2,524 km"]]}"#,
        )
        .unwrap();
        assert_eq!(facts.units[0].text, "Coastline: 2,524 km");
        assert_eq!(facts.units[0].question.as_ref().unwrap().answer, "2,524 km");
        assert_eq!(facts.group, "Austria");
        let dialogue = record(Kind::Dialogue, r#"{"id":"7","turns":["A: x"]}"#).unwrap();
        assert_eq!(dialogue.title, "Conversation 7");
        assert!(record(Kind::Dialogue, r#"{"id":"7","turns":["A: x"],"sender":"y"}"#).is_err());
    }
}
