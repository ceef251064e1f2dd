//! Secrets are taken out of every text before it becomes evidence.
//!
//! An engine repeats its arguments and sometimes its environment in its log. What is replaced by `[redacted]`: the value of
//! every environment variable whose name speaks of a key, token, secret or password; what follows `--api-key` and the like;
//! what vLLM's log calls `api_key`; and whatever has the form of a Hugging Face token.

use std::fmt;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A value shorter than this is no secret, and replacing it would spoil the text.
const SHORTEST: usize = 6;

/// Shortest rest of a Hugging Face token after `hf_`.
const SHORTEST_HF: usize = 16;

/// Parts of a name that make its value a secret.
const NAMES: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD"];

/// Words after which a secret follows, as a flag, a Python field or a header.
const MARKS: [&str; 5] = ["api-key", "api_key", "hf-token", "hf_token", "bearer"];

/// The secrets of this machine's environment. Its `Debug` shows none of them.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets (hidden)", self.0.len())
    }
}

/// True where a variable of that name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // TOKENIZERS_PARALLELISM and its kin are no secrets, and values such as `mistral` stand everywhere.
    let name = name.replace("TOKENIZER", "");
    NAMES.iter().any(|part| name.contains(part))
}

impl Secrets {
    /// The secrets among these variables.
    #[must_use]
    pub fn of<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut values: Vec<String> = variables
            .into_iter()
            .filter(|(name, value)| is_secret_name(name) && value.trim().len() >= SHORTEST)
            .flat_map(|(_, value)| {
                let value = value.trim().to_owned();
                // As Python and JSON would write it inside quotes.
                let escaped = value.escape_default().to_string();
                [value, escaped]
            })
            .collect();
        // The longest first: one secret may be the beginning of another.
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self(values)
    }

    /// The secrets of this process's environment. Values that are not Unicode are taken as they can be shown.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of(std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        }))
    }

    /// These secrets and one more, whatever its variable is called.
    #[must_use]
    pub fn and(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            self.0.push(secret.to_owned());
            self.0.sort_unstable_by_key(|s| std::cmp::Reverse(s.len()));
        }
        self
    }

    /// The text without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        // Marks first: a value replaced inside a list would hide where the list ends.
        let mut clean = after_marks(text);
        for secret in &self.0 {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), REDACTED);
            }
        }
        hugging_face(&clean)
    }

    /// A command line without its secrets. Here the secret of `--api-key` is a word of its own.
    #[must_use]
    pub fn redact_argv(&self, argv: &[String]) -> Vec<String> {
        let mut follows = false;
        argv.iter()
            .map(|word| {
                if follows && !word.starts_with("--") {
                    return REDACTED.to_owned();
                }
                follows = is_mark(word);
                self.redact(word)
            })
            .collect()
    }

    /// True where a word of a command line holds a secret.
    #[must_use]
    pub fn is_in(&self, argv: &[String]) -> bool {
        self.redact_argv(argv) != argv
    }
}

/// True for `--api-key` and its kin, alone.
fn is_mark(word: &str) -> bool {
    word.strip_prefix("--")
        .is_some_and(|flag| MARKS.contains(&flag.to_ascii_lowercase().as_str()))
}

const fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '=' | '~')
}

/// Replaces whatever looks like a Hugging Face token.
fn hugging_face(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("hf_") {
        let (before, token) = rest.split_at(at);
        let body = token.get(3..).unwrap_or_default();
        let length = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len());
        clean.push_str(before);
        if length >= SHORTEST_HF {
            clean.push_str(REDACTED);
        } else {
            clean.push_str("hf_");
            clean.push_str(body.get(..length).unwrap_or_default());
        }
        rest = body.get(length..).unwrap_or_default();
    }
    clean.push_str(rest);
    clean
}

/// Replaces what follows a mark in a line: `--api-key X`, `--api-key=X`, `'api_key': 'X'`, `api_key=['X', 'Y']`,
/// `Authorization: Bearer X`. What vLLM writes for "none" stays.
fn after_marks(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        // Most lines of a log have no mark.
        if MARKS.iter().any(|mark| lower.contains(mark)) {
            clean.push_str(&redact_line(line, &lower));
        } else {
            clean.push_str(line);
        }
    }
    clean
}

fn redact_line(line: &str, lower: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut at = 0_usize;
    while let Some((begin, mark)) = next_mark(lower, at) {
        let end = begin.saturating_add(mark.len());
        clean.push_str(line.get(at..end).unwrap_or_default());
        at = end;
        let rest = line.get(at..).unwrap_or_default();
        // In running text a word after `api_key` is no secret; after a flag or `Bearer` it is.
        let spaced = mark == "bearer" || line.get(..begin).is_some_and(|before| before.ends_with("--"));
        let (separator, value) = secret_after(rest, spaced);
        clean.push_str(rest.get(..separator).unwrap_or_default());
        at = at.saturating_add(separator);
        if value > 0 {
            clean.push_str(REDACTED);
            at = at.saturating_add(value);
        }
    }
    clean.push_str(line.get(at..).unwrap_or_default());
    clean
}

