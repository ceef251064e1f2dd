//! Which member of a request a refusal speaks of.

use serde_json::Value;
use servelab_schema::{Capabilities, Member, StreamOptions, TokenLimit, UsageReport};

/// A member of the body that a server may refuse, in the order of suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspect {
    ContinuousUsage,
    StreamOptions,
    Seed,
    IgnoreEos,
    Temperature,
    TokenLimit,
    SystemRole,
}

impl Suspect {
    pub(super) const ALL: [Self; 7] = [
        Self::ContinuousUsage,
        Self::StreamOptions,
        Self::Seed,
        Self::IgnoreEos,
        Self::Temperature,
        Self::TokenLimit,
        Self::SystemRole,
    ];

    /// Words that name it.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::ContinuousUsage => &["continuous_usage_stats"],
            Self::StreamOptions => &["stream_options", "include_usage"],
            Self::Seed => &["seed"],
            Self::IgnoreEos => &["ignore_eos"],
            Self::Temperature => &["temperature"],
            Self::TokenLimit => &["max_tokens", "max_completion_tokens", "max_output_tokens"],
            Self::SystemRole => &[
                "system role",
                "role system",
                "'system'",
                "\"system\"",
                "`system`",
                "system message",
                "system prompt",
            ],
        }
    }

    /// Leaves it out, or puts the next best in its place; false where there is nothing to leave out.
    pub(super) fn leave_out(self, from: &mut Capabilities) -> bool {
        fn refuse(member: &mut Member) -> bool {
            let sent = member.is_sent();
            if sent {
                *member = Member::Refused;
            }
            sent
        }
        match self {
            Self::ContinuousUsage => {
                let sent = from.stream_options == StreamOptions::Continuous;
                if sent {
                    (from.stream_options, from.usage) = (StreamOptions::IncludeUsage, UsageReport::Final);
                }
                sent
            }
            Self::StreamOptions => {
                let sent = from.stream_options != StreamOptions::None;
                if sent {
                    (from.stream_options, from.usage) = (StreamOptions::None, UsageReport::None);
                }
                sent
            }
            Self::Seed => refuse(&mut from.seed),
            Self::IgnoreEos => refuse(&mut from.ignore_eos),
            Self::Temperature => refuse(&mut from.temperature),
            Self::TokenLimit => {
                let next = match from.token_limit {
                    TokenLimit::MaxTokens => TokenLimit::MaxCompletionTokens,
                    TokenLimit::MaxCompletionTokens | TokenLimit::MaxOutputTokens => TokenLimit::None,
                    TokenLimit::None => return false,
                };
                from.token_limit = next;
                true
            }
            Self::SystemRole => refuse(&mut from.system_role),
        }
    }
}

/// Where a refusal begins to quote the request.
const QUOTES: [&str; 4] = ["'input':", "\"input\":", "'body': {", "input_value="];

/// True where the word stands in the text by itself and not inside a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// The texts of a refusal, the most telling first: the member that it points at in a field of its own, then its words without
/// the request that they may quote.
fn texts(body: &[u8], words: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        let pointed = [value.pointer("/error/param"), value.get("param")];
        texts.extend(
            pointed
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
        // FastAPI: [{"loc": ["body", "seed"], "msg": …, "input": …}]
        for detail in value.get("detail").and_then(Value::as_array).into_iter().flatten() {
            let loc = detail.get("loc").and_then(Value::as_array).into_iter().flatten();
            let place: Vec<&str> = loc.filter_map(Value::as_str).collect();
            texts.push(place.join(" "));
            texts.extend(detail.get("msg").and_then(Value::as_str).map(str::to_owned));
        }
    }
    let quoted = QUOTES.iter().filter_map(|quote| words.find(quote)).min();
    texts.push(words.get(..quoted.unwrap_or(words.len())).unwrap_or(words).to_owned());
    texts
}

