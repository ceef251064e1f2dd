//! What holds the numbers of a run elsewhere: the database, and the summary of a report. Both are made of the run, so where they
//! differ from what follows from its traces, they are wrong.

use crate::{
    pointers::differences,
    report::{Break, Breaks, Kind},
};
use serde::Serialize;
use serde_json::Value;
use servelab_store::{RunData, Store, StoreError};
use std::fmt;

/// Places that are named of two documents which differ.
const MOST_PLACES: usize = 5;

/// The `summary.json` of a report, and what it should say of a run.
pub struct Summary<'a> {
    /// Its path, as it was given.
    pub file: String,
    /// What it says.
    pub found: Value,
    /// What a report says of a run, in the form of an entry of its `runs`; or why there is none.
    pub expected: &'a dyn Fn(&RunData) -> Result<Value, String>,
}

impl fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What stands in the files of the two sides: values that files cannot tell apart are equal.
fn value<T: Serialize>(value: &T) -> Value {
    let text = serde_json::to_string(value).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn differ(
    kind: Kind,
    file: &str,
    what: &str,
    prefix: &str,
    (stored, ours): (&Value, &Value),
    breaks: &mut Breaks,
) -> bool {
    let found = differences(stored, ours, MOST_PLACES);
    let some = !found.is_empty();
    for place in found {
        let pointer = format!("{prefix}{}", place.pointer);
        breaks.add(
            Break::inconsistent(kind, file, what)
                .at(pointer)
                .but(place.ours, place.stored),
        );
    }
    some
}

/// Holds a database against a run. Gives what was found in words.
pub(crate) fn database(store: &Store, run: &RunData, breaks: &mut Breaks) -> String {
    let file = store.path().display().to_string();
    let remedy = "delete the database, and `servelab ingest` makes it again from the runs";
    let id = &run.manifest.run_id;
    let stored = match store.load_run(id) {
        Ok(stored) => stored,
        Err(StoreError::UnknownRun { .. }) => return format!("the run is not in the database {file}"),
        Err(error) => {
            breaks.add(Break::inconsistent(Kind::Database, &file, error.to_string()).remedy(remedy));
            return format!("the database {file} could not be compared");
        }
    };
    if stored.fingerprint != run.fingerprint {
        let what = format!("what it holds as {id} is another run, or was before it was written anew");
        let found = Break::inconsistent(Kind::Database, &file, what);
        breaks.add(
            found
                .but(run.fingerprint.as_str(), stored.fingerprint.as_str())
                .remedy(remedy),
        );
        return format!("the database {file} holds another run of that name");
    }
    let takes = |run: &RunData| -> Value {
        let takes = run.takes.iter().map(|t| (value(&t.record), value(&t.engine)));
        value(&takes.collect::<Vec<_>>())
    };
    let mut some = false;
    for (part, held, ours) in [
        ("/manifest", value(&stored.manifest), value(&run.manifest)),
        ("/plan", value(&stored.plan), value(&run.plan)),
        ("/environment", value(&stored.environment), value(&run.environment)),
        ("/findings", value(&stored.findings), value(&run.findings)),
        ("/takes", takes(&stored), takes(run)),
    ] {
        let what = "what it holds is not what the run says";
        some |= differ(Kind::Database, &file, what, part, (&held, &ours), breaks);
    }
    match store.has_rows_of(id, &run.findings) {
        Ok(true) => {}
        Ok(false) => {
            some = true;
            let what = "the rows of its findings, which `servelab query` reads, are not what the run says";
            breaks.add(
                Break::inconsistent(Kind::Database, &file, what)
                    .at("/finding")
                    .remedy(remedy),
            );
        }
        Err(error) => {
            some = true;
            breaks.add(Break::inconsistent(Kind::Database, &file, error.to_string()).remedy(remedy));
        }
    }
    match store.evaluate_again(id) {
        Ok(again) => {
            let what = "what follows from its rows is not what follows from the traces";
            let pair = (&value(&again), &value(&run.findings));
            some |= differ(Kind::Database, &file, what, "/findings", pair, breaks);
        }
        Err(error) => {
            some = true;
            breaks.add(Break::inconsistent(Kind::Database, &file, error.to_string()).remedy(remedy));
        }
    }
    if some {
        format!("the database {file} differs from the run")
    } else {
        format!("the database {file} holds the same, and its rows give the same numbers")
    }
}

/// Holds the summary of a report against a run. Gives what was found in words.
pub(crate) fn summary(summary: &Summary<'_>, run: &RunData, breaks: &mut Breaks) -> String {
    let file = summary.file.as_str();
    let id = run.manifest.run_id.as_str();
    let runs = summary.found.get("runs").and_then(Value::as_array);
    let own = |entry: &&Value| entry.pointer("/run/id").and_then(Value::as_str) == Some(id);
    let places = runs.into_iter().flatten().enumerate();
    let entries: Vec<(usize, &Value)> = places.filter(|(_, entry)| own(entry)).collect();
    let [(at, found)] = entries.as_slice() else {
        let what = format!("it has {} entries of run {id}", entries.len());
        breaks.add(Break::inconsistent(Kind::Summary, file, what).at("/runs"));
        return format!("{file} could not be compared");
    };
    let expected = match (summary.expected)(run) {
        Ok(expected) => expected,
        Err(why) => {
            breaks.add(Break::inconsistent(Kind::Summary, file, why));
            return format!("{file} could not be compared");
        }
    };
    let what = "it is not what a report says of this run";
    if differ(
        Kind::Summary,
        file,
        what,
        &format!("/runs/{at}"),
        (found, &expected),
        breaks,
    ) {
        format!("{file} differs from what a report says of the run")
    } else {
        format!("{file} says of the run what a report says of it, number by number")
    }
}