fn next_mark(lower: &str, from: usize) -> Option<(usize, &'static str)> {
    let rest = lower.get(from..)?;
    MARKS
        .iter()
        .filter_map(|mark| Some((rest.find(mark)?.saturating_add(from), *mark)))
        .min()
}

/// Length of the separator and of the secret behind it; 0 where none follows.
fn secret_after(rest: &str, spaced: bool) -> (usize, usize) {
    let separator = rest
        .find(|c: char| !matches!(c, '\'' | '"' | ':' | '=' | ' ' | '\t' | ','))
        .unwrap_or(rest.len());
    let value = rest.get(separator..).unwrap_or_default();
    let between = rest.get(..separator).unwrap_or_default();
    // Without a separator this is a longer word, such as `api_keys_file`.
    if separator == 0 || value.starts_with("--") || !(spaced || between.contains([':', '='])) {
        return (0, 0);
    }
    let length = if value.starts_with('[') && !value.starts_with(REDACTED) {
        list_length(value)
    } else {
        value.find(|c: char| !is_token_char(c)).unwrap_or(value.len())
    };
    let word = value.get(..length).unwrap_or_default();
    // `Authorization: Bearer X`: the next mark has the secret.
    let nothing = ["none", "null", "true", "false", "bearer", "basic"];
    if nothing.contains(&word.to_ascii_lowercase().as_str()) {
        (separator, 0)
    } else {
        (separator, length)
    }
}

/// Length of a Python list of texts, with its brackets; to the end of the line where it does not end.
fn list_length(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return at.saturating_add(1),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            _ => {}
        }
    }
    text.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Secrets::of([
            set("OPENAI_API_KEY", "sk-abcdef"),
            set("OPENAI_API_KEY_2", "sk-abcdef-longer"),
            set("MY_PASSWORD", "it's 'quoted'"),
            set("TOKENIZERS_PARALLELISM", "sometimes"),
            set("SHORT_KEY", "abc"),
            set("HOME", "/home/someone"),
        ])
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(secrets().redact(text), expected);
        assert_eq!(secrets().redact(expected), expected, "redacting twice changes nothing");
    }

    #[test]
    fn values_of_variables() {
        check("a sk-abcdef b", "a [redacted] b");
        check("a sk-abcdef-longer b", "a [redacted] b");
        check("sometimes abc /home/someone", "sometimes abc /home/someone");
        check("x it's 'quoted' y", "x [redacted] y");
        check(r"{'p': 'it\'s \'quoted\''}", "{'p': '[redacted]'}");
    }

    #[test]
    fn forms_without_a_variable() {
        check(
            "vllm serve m --api-key zzz123 --port 1",
            "vllm serve m --api-key [redacted] --port 1",
        );
        check("--api-key=zzz123", "--api-key=[redacted]");
        check(
            "non-default args: {'api_key': 'zzz', 'port': 1}",
            "non-default args: {'api_key': '[redacted]', 'port': 1}",
        );
        check(
            "non-default args: {'api_key': ['zzz', 'yyy'], 'port': 1}\nmore\n",
            "non-default args: {'api_key': [redacted], 'port': 1}\nmore\n",
        );
        check(
            "{'api_key': ['sk-abcdef', 'a]b'], 'port': 1}",
            "{'api_key': [redacted], 'port': 1}",
        );
        check("Authorization: Bearer zzz.yyy", "Authorization: Bearer [redacted]");
        check("token hf_AbCdEfGhIjKlMnOpQrSt.", "token [redacted].");
    }

    #[test]
    fn other_words_stay() {
        for text in [
            "api_key=None, hf_token=None, port=1",
            "api_keys_file and hf_hub and hf_transfer",
            "--api-key --port 1",
            "ends with api_key",
            "the api_key is missing",
            "Überschrift: api_key",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn words_of_a_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let secrets = secrets();
        assert_eq!(
            secrets.redact_argv(&words("vllm serve --api-key q1 --hf-token=w2 --key sk-abcdef")),
            words("vllm serve --api-key [redacted] --hf-token=[redacted] --key [redacted]")
        );
        assert!(secrets.is_in(&words("vllm --api-key q")));
        assert!(!secrets.is_in(&words("vllm serve m --port 1")));
        assert_eq!(format!("{secrets:?}").find("sk-"), None);
    }
}
