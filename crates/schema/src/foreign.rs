//! What others wrote, made harmless before a person sees it: texts on a terminal, cells in a spreadsheet.

use std::borrow::Cow;

/// The text without what would command a terminal. Line breaks and tabs stay.
///
/// Control characters go, the second set (U+0080 to U+009F, where U+009B begins a command as well as ESC does) included, and
/// so do the marks that turn the direction of writing, with which a text can show other words than it holds.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let commands = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(commands) {
        Cow::Owned(text.replace(commands, ""))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same in one line: what would break it, or a terminal, is shown as an escape such as `\n`. For names and reasons, which could
/// else pretend to be a line of ours.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) && matches!(plain(text), Cow::Borrowed(_)) {
        return Cow::Borrowed(text);
    }
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    Cow::Owned(plain(&line).into_owned())
}

/// The text as a cell that no spreadsheet takes for a formula: one that begins like a formula gets an apostrophe in front.
/// Numbers, also negative ones, stay numbers. Quoting is the CSV writer's.
#[must_use]
pub fn cell(text: &str) -> Cow<'_, str> {
    let begins_like_one = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if begins_like_one && text.parse::<f64>().is_err() {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_do_not_command_the_terminal() {
        let words = "died\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}1m\r\n\tend\u{202e}dne";
        assert_eq!(plain(words), "died[2J]0;title1m\n\tenddne");
        assert!(matches!(plain("Überschrift\n\tok"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_name_is_no_line_of_its_own() {
        assert_eq!(
            one_line("a\n\u{1b}[2J✓ consistent\u{202e}"),
            "a\\n\\u{1b}[2J✓ consistent"
        );
        assert!(matches!(one_line("traces.jsonl"), Cow::Borrowed(_)));
    }

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-1+2", "'-1+2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("-3.25", "-3.25"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
