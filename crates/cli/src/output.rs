//! Printing: answers to standard output, notes to standard error, tables and JSON by one rule.
//!
//! Where the width is known (a terminal, or `COLUMNS`) every line fits and no word is split; a file or a pipe has none, and there a
//! row is a line.

mod command;
mod layout;
mod stream;
mod voice;

pub(crate) use command::command;
pub(crate) use stream::{Stream, outside_runs};
pub(crate) use voice::{
    Above, LogFormat, Voice, draws, error, note, progress_is_drawn, progress_is_wanted, prompt, usage, warn,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use servelab_schema::foreign::plain;
use std::{
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Why an answer did not get out, the first time that one did not.
static UNDELIVERED: OnceLock<io::Error> = OnceLock::new();

/// Prints an answer. A reader that went away (`| head`) is no error; what else keeps it from being written is
/// [`undelivered`] at the end of the program.
pub(crate) fn answer(text: &str) {
    let mut out = io::stdout().lock();
    // What stands in the buffer when the program ends would be lost without a word.
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = UNDELIVERED.set(error);
    }
}

/// What to say where an answer, or a part of one, did not get out.
pub(crate) fn undelivered() -> Option<String> {
    UNDELIVERED.get().map(undelivered_words)
}

/// The same of this error.
fn undelivered_words(error: &io::Error) -> String {
    format!(
        "the answer could not be written to standard output: {error}; free some space, or send it elsewhere, and give the command \
         again"
    )
}

/// Prints a JSON answer with a final newline.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    answer(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Columns of standard output; none where it has no width.
fn width() -> Option<usize> {
    layout::width_of(&io::stdout())
}

/// Prose of one paragraph, in lines that fit; the second and later ones begin with `indent` spaces.
pub(crate) fn paragraph(text: &str, indent: usize) -> String {
    layout::wrap(&plain(text), width(), indent)
}

/// A table whose columns fit; where they cannot, each row is a list of its cells.
pub(crate) fn table<H: Into<String>>(header: impl IntoIterator<Item = H>, rows: Vec<Vec<String>>) -> String {
    table_within(width(), header.into_iter().map(Into::into).collect(), &rows)
}

fn table_within(width: Option<usize>, header: Vec<String>, rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| layout::glued(&plain(cell))).collect())
        .collect();
    let Some(columns) = layout::columns(width, &header, &rows) else {
        let lists = rows
            .iter()
            .map(|row| facts_within(width, header.iter().zip(row).filter(|(_, cell)| !cell.is_empty())));
        return lists.collect::<Vec<_>>().join("\n");
    };
    let fit = |row: &[String]| -> Vec<String> {
        let cells = row.iter().zip(&columns);
        cells
            .map(|(cell, column)| layout::wrap(cell, Some(*column), 0).trim_end_matches('\n').to_owned())
            .collect()
    };
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(fit(&header));
    table.add_rows(rows.iter().map(|row| fit(row)));
    format!("{table}\n")
}

/// Labels and values, one pair a line, the values aligned.
pub(crate) fn facts<L: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (L, V)>) -> String {
    facts_within(width(), pairs)
}

fn facts_within<L: AsRef<str>, V: AsRef<str>>(width: Option<usize>, pairs: impl IntoIterator<Item = (L, V)>) -> String {
    let pairs: Vec<(L, V)> = pairs.into_iter().collect();
    let labels = pairs.iter().map(|(label, _)| label.as_ref().chars().count());
    let label = labels.max().unwrap_or(0);
    let line = |(name, value): &(L, V)| {
        let text = format!("{:label$}  {}", name.as_ref(), plain(value.as_ref()));
        layout::wrap(&text, width, label + 2)
    };
    pairs.iter().map(line).collect()
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

    fn fits(text: &str, width: usize) {
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{line:?} in\n{text}");
        }
    }

    #[test]
    fn a_table_fits_and_splits_no_word() {
        let header = ["variant", "treatment", "what was seen"].map(str::to_owned).to_vec();
        let row = [
            "C1",
            "UNOBSERVABLE",
            "schedule-lag p99 of 12.3ms beyond the limit of 1.00ms on a busy machine",
        ];
        let rows = vec![row.map(str::to_owned).to_vec()];
        for width in [48, 60, 80] {
            let text = table_within(Some(width), header.clone(), &rows);
            fits(&text, width);
            for word in row.iter().flat_map(|cell| cell.split(' ')) {
                assert!(text.split_whitespace().any(|w| w == word), "{word} is whole in\n{text}");
            }
        }
        let list = table_within(Some(36), header.clone(), &rows);
        fits(&list, 36);
        assert!(
            list.starts_with("variant        C1\n"),
            "too narrow for columns:\n{list}"
        );
        let line = table_within(None, header, &rows);
        assert!(line.contains(row[2]), "without a width a row is a line:\n{line}");
    }
}
