//! Traces as flat rows: the columns that `servelab traces` writes into CSV and Parquet.

use servelab_schema::{FinishReason, LoadId, Nanos, Outcome, TokenSource, Trace, TrialId, TtftKind};
use servelab_table::{Cell, Column, Columns, Kind, TableError};
use std::{borrow::Cow, num::NonZeroU32};

/// The take that a trace is of. Its block and variant stand in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOf {
    /// Name of its folder under `trials/`.
    pub trial: TrialId,
    /// Which take of its trial, from 1.
    pub take: u32,
    /// Load of the trial.
    pub load: LoadId,
}

/// Whether a row has the timeline of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeline {
    /// As two lists: the gap to the chunk before in ns, and the tokens of each chunk.
    Lists,
    /// It has the number of chunks only.
    LeftOut,
}

/// The columns of a trace. Times are engine time in ns: `scheduled_ns`, `sent_ns`, `headers_ns` and `finished_ns` since the trial's
/// start, `ttft_ns`, `ttft_content_ns` and `e2e_ns` since `sent_ns`.
///
/// # Errors
/// None: the names are constants, each its own.
pub fn trace_columns(timeline: Timeline) -> Result<Columns, TableError> {
    let (text, integer) = (Column::text, Column::integer);
    let ns = |name| Column::integer(name).unit("ns");
    let tokens = |name| Column::integer(name).unit("tokens");
    let mut columns = vec![
        text("trial"),
        integer("take"),
        integer("block"),
        text("variant"),
        text("load"),
        text("request_id"),
        text("prompt_id"),
        integer("seq"),
        integer("attempt"),
        Column::boolean("measured"),
        ns("scheduled_ns"),
        ns("sent_ns"),
        ns("connect_ns"),
        ns("headers_ns"),
        ns("finished_ns"),
        tokens("expected_prompt_tokens"),
        text("outcome"),
        text("ttft_kind"),
        ns("ttft_ns"),
        ns("ttft_content_ns"),
        ns("e2e_ns"),
        Column::real("tpot_ns").unit("ns"),
        tokens("prompt_tokens"),
        tokens("completion_tokens"),
        text("token_source"),
        text("finish_reason"),
        text("text_sha256"),
        integer("chunks"),
        integer("http_status"),
        text("detail"),
        ns("failed_after_ns"),
    ];
    if timeline == Timeline::Lists {
        columns.push(Column::new("chunk_gaps_ns", Kind::Integers).unit("ns"));
        columns.push(Column::new("chunk_tokens", Kind::Integers).unit("tokens"));
    }
    Columns::new(columns)
}

fn ns(value: Option<Nanos>) -> Result<Cell<'static>, TableError> {
    Cell::maybe_unsigned(value.map(|n| n.0))
}

fn tokens(value: Option<NonZeroU32>) -> Cell<'static> {
    value.map(NonZeroU32::get).into()
}

/// What the words of a kind of TTFT are in files.
pub(crate) const fn ttft_word(kind: TtftKind) -> &'static str {
    match kind {
        TtftKind::Token => "token",
        TtftKind::Content => "content",
        TtftKind::Whole => "whole",
    }
}

/// What the words of an end are in files.
pub(crate) const fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Whole => "whole",
    }
}