/// The suspects that a refusal names; all of those in the first of its texts that names any.
pub(super) fn named(body: &[u8], words: &str) -> Vec<Suspect> {
    let names = |text: &String| -> Vec<Suspect> {
        let lower = text.to_lowercase();
        let is_named = |s: &Suspect| s.words().iter().any(|word| has_word(&lower, word));
        Suspect::ALL.into_iter().filter(is_named).collect()
    };
    let found = texts(body, words).iter().map(names).find(|named| !named.is_empty());
    let mut found = found.unwrap_or_default();
    // `stream_options.continuous_usage_stats` names the inner one.
    if found.contains(&Suspect::ContinuousUsage) {
        found.retain(|s| *s != Suspect::StreamOptions);
    }
    found
}

/// True where a refusal says that the server does not serve this model.
pub(super) fn is_unknown_model(body: &[u8], words: &str, model: &str) -> bool {
    let lower = words.to_lowercase();
    let points = serde_json::from_slice::<Value>(body).ok().is_some_and(|value| {
        let param = value.pointer("/error/param").and_then(Value::as_str) == Some("model");
        let code = value.pointer("/error/code").and_then(Value::as_str) == Some("model_not_found");
        param || code
    });
    let says = [
        "does not exist",
        "not found",
        "not exist",
        "no such model",
        "unknown model",
        "invalid model",
        "not loaded",
        "not available",
        "not served",
        "pinned to",
        "not a valid model",
    ];
    let lower_says = says.iter().any(|s| lower.contains(s));
    points || (named(body, words).is_empty() && words.contains(model) && lower_says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_that_is_meant() {
        use Suspect as S;
        let check = |body: &str, expected: &[Suspect]| {
            let words = crate::stream::error_text::error_message(body.as_bytes()).unwrap_or_else(|| body.to_owned());
            assert_eq!(named(body.as_bytes(), &words), expected, "{body}");
        };
        // transformers serve
        check(
            r#"{"detail":"Unexpected fields in the request: {'ignore_eos', 'min_tokens'}"}"#,
            &[S::IgnoreEos],
        );
        // vLLM 0.32
        check(
            r#"{"error":{"message":"temperature must be non-negative","param":"temperature","code":400}}"#,
            &[S::Temperature],
        );
        check(
            r#"{"error":{"message":"Stream options can only be defined when `stream=True`.","param":"stream_options"}}"#,
            &[S::StreamOptions],
        );
        // vLLM 0.8.5 quotes the whole request.
        check(
            r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'no', 'input': {'temperature': 0, 'max_tokens': 4}}]"}"#,
            &[S::Seed],
        );
        // FastAPI
        check(
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","continuous_usage_stats"],"msg":"Extra inputs are not permitted","input":true}]}"#,
            &[S::ContinuousUsage],
        );
        // OpenAI
        check(
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens"}}"#,
            &[S::TokenLimit],
        );
        check(
            r#"{"error":{"message":"Unsupported value: 'messages[0].role' does not support 'system' with this model.","param":"messages[0].role"}}"#,
            &[S::SystemRole],
        );
        // Gemma's template
        check("System role not supported", &[S::SystemRole]);
        check("something else is wrong with seeds and temperatures", &[]);
        check("{'seed', 'ignore_eos'} are not known", &[S::Seed, S::IgnoreEos]);
    }

    #[test]
    fn a_model_that_is_not_there() {
        let check = |body: &str, expected: bool| {
            let words = crate::stream::error_text::error_message(body.as_bytes()).unwrap_or_else(|| body.to_owned());
            assert_eq!(is_unknown_model(body.as_bytes(), &words, "nope"), expected, "{body}");
        };
        check(
            r#"{"error":{"message":"The model `nope` does not exist.","param":"model","code":404}}"#,
            true,
        );
        check(
            r#"{"object":"error","message":"The model `nope` does not exist.","code":404}"#,
            true,
        );
        check(
            r#"{"detail":"Server is pinned to '/models/tiny'; requested 'nope'."}"#,
            true,
        );
        check(
            r#"{"error":{"message":"model \"nope\" not found, try pulling it first","type":"not_found_error"}}"#,
            true,
        );
        check(r#"{"detail":"Not Found"}"#, false);
        check(
            r#"{"error":{"message":"'seed' is not supported with this model"}}"#,
            false,
        );
    }
}
