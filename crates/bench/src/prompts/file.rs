//! Prompts from a file: packed ones, or plain rows.

use super::{Ask, DEFAULT_MAX_TOKENS, read, wrong};
use crate::{BenchError, counting::Local, options::Bench};
use serde::Deserialize;
use servelab_load::bench::body::Text;
use servelab_schema::{Message, Prompt, PromptId};
use std::{num::NonZeroU32, path::Path};

/// A row of a prompt file that is not packed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRow {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Message>>,
    #[serde(default)]
    max_tokens: Option<NonZeroU32>,
    #[serde(default)]
    prompt_tokens: Option<NonZeroU32>,
}

fn plain(row: PlainRow, n: usize) -> Result<Ask, String> {
    let text = match (row.prompt, row.messages) {
        (Some(prompt), None) => Text::Plain(prompt),
        (None, Some(messages)) if !messages.is_empty() => Text::Messages(messages),
        _ => return Err("give either \"prompt\" or \"messages\"".to_owned()),
    };
    Ok(Ask {
        id: row.id.unwrap_or_else(|| format!("row-{n}")),
        text,
        max_tokens: row.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        prompt_tokens: row.prompt_tokens,
    })
}

/// One row of a prompt file: packed by `servelab dataset build`, or plain.
fn row(line: &str, n: usize, bench: &Bench) -> Result<Ask, String> {
    let is_packed = line.contains("\"rendered_sha256\"");
    let mut ask = if is_packed {
        let prompt: Prompt = serde_json::from_str(line).map_err(|e| e.to_string())?;
        Ask {
            id: prompt.id.to_string(),
            text: Text::Messages(prompt.messages),
            max_tokens: prompt.max_new_tokens,
            prompt_tokens: Some(prompt.prompt_tokens),
        }
    } else {
        plain(serde_json::from_str(line).map_err(|e| e.to_string())?, n)?
    };
    let number = u64::try_from(n).unwrap_or(u64::MAX);
    ask.max_tokens = bench.answer_tokens(number).unwrap_or(ask.max_tokens);
    // Packed counts are of the chat template; the other endpoint renders none.
    if !bench.api.takes_messages() && is_packed {
        ask.prompt_tokens = None;
    }
    PromptId::new(ask.id.as_str()).map_err(|e| e.to_string())?;
    Ok(ask)
}

/// The rows of a prompt file, counted again where there is a tokenizer.
pub(super) fn rows(path: &Path, bench: &Bench, tokenizer: Option<&Local>) -> Result<Vec<Ask>, BenchError> {
    let text = read(path)?;
    let mut asks = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: String| wrong(format!("{}:{}", path.display(), n + 1), why);
        let mut ask = row(line, n, bench).map_err(bad)?;
        if let Some(tokenizer) = tokenizer {
            ask.prompt_tokens = tokenizer.of(&ask.text).map_err(|e| bad(e.to_string()))?;
        }
        asks.push(ask);
    }
    if asks.is_empty() {
        return Err(wrong(path.display().to_string(), "no prompt".to_owned()));
    }
    Ok(asks)
}
