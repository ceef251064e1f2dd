//! An answer that comes in one piece: the JSON document of `/v1/embeddings`. It has an E2E, the end of its body, and the count
//! of its prompt's tokens; what it embeds is not looked at.

use super::{chat::Fault, error_text, expect::Expectation};
use serde::{Deserialize, de::IgnoredAny};
use servelab_schema::{Completion, Nanos, Reason, Sha256Hex};
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;

#[derive(Deserialize)]
struct EmbeddingsWire {
    /// Only their number matters; a list of nothing takes no memory.
    #[serde(default)]
    data: Vec<IgnoredAny>,
    #[serde(default)]
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct UsageWire {
    #[serde(default)]
    prompt_tokens: Option<NonZeroU32>,
}

/// Judges the body of an answer of status 200 whose last byte came `e2e` after it was asked for. `clean` says that it ended
/// by its own rules.
///
/// # Errors
/// The one [`Fault`] that it failed by.
pub fn judge(body: &[u8], clean: bool, expect: &Expectation, e2e: Nanos) -> Result<Completion, Fault> {
    if let Some(text) = error_text::error_message(body) {
        return Err(super::chat::error_event(&text));
    }
    let answer: EmbeddingsWire = match serde_json::from_slice(body) {
        Ok(answer) if clean => answer,
        Ok(_) => return Err(Fault::new(Reason::Truncated, "the end of the body did not come")),
        Err(_) if !clean => return Err(Fault::new(Reason::Truncated, "the body broke off")),
        Err(e) => return Err(Fault::malformed(format!("no answer of embeddings: {e}"))),
    };
    if answer.data.is_empty() {
        return Err(Fault::new(Reason::Empty, "an answer without an embedding"));
    }
    let prompt = answer.usage.and_then(|usage| usage.prompt_tokens);
    expect.check(prompt, None)?;
    Ok(Completion::whole(
        e2e,
        prompt,
        Sha256Hex::from_bytes(Sha256::digest(body).into()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str, clean: bool, prompt: u32) -> Result<(Nanos, Option<u32>), Reason> {
        let expect = Expectation {
            prompt_tokens: NonZeroU32::new(prompt),
            ..Expectation::default()
        };
        judge(body.as_bytes(), clean, &expect, Nanos(7))
            .map(|c| {
                assert!(c.ttft().is_none() && c.tpot_s().is_none() && c.completion_tokens().is_none());
                (c.e2e(), c.prompt_tokens().map(NonZeroU32::get))
            })
            .map_err(|fault| fault.reason)
    }

    #[test]
    fn an_answer_in_one_piece() {
        let good = r#"{"object":"list","data":[{"embedding":[0.5,1e-3],"index":0}],"usage":{"prompt_tokens":5}}"#;
        assert_eq!(reason(good, true, 0), Ok((Nanos(7), Some(5))));
        assert_eq!(reason(good, true, 5), Ok((Nanos(7), Some(5))));
        assert_eq!(reason(good, true, 6), Err(Reason::PromptTokenMismatch));
        assert_eq!(reason(good, false, 0), Err(Reason::Truncated));
        assert_eq!(reason(&good[..40], false, 0), Err(Reason::Truncated));
        assert_eq!(reason(&good[..40], true, 0), Err(Reason::Malformed));
        let uncounted = r#"{"data":[{"embedding":[1]}]}"#;
        assert_eq!(reason(uncounted, true, 6), Ok((Nanos(7), None)));
        assert_eq!(reason(r#"{"data":[]}"#, true, 0), Err(Reason::Empty));
        assert_eq!(
            reason(r#"{"error":{"message":"no"}}"#, true, 0),
            Err(Reason::ErrorEvent)
        );
    }
}
