//! Lines that fit and columns that split no word. Pure but for the question how wide a terminal is.

use std::{env, os::fd::AsFd};

/// What the table draws beside each cell: a blank at both sides and one between two columns.
const BESIDE_A_CELL: usize = 3;

/// What it draws of the frame besides: two borders, and no blank before the first column.
const FRAME: usize = 1;

/// Columns of a terminal, else what `COLUMNS` says; none where neither does.
pub(super) fn width_of(stream: &impl AsFd) -> Option<usize> {
    let terminal = rustix::termios::tcgetwinsize(stream)
        .ok()
        .map(|size| usize::from(size.ws_col));
    let said = || env::var("COLUMNS").ok()?.trim().parse().ok();
    terminal
        .filter(|columns| *columns > 0)
        .or_else(said)
        .filter(|columns| *columns > 0)
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// The text with what belongs to a number on the number's line.
pub(super) fn glued(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

/// The text in lines of at most `width` characters, broken at blanks only; every line but the first of each of the text's own
/// begins with `indent` blanks. What has no width, or is one long word, stays as it is.
pub(super) fn wrap(text: &str, width: Option<usize>, indent: usize) -> String {
    let Some(width) = width else {
        return format!("{text}\n");
    };
    let mut out = String::new();
    for line in glued(text).lines() {
        let mut used = 0;
        for (i, word) in line.split(' ').enumerate() {
            let blank = usize::from(i > 0);
            if used > indent && used + blank + chars(word) > width && !word.is_empty() {
                // Blanks at the end of a line are seen by nobody.
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                used = indent;
            } else if blank > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += chars(word);
        }
        out.push('\n');
    }
    out
}

/// How wide the columns may be so that each row fits and no word is split; none where that cannot be.
pub(super) fn columns(width: Option<usize>, header: &[String], rows: &[Vec<String>]) -> Option<Vec<usize>> {
    let cells = |column: usize| {
        let below = rows.iter().filter_map(move |row| row.get(column));
        header.get(column).into_iter().chain(below)
    };
    let longest = |column: usize, split: fn(char) -> bool| {
        let parts = cells(column).flat_map(|cell| cell.split(split)).map(chars);
        parts.max().unwrap_or(0)
    };
    let natural: Vec<usize> = (0..header.len()).map(|c| longest(c, |x| x == '\n')).collect();
    let Some(width) = width else {
        return Some(natural);
    };
    let mut given: Vec<usize> = (0..header.len())
        .map(|c| longest(c, |x| x == ' ' || x == '\n'))
        .collect();
    let frame = header.len() * BESIDE_A_CELL + FRAME;
    let mut left = width.checked_sub(frame + given.iter().sum::<usize>())?;
    while left > 0 {
        // The one that would be the most lines gets the next character.
        let lines = |(given, natural): (&usize, &usize)| natural.div_ceil((*given).max(1));
        let wanting = (0..given.len()).filter(|c| given.get(*c) < natural.get(*c));
        let Some(next) = wanting.max_by_key(|c| given.get(*c).zip(natural.get(*c)).map(lines)) else {
            break;
        };
        if let Some(column) = given.get_mut(next) {
            *column += 1;
        }
        left -= 1;
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_keep_their_indent() {
        assert_eq!(wrap("one two three", Some(8), 2), "one two\n  three\n");
        assert_eq!(
            wrap("label  value that is long", Some(14), 7),
            "label  value\n       that is\n       long\n"
        );
        assert_eq!(
            wrap("averyveryverylongword x", Some(8), 0),
            "averyveryverylongword\nx\n"
        );
        assert_eq!(wrap("a\nb c", Some(80), 2), "a\nb c\n", "its own lines stay");
        assert_eq!(wrap("one two", None, 2), "one two\n");
        assert_eq!(
            wrap("is at 17.1 % here", Some(10), 0),
            "is at\n17.1\u{a0}%\nhere\n",
            "a number keeps its sign"
        );
        assert_eq!(
            wrap("  list  of words", Some(80), 4),
            "  list  of words\n",
            "blanks stay"
        );
    }
}
