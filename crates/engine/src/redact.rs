//! Secrets are taken out of every text before it becomes evidence.
//!
//! An engine repeats its arguments and sometimes its environment in its log. What is replaced by `[redacted]`: the value of
//! every environment variable whose name speaks of a key, token, secret or password; the password in every variable that is a
//! URL; what follows `--api-key` and the like; what vLLM's log calls `api_key`; the password of `user:password@` in a URL; and
//! whatever has the form of a Hugging Face token.

use serde_json::Value;
use std::{borrow::Cow, fmt, ops::Range};

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A value shorter than this is no secret, and replacing it would spoil the text.
const SHORTEST: usize = 6;

/// Shortest rest of a Hugging Face token after `hf_`.
const SHORTEST_HF: usize = 16;

/// Parts of a name that make its value a secret.
const NAMES: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD"];

/// Whole words of a name that make its value a secret; as mere parts they stand in `PATH` and `COMPASS` too.
const NAME_WORDS: [&str; 9] = [
    "PASS",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "PAT",
    "PGPASS",
    "AUTHORIZATION",
];

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
    // `DB_PASS2` is a second `DB_PASS`.
    let mut words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
    NAMES.iter().any(|part| name.contains(part)) || words.any(|word| NAME_WORDS.contains(&word))
}

impl Secrets {
    /// The secrets among these variables.
    #[must_use]
    pub fn of<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut values: Vec<String> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let value = value.trim();
                let secret = if is_secret_name(&name) {
                    value
                } else {
                    value.get(url_password(value)?)?
                };
                (secret.len() >= SHORTEST).then(|| written(secret))
            })
            .flatten()
            .collect();
        sort(&mut values);
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

    /// These secrets and one more, whatever its variable is called. A very short one, such as the `EMPTY` that stands for no
    /// key, is none: the log that is read for evidence would be spoilt.
    #[must_use]
    pub fn and(mut self, secret: &str) -> Self {
        if secret.len() >= SHORTEST {
            self.0.extend(written(secret));
            sort(&mut self.0);
        }
        self
    }

    /// The text without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        // Marks first: a value replaced inside a list would hide where the list ends.
        let mut clean = in_urls(&after_marks(text)).into_owned();
        for secret in &self.0 {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), REDACTED);
            }
        }
        hugging_face(&clean)
    }

    /// The same for a text that was cut: its end may be the beginning of a secret.
    #[must_use]
    pub fn redact_cut(&self, text: &str) -> String {
        let clean = self.redact(text);
        let starts = self.0.iter().filter_map(|secret| {
            let cuts = secret.char_indices().map(|(at, _)| at).rev();
            let mut starts = cuts
                .filter_map(|at| secret.get(..at))
                .filter(|start| start.len() >= SHORTEST);
            starts.find(|start| clean.ends_with(start)).map(str::len)
        });
        let hugging_face = clean.rfind("hf_").filter(|at| {
            let token = clean.get(at.saturating_add(3)..).unwrap_or_default();
            token.len() >= SHORTEST && token.chars().all(|c| c.is_ascii_alphanumeric())
        });
        let token = hugging_face.map(|at| clean.len().saturating_sub(at));
        match starts.chain(token).max() {
            Some(length) => {
                let whole = clean.get(..clean.len().saturating_sub(length));
                format!("{}{REDACTED}", whole.unwrap_or_default())
            }
            None => clean,
        }
    }

    /// A page without its secrets. What was JSON is JSON afterwards: its texts are redacted one by one.
    #[must_use]
    pub fn redact_page(&self, page: &str) -> String {
        match serde_json::from_str(page) {
            Ok(value) => self.redact_value(value).to_string(),
            Err(_) => self.redact(page),
        }
    }

    fn redact_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.redact_value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, item)| (self.redact(&name), self.redact_value(item)))
                .collect(),
            other => other,
        }
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

/// The longest first: one secret may be the beginning of another.
fn sort(values: &mut Vec<String>) {
    values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    values.dedup();
}

/// A secret as it is, and as Python, JSON and the labels of `/metrics` write it inside quotes.
fn written(secret: &str) -> Vec<String> {
    let slashes = secret.replace('\\', "\\\\").replace('\n', "\\n");
    let ascii = |text: &str| -> String {
        let mut units = [0_u16; 2];
        let escape = |c: char| {
            if c.is_ascii() {
                return c.to_string();
            }
            let units = c.encode_utf16(&mut units);
            units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
        };
        text.chars().map(escape).collect()
    };
    let double = slashes.replace('"', "\\\"");
    let mut forms = vec![
        secret.escape_default().to_string(),
        slashes.replace('\'', "\\'"),
        ascii(&double),
        double,
        slashes,
        secret.to_owned(),
    ];
    forms.dedup();
    forms
}

