//! `docs/SERVERS.md` holds the rows that the cases come to, and what is odd about each server.

use crate::{
    play::{REQUESTS, play},
    profile::{Case, Profile, Source},
};
use std::{fs, path::Path};

/// The page, from this crate.
const PAGE: &str = "../../docs/SERVERS.md";
const BEGIN: &str = "<!-- made by crates/bench/tests/servers: begin -->\n";
const END: &str = "<!-- end -->";

/// What is asked of a server besides, for people.
fn asked(case: &Case) -> String {
    let mut words = vec![case.endpoint.clone()];
    match case.stream.as_str() {
        "reasoning" => words.push("thoughts".to_owned()),
        "tools" => words.push("tool calls".to_owned()),
        _ => {}
    }
    if case.ignore_eos {
        words.push("`--ignore-eos`".to_owned());
    }
    words.join(", ")
}

/// The row of one case, as it was played.
fn row(profile: &Profile, case: &Case) -> String {
    let played = play(profile, case);
    let row = played.row();
    let real = profile
        .real
        .as_ref()
        .map_or("scripted".to_owned(), |test| format!("scripted, and real in `{test}`"));
    let notes = &played.answer.as_ref().unwrap().server_notes;
    let did = if notes.is_empty() {
        "lacks nothing".to_owned()
    } else {
        notes.join("; ")
    };
    format!(
        "| {} | {} | {real} | {} | {did} | {} of {REQUESTS} | {} | {} |\n",
        profile.server,
        profile.version,
        asked(case),
        row.completed,
        row.ttft.as_deref().unwrap_or("–"),
        row.counted_by.as_deref().unwrap_or("nobody"),
    )
}

/// What is odd about one server.
fn oddities(profile: &Profile) -> String {
    let quirks = profile.quirk.iter().map(|quirk| {
        let source = match &quirk.source {
            Source::Recorded(_) => "recorded".to_owned(),
            Source::Documented(place) => format!("documented: {place}"),
        };
        format!("- {} ({source})\n", quirk.what)
    });
    format!(
        "\n### {} {}\n\n{}",
        profile.server,
        profile.version,
        quirks.collect::<String>()
    )
}

#[test]
fn the_page_of_servers_holds_what_they_come_to() {
    let profiles = Profile::all();
    let mut made = "\
| server | version | how it is tested | asked | what it lacks, and what servelab does | completed | TTFT is of the first | tokens counted by |
| --- | --- | --- | --- | --- | --- | --- | --- |
"
    .to_owned();
    for profile in &profiles {
        for case in &profile.case {
            made.push_str(&row(profile, case));
        }
    }
    made.push_str("\n## What is odd about each\n");
    profiles.iter().for_each(|profile| made.push_str(&oddities(profile)));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (held, tail) = rest.split_once(END).unwrap();
    let wanted = format!("{head}{BEGIN}{made}{END}{tail}");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("SERVERS.md");
    fs::write(&fresh, wanted).unwrap();
    assert!(
        held == made,
        "docs/SERVERS.md is not what the servers come to: cp {} docs/SERVERS.md",
        fresh.display()
    );
}
