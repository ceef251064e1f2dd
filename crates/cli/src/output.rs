//! Printing: answers to standard output, notes to standard error, tables and JSON by one rule.

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use servelab_schema::foreign::plain;
use std::io::{self, Write};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints an answer. A reader that went away (`| head`) is no error.
pub(crate) fn answer(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints a JSON answer with a final newline.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    answer(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Says something beside the answer.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(text));
}

/// A table whose columns fit the terminal.
pub(crate) fn table<H: Into<String>>(header: impl IntoIterator<Item = H>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    // A file or a pipe has no width: there a row is a line.
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        table.set_width(size.ws_col);
    }
    table.set_header(header.into_iter().map(Into::into).collect::<Vec<String>>());
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| plain(cell))));
    format!("{table}\n")
}

/// Labels and values, one pair a line, the values aligned.
pub(crate) fn facts<L: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (L, V)>) -> String {
    let pairs: Vec<(L, V)> = pairs.into_iter().collect();
    let width = pairs
        .iter()
        .map(|(label, _)| label.as_ref().chars().count())
        .max()
        .unwrap_or(0);
    pairs
        .iter()
        .map(|(label, value)| format!("{:width$}  {}\n", label.as_ref(), plain(value.as_ref())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_engine_do_not_command_the_terminal() {
        let words = "died\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}1m\r\n\tend";
        assert!(!table(["words"], vec![vec![words.to_owned()]]).contains('\u{1b}'));
        assert!(!facts([("words", words)]).contains('\u{1b}'));
    }
}