/// True for `--api-key`, `--admin-api-key` and their kin, alone.
fn is_mark(word: &str) -> bool {
    let Some(flag) = word.strip_prefix("--").map(str::to_ascii_lowercase) else {
        return false;
    };
    let ends = |mark: &str| {
        let before = flag.strip_suffix(mark);
        before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '_']))
    };
    MARKS.iter().any(|mark| ends(mark)) || ends("password")
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

/// Where the password of the first URL of the form `scheme://user:password@host` lies; none where there is none or it is
/// empty. The password may hold an `@`, but no `/`, which a URL writes as `%2F`.
fn url_password(text: &str) -> Option<Range<usize>> {
    let mut from = 0_usize;
    while let Some(at) = text.get(from..)?.find("://") {
        let begin = from.saturating_add(at).saturating_add("://".len());
        let rest = text.get(begin..)?;
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '\'' | '"' | '`' | '<' | '>' | '\\');
        let authority = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
        let password = authority.rsplit_once('@').and_then(|(user, _)| {
            let (name, password) = user.split_once(':')?;
            let start = begin.saturating_add(name.len()).saturating_add(1);
            (!password.is_empty()).then(|| start..start.saturating_add(password.len()))
        });
        if password.is_some() {
            return password;
        }
        from = begin;
    }
    None
}

