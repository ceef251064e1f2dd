//! The command line as an answer repeats it: what a shell takes, without the values of headers, which may be secrets.

use servelab_schema::foreign::plain;

/// The words that were given, as a shell takes them.
pub(crate) fn shown(words: impl Iterator<Item = String>) -> String {
    let mut hides: Option<fn(&str) -> String> = None;
    let mut command = vec!["servelab".to_owned()];
    for word in words.skip(1) {
        let word = match (hides.take(), word.split_once('=')) {
            (Some(hide), _) => hide(&word),
            (None, Some((option, value))) if let Some(hide) = hidden(option) => format!("{option}={}", hide(value)),
            (None, _) => {
                hides = hidden(&word);
                word
            }
        };
        command.push(quoted(&plain(&word)));
    }
    command.join(" ")
}

/// How an option's value is shown where it may be a secret.
fn hidden(option: &str) -> Option<fn(&str) -> String> {
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

    #[test]
    fn a_command_is_one_for_a_shell_and_says_no_secret() {
        let check = |words: &[&str], expected: &str| {
            let words = ["/usr/bin/servelab"].iter().chain(words).map(ToString::to_string);
            assert_eq!(shown(words), expected);
        };
        check(
            &["bench", "--url", "http://h:1", "--slo", "ttft=2s,tpot=100ms"],
            "servelab bench --url http://h:1 --slo ttft=2s,tpot=100ms",
        );
        check(
            &["bench", "--header", "X-Key: s3cret", "--model", "a b'c"],
            "servelab bench --header 'X-Key: …' --model 'a b'\\''c'",
        );
        check(
            &["--header=Authorization: Bearer t"],
            "servelab '--header=Authorization: …'",
        );
        check(
            &["--extra-headers", "{\"a\": \"s3cret\"}", "--rate", "1"],
            "servelab --extra-headers '…' --rate 1",
        );
        check(&["--header", "no colon"], "servelab --header ': …'");
    }
}
