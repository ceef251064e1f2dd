//! A command that a reader copies: on one line where it fits or where there is no width, else broken between two of its words with
//! the sign by which a shell goes on (`\`). No word of it is broken, an option stays with its value, and nothing is added that a
//! shell would read.

use super::layout;
use servelab_schema::foreign::plain;
use std::io;

/// The command of a shell in lines that fit, each begun with `indent` blanks, the second and later ones with two more.
pub(crate) fn command(text: &str, indent: usize) -> String {
    within(&plain(text), layout::width_of(&io::stdout()), indent)
}

fn within(text: &str, width: Option<usize>, indent: usize) -> String {
    const GOES_ON: &str = " \\";
    let mut out = " ".repeat(indent);
    let mut used = indent;
    for (i, word) in pairs(&words(text)).into_iter().enumerate() {
        let long = word.chars().count();
        // The sign must fit too, whatever follows.
        let fits = width.is_none_or(|width| used + 1 + long + GOES_ON.len() <= width);
        if i > 0 && !fits {
            out.push_str(GOES_ON);
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            used = indent + 2;
        } else if i > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(&word);
        used += long;
    }
    out.push('\n');
    out
}

/// Words, and options with the value behind them.
fn pairs(words: &[&str]) -> Vec<String> {
    let mut pairs: Vec<String> = Vec::new();
    let mut wants_value = false;
    for word in words {
        let is_option = word.starts_with("--") || word.starts_with("'--");
        match pairs.last_mut().filter(|_| wants_value && !is_option) {
            Some(option) => {
                option.push(' ');
                option.push_str(word);
            }
            None => pairs.push((*word).to_owned()),
        }
        wants_value = is_option && !word.contains('=');
    }
    pairs
}

/// The words of a command as a shell splits them, with their quotes.
fn words(text: &str) -> Vec<&str> {
    let (mut in_quotes, mut is_escaped) = (false, false);
    let splits = |c: char| {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !in_quotes && !was_escaped;
        if c == '\'' && !was_escaped {
            in_quotes = !in_quotes;
        }
        c == ' ' && !in_quotes && !was_escaped
    };
    text.split(splits).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_or_goes_on_with_the_sign_of_a_shell() {
        let text = "servelab bench --url http://h:1 --header 'X: a b' --model 'it'\\''s big' --rate 1";
        assert_eq!(within(text, None, 2), format!("  {text}\n"));
        let lines = "  servelab bench \\\n    --url http://h:1 \\\n    --header 'X: a b' \\\n    --model 'it'\\''s big' \\\n    --rate 1\n";
        let narrow = within(text, Some(28), 2);
        assert_eq!(narrow, lines);
        assert!(narrow.lines().all(|line| line.chars().count() <= 28));
        // A shell reads the same.
        let joined = narrow.replace("\\\n", " ").trim_end().to_owned();
        assert_eq!(words(&joined), words(text));
        assert_eq!(within("a", Some(1), 0), "a\n", "a word that is too long stays whole");
    }
}