/// The row of a trace, in the order of [`trace_columns`]. What a failure has not is absent.
///
/// # Errors
/// [`TableError::TooLarge`] where a time is more than a signed number of 64 bits holds.
pub fn trace_cells<'c>(of: &'c TakeOf, trace: &'c Trace, timeline: Timeline) -> Result<Vec<Cell<'c>>, TableError> {
    let (done, failed) = match &trace.outcome {
        Outcome::Completed(completion) => (Some(completion), None),
        Outcome::Failed(failure) => (None, Some(failure)),
    };
    let chunks = done.map(|c| u64::try_from(c.chunks().len()).unwrap_or(u64::MAX));
    let mut row: Vec<Cell<'c>> = vec![
        of.trial.as_str().into(),
        of.take.into(),
        trace.block.into(),
        trace.variant.as_str().into(),
        of.load.as_str().into(),
        trace.request_id.as_str().into(),
        trace.prompt_id.as_str().into(),
        trace.seq.into(),
        trace.attempt.into(),
        trace.measured.into(),
        Cell::unsigned(trace.scheduled_ns.0)?,
        Cell::maybe_unsigned(trace.sent_ns.map(|t| t.0))?,
        Cell::unsigned(trace.connect_ns.0)?,
        Cell::maybe_unsigned(trace.headers_ns.map(|t| t.0))?,
        Cell::unsigned(trace.finished_ns.0)?,
        tokens(trace.expected_prompt_tokens),
        failed.map_or("completed", |f| f.reason.as_str()).into(),
        done.map(|c| ttft_word(c.ttft_kind())).into(),
        ns(done.and_then(|c| c.ttft()))?,
        ns(done.and_then(|c| c.ttft_content()))?,
        ns(done.map(|c| c.e2e()))?,
        done.and_then(|c| Some(c.tpot_s()? * 1e9)).into(),
        tokens(done.and_then(|c| c.prompt_tokens())),
        tokens(done.and_then(|c| c.completion_tokens())),
        done.and_then(|c| c.token_source()).map(TokenSource::as_str).into(),
        done.map(|c| finish_word(c.finish_reason())).into(),
        done.map(|c| c.text_sha256().as_str()).into(),
        Cell::maybe_unsigned(chunks)?,
        failed.and_then(|f| f.http_status).map(u32::from).into(),
        failed.map(|f| f.detail.as_str()).into(),
        ns(failed.map(|f| f.after_ns))?,
    ];
    if timeline == Timeline::Lists {
        row.extend(lists(trace)?);
    }
    Ok(row)
}

/// The gaps and the tokens of the chunks; absent for a failure.
fn lists(trace: &Trace) -> Result<[Cell<'static>; 2], TableError> {
    let Some(done) = trace.completion() else {
        return Ok([Cell::Null, Cell::Null]);
    };
    let too_large = |gap: Nanos| TableError::TooLarge(gap.0);
    let gaps = done
        .chunks()
        .iter()
        .map(|c| i64::try_from(c.gap.0).map_err(|_| too_large(c.gap)));
    let tokens = done.chunks().iter().map(|c| i64::from(c.tokens));
    Ok([
        Cell::Integers(Cow::Owned(gaps.collect::<Result<_, _>>()?)),
        Cell::Integers(Cow::Owned(tokens.collect())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Failure, Reason, examples};

    fn of() -> TakeOf {
        TakeOf {
            trial: TrialId::new("b01-01-C1-c8-t1").unwrap(),
            take: 1,
            load: LoadId::new("c8").unwrap(),
        }
    }

    fn texts(trace: &Trace, timeline: Timeline) -> Vec<(&'static str, String)> {
        let columns = trace_columns(timeline).unwrap();
        let row = columns.texts(&trace_cells(&of(), trace, timeline).unwrap()).unwrap();
        columns.names().zip(row).collect()
    }

    #[test]
    fn a_completion_has_its_times_and_a_failure_has_none_of_them() {
        let trace = examples::trace();
        let found = texts(&trace, Timeline::Lists);
        let cell = |found: &[(&str, String)], name: &str| found.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        assert_eq!(cell(&found, "load"), "c8");
        assert_eq!(
            cell(&found, "ttft_ns"),
            trace.completion().unwrap().first_chunk().0.to_string()
        );
        assert_eq!(
            cell(&found, "chunks"),
            trace.completion().unwrap().chunks().len().to_string()
        );
        assert_eq!(cell(&found, "chunk_tokens"), "[1,2,1]");
        assert_eq!(cell(&found, "detail"), "");
        let failed = Trace {
            outcome: Outcome::Failed(Failure::new(Reason::Stalled, Some(200), "no byte came", Nanos(7))),
            ..trace
        };
        let found = texts(&failed, Timeline::LeftOut);
        assert_eq!(cell(&found, "outcome"), "stalled");
        assert_eq!(cell(&found, "failed_after_ns"), "7");
        for absent in [
            "ttft_ns",
            "e2e_ns",
            "tpot_ns",
            "chunks",
            "prompt_tokens",
            "finish_reason",
        ] {
            assert_eq!(cell(&found, absent), "", "{absent}");
        }
        assert!(!found.iter().any(|(name, _)| *name == "chunk_gaps_ns"));
    }

    #[test]
    fn words_are_those_of_the_files() {
        let json = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for kind in [TtftKind::Token, TtftKind::Content, TtftKind::Whole] {
            assert_eq!(json(serde_json::to_value(kind).unwrap()), ttft_word(kind));
        }
        for reason in [FinishReason::Stop, FinishReason::Length, FinishReason::Whole] {
            assert_eq!(json(serde_json::to_value(reason).unwrap()), finish_word(reason));
        }
    }
}
