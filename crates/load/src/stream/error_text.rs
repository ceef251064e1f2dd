//! What engines say when they refuse or break, and which of DESIGN's reasons it means.
//!
//! Recognised by substring because the texts differ between engines and versions; each row names where it was seen.

use super::wire::ChunkWire;
use servelab_schema::Reason;

/// Texts that mean: prompt and answer do not fit the context. Compared in lower case.
const OVERFLOW: [&str; 7] = [
    // vLLM 0.8.5 and 0.32.0, both endpoints.
    "maximum context length is",
    // vLLM 0.32.0, max_tokens too large.
    "cannot be greater than max_model_len",
    // vLLM, prompt check of the engine itself.
    "longer than the maximum model length",
    // SGLang.
    "longer than the model's context length",
    "exceeds the model's maximum context length",
    // OpenAI's error code, which gateways repeat.
    "context_length_exceeded",
    // llama.cpp server.
    "exceeds the available context size",
];

/// Texts that mean: the engine ran out of memory. Compared in lower case.
const OOM: [&str; 5] = [
    "out of memory",
    "outofmemory",
    "cannot allocate memory",
    "std::bad_alloc",
    "no available memory",
];

fn says(text: &str, any: &[&str]) -> bool {
    let text = text.to_lowercase();
    any.iter().any(|needle| text.contains(needle))
}

/// True where the text says that memory ran out.
#[must_use]
pub fn is_oom(text: &str) -> bool {
    says(text, &OOM)
}

/// True where the text says that the request does not fit the context.
#[must_use]
pub fn is_context_overflow(text: &str) -> bool {
    says(text, &OVERFLOW)
}

/// The message of an error body in vLLM's flat (0.8.5) or nested (0.32.0) form, or FastAPI's `detail`; none where the body
/// is none of these.
#[must_use]
pub fn error_message(body: &[u8]) -> Option<String> {
    if let Ok(chunk) = serde_json::from_slice::<ChunkWire<'_>>(body)
        && let Some(text) = chunk.error_text()
    {
        return Some(text.to_owned());
    }
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let detail = value.get("detail")?;
    Some(detail.as_str().map_or_else(|| detail.to_string(), ToOwned::to_owned))
}

/// Reason and detail of an answer whose status is not 200.
#[must_use]
pub fn classify_status(status: u16, body: &[u8]) -> (Reason, String) {
    let detail = error_message(body).unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    let reason = match status {
        429 => Reason::RateLimited,
        400 | 413 | 422 if is_context_overflow(&detail) => Reason::ContextOverflow,
        500..=599 if is_oom(&detail) => Reason::EngineOom,
        _ => Reason::HttpStatus,
    };
    (reason, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, reason: Reason, detail: &str) {
        assert_eq!(
            classify_status(status, body.as_bytes()),
            (reason, detail.to_owned()),
            "{status} {body}"
        );
    }

    #[test]
    fn statuses() {
        check(404, r#"{"detail":"Not Found"}"#, Reason::HttpStatus, "Not Found");
        check(503, "busy\n", Reason::HttpStatus, "busy");
        check(502, "", Reason::HttpStatus, "");
        check(
            429,
            r#"{"error":{"message":"slow down"}}"#,
            Reason::RateLimited,
            "slow down",
        );
        check(
            500,
            r#"{"error":{"message":"CUDA out of memory."}}"#,
            Reason::EngineOom,
            "CUDA out of memory.",
        );
        let overflow = "This model's maximum context length is 8 tokens.";
        let flat = format!(r#"{{"object":"error","message":"{overflow}","code":400}}"#);
        check(400, &flat, Reason::ContextOverflow, overflow);
        // A model that merely quotes the words in a 200 or a 404 is not an overflow.
        check(404, &flat, Reason::HttpStatus, overflow);
    }
}
