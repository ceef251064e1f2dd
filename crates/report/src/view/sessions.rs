//! A run that went on: its sessions, and the gaps between them in which nothing was measured.

use super::Context;
use crate::table::{Cell, Column, Row, Table};
use servelab_schema::{SessionRecord, WallNanos, Wish};
use std::num::NonZeroU32;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The sessions of a run; none where it ran in one piece.
pub(crate) fn sessions(cx: &Context<'_>) -> Option<Table> {
    let manifest = &cx.run.manifest;
    let later = &manifest.sessions;
    if later.is_empty() {
        return None;
    }
    let row = |number: NonZeroU32, began: &str, ended: &str, gap: Cell, why: String| {
        let records = cx.run.takes.iter().map(|take| &take.record);
        let takes: Vec<&str> = records.filter(|r| r.session == number).map(|r| r.id.as_str()).collect();
        let which = match (takes.first(), takes.last()) {
            (Some(first), Some(last)) if takes.len() > 1 => format!("{first} … {last}"),
            (Some(only), _) => (*only).to_owned(),
            _ => String::new(),
        };
        Row {
            cells: vec![
                Cell::count(number.get()),
                gap,
                Cell::text(to_the_second(began)),
                Cell::text(to_the_second(ended)),
                Cell::count(u32::try_from(takes.len()).unwrap_or(u32::MAX)),
                Cell::long(which),
                Cell::text(why),
            ],
            ..Row::default()
        }
    };
    // Each ended when the one after it says so; the last one with the run.
    let ends = later.iter().map(|s| s.earlier_ended_utc.as_str());
    let mut ends = ends.chain([manifest.finished.utc.as_str()]);
    let mut end = || ends.next().unwrap_or_default();
    let none = Cell::absent("it is the first");
    let mut rows = vec![row(NonZeroU32::MIN, &manifest.started.utc, end(), none, String::new())];
    for session in later {
        rows.push(row(
            session.session,
            &session.started.utc,
            end(),
            gap(session),
            asked(&session.wish),
        ));
    }
    Some(Table {
        id: format!("{}-sessions", cx.anchor),
        title: "Sessions of this run".to_owned(),
        note: "the run was resumed; in the gap before a session nothing was measured. Wall clock, UTC".to_owned(),
        columns: vec![
            Column::number("Session", ""),
            Column::number("Gap before", "wall time"),
            Column::text("Began"),
            Column::text("Ended"),
            Column::number("Takes", ""),
            Column::text("Which"),
            Column::text("Asked for"),
        ],
        rows,
    })
}

/// `2026-11-22 10:15:00` of `2026-11-22T10:15:00.123Z`.
fn to_the_second(utc: &str) -> String {
    utc.chars().take(19).collect::<String>().replace('T', " ")
}

/// How long nothing was measured before a session.
fn gap(session: &SessionRecord) -> Cell {
    let read = |utc: &str| OffsetDateTime::parse(utc, &Rfc3339).ok();
    let ends = read(&session.earlier_ended_utc).zip(read(&session.started.utc));
    let seconds = ends.map(|(ended, began)| (began - ended).whole_seconds());
    match seconds.and_then(|s| u64::try_from(s).ok()) {
        Some(seconds) => {
            let text = WallNanos::from_secs(seconds).to_string();
            let minutes = f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)) / 60.0;
            Cell::number(text, minutes)
        }
        None => Cell::absent("the clock was set back in between"),
    }
}

/// What was asked for when it went on.
fn asked(wish: &Wish) -> String {
    let list = |option: &str, words: &[String]| (!words.is_empty()).then(|| format!("{option} {}", words.join(",")));
    let said = [
        list("--only", &wish.only),
        list("--skip", &wish.skip),
        wish.retry_invalid.then(|| "--retry-invalid".to_owned()),
        (wish.more_blocks > 0).then(|| format!("--more-blocks {}", wish.more_blocks)),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() {
        "what was left".to_owned()
    } else {
        said.join(" ")
    }
}
