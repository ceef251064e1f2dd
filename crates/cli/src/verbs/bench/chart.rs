//! A small chart in the terminal: one row a load, a bar of its throughput and a bar of its latency. Its bars are Unicode blocks
//! of an eighth of a column, or `#` where the terminal is not UTF-8. Colours say nothing; it fits 80 columns.
//!
//! Its own hundred lines: a library of plots draws axes in dots, and a sweep has five points, whose numbers must stand beside
//! them.

use std::{env, ffi::OsString};

/// Columns of a bar.
const BAR: usize = 20;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The load.
    pub(super) label: String,
    /// The left bar and the number beside it.
    pub(super) left: (f64, String),
    /// The right one.
    pub(super) right: (f64, String),
    /// What stands at the end, such as that it is the knee.
    pub(super) mark: &'static str,
}

/// What bars are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Blocks.
    Unicode,
    /// Signs that every terminal has.
    Ascii,
}

impl Ink {
    /// That of this terminal, by its locale: the first of these variables that is set and not empty says it (POSIX).
    pub(super) fn of_terminal() -> Self {
        Self::of(["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os))
    }

    fn of(locale: impl Iterator<Item = OsString>) -> Self {
        let mut set = locale.filter(|value| !value.is_empty());
        let name = set.next().map(|value| value.to_string_lossy().to_ascii_lowercase());
        if name.is_some_and(|name| name.contains("utf-8") || name.contains("utf8")) {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    /// A bar of a share of the longest one, in [`BAR`] columns; what is not nothing is never drawn as nothing.
    fn bar(self, share: f64) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = match self {
            Self::Unicode => count(share * 8.0),
            Self::Ascii => count(share).saturating_mul(8),
        };
        let least = if self == Self::Ascii { 8 } else { 1 };
        let eighths = if share > 0.0 { eighths.max(least) } else { 0 };
        let full = if self == Self::Ascii { "#" } else { "█" };
        let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
        let bar = format!("{}{rest}", full.repeat(eighths / 8));
        format!("{bar:<BAR$}")
    }
}

/// A share of a bar in columns, to the nearest; 0 for what is no share.
#[expect(
    clippy::as_conversions,
    reason = "float to integer saturates, NaN gives 0, and a bar has few columns"
)]
fn count(share: f64) -> usize {
    (share.clamp(0.0, 8.0) * 20.0).round() as usize
}

/// The chart, with a line of heads above it.
pub(super) fn chart(heads: [&str; 3], rows: &[Row], ink: Ink) -> String {
    let most = |value: fn(&Row) -> f64| rows.iter().map(value).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let (left, right) = (most(|r| r.left.0), most(|r| r.right.0));
    let width = |text: fn(&Row) -> &str, head: &str| {
        let longest = rows.iter().map(|r| text(r).chars().count()).max().unwrap_or(0);
        longest.max(head.chars().count())
    };
    let [load, of_left, of_right] = heads;
    let label = width(|r| &r.label, load);
    let (l, r) = (width(|r| &r.left.1, ""), width(|r| &r.right.1, ""));
    let share = |value: f64, most: f64| if most > 0.0 { value / most } else { 0.0 };
    let mut text = format!("{load:>label$}  {of_left:<0$}  {of_right}\n", BAR + 1 + l);
    for row in rows {
        let line = format!(
            "{:>label$}  {} {:>l$}  {} {:>r$} {}",
            row.label,
            ink.bar(share(row.left.0, left)),
            row.left.1,
            ink.bar(share(row.right.0, right)),
            row.right.1,
            row.mark
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |label: &str, left: f64, right: f64, mark| Row {
            label: label.to_owned(),
            left: (left, format!("{left:.0}")),
            right: (right, format!("{right:.2}s")),
            mark,
        };
        vec![
            row("1", 100.0, 0.5, ""),
            row("8", 800.0, 0.55, "knee"),
            row("64", 820.0, 4.0, ""),
            row("128", 0.0, f64::NAN, ""),
        ]
    }

    const HEADS: [&str; 3] = ["load", "tokens/s", "E2E p50"];

    #[test]
    fn in_blocks() {
        let expected = "\
load  tokens/s                  E2E p50
   1  ██▌                  100  ██▌                  0.50s
   8  ███████████████████▌ 800  ██▊                  0.55s knee
  64  ████████████████████ 820  ████████████████████ 4.00s
 128                         0                        NaNs
";
        assert_eq!(chart(HEADS, &rows(), Ink::Unicode), expected);
    }

    #[test]
    fn in_signs_of_every_terminal() {
        let text = chart(HEADS, &rows(), Ink::Ascii);
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
        let full: Vec<usize> = text.lines().skip(1).map(|line| line.matches('#').count()).collect();
        assert_eq!(full, [2 + 3, 20 + 3, 20 + 20, 0]);
    }

    #[test]
    fn the_locale_says_which() {
        let check = |values: &[&str], expected| {
            assert_eq!(Ink::of(values.iter().map(OsString::from)), expected, "{values:?}");
        };
        check(&["en_GB.UTF-8"], Ink::Unicode);
        check(&["", "C.utf8"], Ink::Unicode);
        check(&["C", "en_GB.UTF-8"], Ink::Ascii);
        check(&[], Ink::Ascii);
    }
}