/// Replaces the passwords in URLs.
fn in_urls(text: &str) -> Cow<'_, str> {
    let Some(first) = url_password(text) else {
        return Cow::Borrowed(text);
    };
    let mut clean = String::with_capacity(text.len());
    let (mut rest, mut password) = (text, Some(first));
    while let Some(at) = password {
        clean.push_str(rest.get(..at.start).unwrap_or_default());
        clean.push_str(REDACTED);
        rest = rest.get(at.end..).unwrap_or_default();
        password = url_password(rest);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
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
    let mut marks = marks(lower).peekable();
    loop {
        // What lies in a secret is no mark.
        while marks.next_if(|(begin, _)| *begin < at).is_some() {}
        let Some((begin, mark)) = marks.next() else { break };
        let end = begin.saturating_add(mark.len());
        clean.push_str(line.get(at..end).unwrap_or_default());
        at = end;
        let rest = line.get(at..).unwrap_or_default();
        // In running text a word after `api_key` is no secret; after a flag or `Bearer` it is.
        let spaced = mark == "bearer" || in_flag(line, begin);
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

/// True where the word that is at `begin` is a flag, such as `--admin-api-key`.
fn in_flag(line: &str, begin: usize) -> bool {
    let before = line.get(..begin).unwrap_or_default();
    let word = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    before.get(word.len()..).is_some_and(|word| word.starts_with("--"))
}

/// The marks of a line in their order.
fn marks(lower: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let mut found: Vec<(usize, &'static str)> = MARKS
        .iter()
        .flat_map(|mark| lower.match_indices(mark).map(|(at, _)| (at, *mark)))
        .collect();
    found.sort_unstable();
    found.into_iter()
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
            (None, ']') => return at + 1,
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
    fn names_of_secrets() {
        for name in [
            "OPENAI_API_KEY",
            "hf_token",
            "DB_PASS",
            "db-pass",
            "DB_PASS2",
            "SSH_PASSPHRASE",
            "AZURE_CREDENTIAL",
            "AWS_CREDENTIALS",
            "SENTRY_DSN",
            "GITHUB_PAT",
            "PAT",
            "PGPASSWORD",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PATH",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "COMPASS",
            "PASSAGE",
            "BYPASS_CACHE",
            "PATTERN",
            "TOKENIZERS_PARALLELISM",
            "DSNX",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn passwords_in_urls() {
        check(
            "db postgres://me:hunter2@db:5432/x?y=1 up",
            "db postgres://me:[redacted]@db:5432/x?y=1 up",
        );
        check("'redis://:p4ss@h'", "'redis://:[redacted]@h'");
        check(
            "a http://u:p@w@h/ b http://v:q@h/",
            "a http://u:[redacted]@h/ b http://v:[redacted]@h/",
        );
        check(
            "https://x.example/a http://u:w1@h",
            "https://x.example/a http://u:[redacted]@h",
        );
        for text in [
            "http://127.0.0.1:8000/v1@x",
            "git ssh://git@host/x",
            "http://u:@h/",
            "see me@home: http://h:80/ and a:b@c",
            "://",
            "http://h:80?to=me:you@x",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn a_password_in_a_url_of_the_environment_is_known_elsewhere() {
        let url = "postgres://me:hunter2two@db/x".to_owned();
        let secrets = Secrets::of([("DATABASE_URL".to_owned(), url)]);
        assert_eq!(
            secrets.redact("db says: no hunter2two for me"),
            "db says: no [redacted] for me"
        );
        assert_eq!(secrets.redact("me db x"), "me db x");
    }

    #[test]
    fn values_as_others_write_them() {
        let secrets = Secrets::default().and("it's a \\ \"key\" \u{e4}");
        for text in [
            r#"it's a \\ "key" ä"#,
            r#"it's a \\ \"key\" ä"#,
            r#"it's a \\ \"key\" \u00e4"#,
            r#"it\'s a \\ "key" ä"#,
            r#"it's a \ "key" ä"#,
        ] {
            assert_eq!(secrets.redact(text), REDACTED, "{text}");
        }
        let page = r#"{"model":"it's a \\ \"key\" \u00e4","n":1}"#;
        let clean: serde_json::Value = serde_json::from_str(&secrets.redact(page)).unwrap();
        assert_eq!(clean["model"], REDACTED, "what was JSON is JSON");
    }

    #[test]
    fn a_key_that_stands_for_none_spoils_nothing() {
        let clean = Secrets::default()
            .and("1")
            .and("EMPTY")
            .redact("port=1, x=EMPTY, api_key='1'");
        assert_eq!(clean, "port=1, x=EMPTY, api_key='[redacted]'");
    }

    #[test]
    fn a_cut_text_may_end_in_a_secret() {
        let check = |text: &str, expected: &str| assert_eq!(secrets().redact_cut(text), expected);
        check("no key: sk-abc", "no key: [redacted]");
        check("no key: sk-abcdef-lo", "no key: [redacted]-lo");
        check("no key: it's 'quot", "no key: [redacted]");
        check("no key: sk-ab", "no key: sk-ab");
        check("sk-abcdef and more", "[redacted] and more");
        check("token hf_AbCdEfGh", "token [redacted]");
        check("uses hf_hub", "uses hf_hub");
    }

    #[test]
    fn a_page_stays_json() {
        let secrets = Secrets::default().and("one, 'two'=3");
        let page =
            r#"{"api_key": ["zzz"], "n": 1, "config": "a=1, x='y one, \\'two\\'=3', b=2", "one, 'two'=3": null}"#;
        let clean = secrets.redact_page(page);
        let page: Value = serde_json::from_str(&clean).unwrap();
        assert_eq!(page["config"], "a=1, x='y [redacted]', b=2");
        assert_eq!(page["n"], 1);
        assert!(page.get(REDACTED).is_some(), "{clean}");
        assert_eq!(secrets.redact_page("no JSON one, 'two'=3"), "no JSON [redacted]");
    }

    #[test]
    fn a_line_full_of_marks_takes_no_longer_for_each() {
        let line = "--api-key zzz123 ".repeat(50_000);
        let clean = secrets().redact(&line);
        assert!(!clean.contains("zzz"));
        assert_eq!(clean.matches(REDACTED).count(), 50_000);
    }

    #[test]
    fn forms_without_a_variable() {
        check(
            "vllm serve m --api-key zzz123 --port 1",
            "vllm serve m --api-key [redacted] --port 1",
        );
        check("--api-key=zzz123", "--api-key=[redacted]");
        check("x --admin-api-key zzz123 y", "x --admin-api-key [redacted] y");
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
        assert_eq!(
            secrets.redact_argv(&words("sglang --admin-api-key q1 --ssl-keyfile-password w2 --key e3")),
            words("sglang --admin-api-key [redacted] --ssl-keyfile-password [redacted] --key e3")
        );
        assert!(secrets.is_in(&words("vllm --api-key q")));
        assert!(secrets.is_in(&words("vllm --db postgres://me:hunter2@db/x")));
        assert!(!secrets.is_in(&words("vllm serve m --port 1")));
        assert_eq!(format!("{secrets:?}").find("sk-"), None);
    }
}
