//! The command line as an answer repeats it: what a shell takes, without the values of headers, which may be secrets; and the
//! same with one thing changed, as what to do next.

use servelab_schema::foreign::plain;
use std::ffi::OsString;

/// The words of a command line behind the program's name, without secrets. A word that is no UTF-8 is shown as near to it as
/// text can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    words: Vec<String>,
    hides: bool,
}

/// These words, the program's own name first, as a shell takes them.
pub(crate) fn shown(words: impl Iterator<Item = String>) -> String {
    Command::of(words.map(OsString::from)).text()
}

/// How an option's value is shown where it may be a secret.
type Hide = fn(&str) -> String;

impl Command {
    /// That of this process.
    pub(super) fn given() -> Self {
        Self::of(std::env::args_os())
    }

    /// That of these words, the program's own name first.
    pub(super) fn of(words: impl Iterator<Item = OsString>) -> Self {
        let mut hides: Option<Hide> = None;
        let mut command = Self {
            words: Vec::new(),
            hides: false,
        };
        for word in words.skip(1) {
            let word = plain(&word.to_string_lossy()).into_owned();
            let word = match (hides.take(), word.split_once('=')) {
                (Some(hide), _) => hide(&word),
                (None, Some((option, value))) if let Some(hide) = hidden(option) => {
                    command.hides = true;
                    format!("{option}={}", hide(value))
                }
                (None, _) => {
                    hides = hidden(&word);
                    command.hides |= hides.is_some();
                    word
                }
            };
            command.words.push(word);
        }
        command
    }

    /// True where a value was left out.
    pub(super) const fn hides(&self) -> bool {
        self.hides
    }

    /// True where this option is among its words.
    pub(super) fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| name_of(word) == option)
    }

    /// The same without these options, each of which has a value.
    pub(super) fn without(mut self, options: &[&str]) -> Self {
        let mut is_value = false;
        self.words.retain(|word| {
            if std::mem::take(&mut is_value) {
                return false;
            }
            let goes = options.contains(&name_of(word));
            is_value = goes && !word.contains('=');
            !goes
        });
        self
    }

    /// The same with this option at its end, in place of what it was.
    pub(super) fn with(self, option: &str, value: &str) -> Self {
        let mut command = self.without(&[option]);
        command.words.extend([option.to_owned(), value.to_owned()]);
        command
    }

    /// As a shell takes it.
    pub(super) fn text(&self) -> String {
        let words = self.words.iter().map(|word| quoted(word));
        ["servelab".to_owned()]
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn name_of(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

fn hidden(option: &str) -> Option<Hide> {
    match option {
        "--header" => Some(without_value),
        "--extra-headers" => Some(|_| "…".to_owned()),
        _ => None,
    }
}

/// A header's name alone.
fn without_value(header: &str) -> String {
    let name = header.split_once(':').map_or("", |(name, _)| name);
    format!("{name}: …")
}

/// A word that a shell takes for one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn of(words: &[&str]) -> Command {
        Command::of(["/usr/bin/servelab"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn a_command_is_one_for_a_shell_and_says_no_secret() {
        let check = |words: &[&str], hides: bool, expected: &str| {
            let command = of(words);
            assert_eq!((command.text().as_str(), command.hides()), (expected, hides));
        };
        check(
            &["bench", "--url", "http://h:1", "--slo", "ttft=2s,tpot=100ms"],
            false,
            "servelab bench --url http://h:1 --slo ttft=2s,tpot=100ms",
        );
        check(
            &["bench", "--header", "X-Key: s3cret", "--model", "a b'c"],
            true,
            "servelab bench --header 'X-Key: …' --model 'a b'\\''c'",
        );
        check(
            &["--header=Authorization: Bearer t"],
            true,
            "servelab '--header=Authorization: …'",
        );
        check(
            &["--extra-headers", "{\"a\": \"s3cret\"}", "--rate", "1"],
            true,
            "servelab --extra-headers '…' --rate 1",
        );
        check(&["--header", "no colon"], true, "servelab --header ': …'");
    }

    #[test]
    fn a_word_that_is_no_text_is_shown_and_is_no_panic() {
        let words = ["servelab", "bench", "--model"].map(OsString::from).into_iter();
        let command = Command::of(words.chain([OsString::from_vec(b"m\xffn".to_vec())]));
        assert_eq!(command.text(), "servelab bench --model 'm\u{fffd}n'");
    }

    #[test]
    fn an_option_is_changed_and_all_others_stay() {
        let command = of(&[
            "bench",
            "--concurrency",
            "8",
            "--model",
            "m",
            "--traces=t",
            "--ignore-eos",
        ]);
        assert!(command.has("--traces") && !command.has("--rate"));
        let changed = command
            .without(&["--concurrency", "--traces"])
            .with("--sweep", "concurrency=1,8");
        assert_eq!(
            changed.text(),
            "servelab bench --model m --ignore-eos --sweep concurrency=1,8"
        );
        assert_eq!(
            changed.with("--sweep", "rate=1").text(),
            "servelab bench --model m --ignore-eos --sweep rate=1"
        );
    }
}
