//! Recorded traffic: JSONL whose rows say when a request arrived and what it was.
//!
//! Two forms may be mixed. Mooncake's gives lengths: `{"timestamp": 1250, "input_length": 6758, "output_length": 500,
//! "hash_ids": [46, 47]}`, where each id stands for a block of the prompt's tokens and equal ids for equal blocks. The other
//! gives the text: `{"timestamp": 1250, "prompt": "…"}` or `"messages": […]`, with `output_length` if it has one.
//! Timestamps are milliseconds; the earliest row is the load's begin. Other members of a row are not looked at.

use super::body::Text;
use serde::Deserialize;
use servelab_schema::{Message, Nanos};
use std::num::NonZeroU32;

/// What a row asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Only its length is known.
    Length {
        /// Prompt tokens.
        input_tokens: NonZeroU32,
        /// Names of the prompt's blocks from its beginning; equal names are equal blocks. Empty where none are given.
        blocks: Vec<u64>,
    },
    /// The text itself.
    Text(Text),
}

/// One recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Arrival, counted from the earliest row.
    pub at: Nanos,
    /// What it asks.
    pub asked: Asked,
    /// Tokens that were generated, where the recording says so.
    pub output_tokens: Option<NonZeroU32>,
}

/// A row that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ReplayError {
    line: usize,
    why: String,
}

#[derive(Deserialize)]
struct RowWire {
    timestamp: f64,
    #[serde(default)]
    input_length: Option<NonZeroU32>,
    #[serde(default)]
    output_length: Option<NonZeroU32>,
    #[serde(default)]
    hash_ids: Vec<u64>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Message>>,
}

fn row(wire: RowWire) -> Result<(f64, Asked, Option<NonZeroU32>), String> {
    if !wire.timestamp.is_finite() || wire.timestamp < 0.0 {
        return Err(format!(
            "timestamp {} is no number of milliseconds from 0 on",
            wire.timestamp
        ));
    }
    let asked = match (wire.prompt, wire.messages, wire.input_length) {
        (Some(prompt), None, _) => Asked::Text(Text::Plain(prompt)),
        (None, Some(messages), _) if !messages.is_empty() => Asked::Text(Text::Messages(messages)),
        (None, None, Some(input_tokens)) => Asked::Length {
            input_tokens,
            blocks: wire.hash_ids,
        },
        _ => return Err("give exactly one of \"prompt\", \"messages\" and \"input_length\"".to_owned()),
    };
    Ok((wire.timestamp, asked, wire.output_length))
}

/// Reads a recording; rows come back in the order of their time, equal times in the order of the file.
///
/// # Errors
/// [`ReplayError`] names the first line that is no row, or says that there is none.
pub fn parse(text: &str) -> Result<Vec<Row>, ReplayError> {
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let fail = |why| ReplayError { line: i + 1, why };
        let wire: RowWire = serde_json::from_str(line).map_err(|e| fail(e.to_string()))?;
        rows.push(row(wire).map_err(fail)?);
    }
    if rows.is_empty() {
        return Err(ReplayError {
            line: 1,
            why: "no row; a row looks like {\"timestamp\": 0, \"input_length\": 512, \"output_length\": 64}".to_owned(),
        });
    }
    rows.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let begin = rows.first().map_or(0.0, |(at, ..)| *at);
    Ok(rows
        .into_iter()
        .map(|(at, asked, output_tokens)| Row {
            at: from_ms(at - begin),
            asked,
            output_tokens,
        })
        .collect())
}

#[expect(
    clippy::as_conversions,
    reason = "float to integer saturates; offsets are finite and not negative"
)]
const fn from_ms(ms: f64) -> Nanos {
    Nanos((ms * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_in_the_order_of_time() {
        let text = "{\"timestamp\": 3052, \"input_length\": 600, \"output_length\": 52, \"hash_ids\": [46, 47]}\n\n\
                    {\"timestamp\": 1052.5, \"prompt\": \"a\", \"session\": 3}\n\
                    {\"timestamp\": 3052, \"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"output_length\": 4}\n";
        let rows = parse(text).unwrap();
        let at: Vec<u64> = rows.iter().map(|r| r.at.0).collect();
        assert_eq!(at, [0, 1_999_500_000, 1_999_500_000]);
        assert_eq!(rows[0].asked, Asked::Text(Text::Plain("a".to_owned())));
        let blocks = vec![46, 47];
        let input_tokens = NonZeroU32::new(600).unwrap();
        assert_eq!(rows[1].asked, Asked::Length { input_tokens, blocks });
        assert!(matches!(&rows[2].asked, Asked::Text(Text::Messages(m)) if m.len() == 1));
        assert_eq!(rows[2].output_tokens, NonZeroU32::new(4));
    }

    #[test]
    fn wrong_rows_are_named() {
        let check = |text: &str, words: &str| {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        };
        check("", "no row");
        check(
            "{\"timestamp\": 1, \"prompt\": \"a\"}\n{\"prompt\": \"a\"}",
            "line 2: missing field `timestamp`",
        );
        check(
            "{\"timestamp\": -1, \"prompt\": \"a\"}",
            "line 1: timestamp -1 is no number",
        );
        check("{\"timestamp\": 1}", "exactly one of");
        check(
            "{\"timestamp\": 1, \"prompt\": \"a\", \"messages\": []}",
            "exactly one of",
        );
        check("{\"timestamp\": 1, \"input_length\": 0}", "line 1");
        check("x", "line 1");
    }
}
