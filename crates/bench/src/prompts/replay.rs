//! Prompts of a recording: its texts, or texts of its lengths.

use super::{Ask, DEFAULT_MAX_TOKENS, read, wrong};
use crate::{BenchError, counting::Local, options::Bench, text::Maker, tokens::TokenRange};
use servelab_load::bench::{
    body::Text,
    replay::{self, Asked, Row},
};
use servelab_schema::Nanos;
use std::path::Path;

/// The rows of a recording, in the order of their time.
pub(super) fn rows(path: &Path) -> Result<Vec<Row>, BenchError> {
    replay::parse(&read(path)?).map_err(|e| wrong(path.display().to_string(), e.to_string()))
}

/// The texts that are recorded.
pub(super) fn texts(rows: &[Row]) -> impl Iterator<Item = &Text> {
    rows.iter().filter_map(|row| match &row.asked {
        Asked::Text(text) => Some(text),
        Asked::Length { .. } => None,
    })
}

/// The lengths of the prompts of which only those are known; none where every row has its text.
pub(super) fn lengths(rows: &[Row]) -> Option<TokenRange> {
    let length = |row: &Row| match row.asked {
        Asked::Length { input_tokens, .. } => Some(input_tokens),
        Asked::Text(_) => None,
    };
    let lengths = || rows.iter().filter_map(length);
    TokenRange::new(lengths().min()?, lengths().max()?)
}

/// What is asked for each row. `maker` makes what only has a length.
pub(super) fn asks(
    rows: &[Row],
    bench: &Bench,
    maker: Option<&Maker>,
    tokenizer: Option<&Local>,
) -> Result<Vec<(Nanos, Ask)>, BenchError> {
    let ask = |(number, row): (u64, &Row)| {
        let (text, prompt_tokens) = match (&row.asked, maker) {
            (Asked::Length { input_tokens, blocks }, Some(maker)) => (
                Text::Plain(maker.replayed(number, *input_tokens, blocks)?),
                maker.expected(*input_tokens).first().copied().flatten(),
            ),
            (Asked::Length { .. }, None) => {
                return Err(BenchError::Options(
                    "nothing makes prompts of recorded lengths".to_owned(),
                ));
            }
            (Asked::Text(text), _) => {
                let counted = tokenizer.map(|t| t.of(text)).transpose()?;
                (text.clone(), counted.flatten())
            }
        };
        let max_tokens = bench.answer_tokens(number).or(row.output_tokens);
        let ask = Ask {
            id: format!("replay-{number}"),
            text,
            max_tokens: max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            prompt_tokens,
        };
        Ok((row.at, ask))
    };
    (0..).zip(rows).map(ask).collect()
}
