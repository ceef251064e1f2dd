//! What it costs to read a run in, at 10⁴, 10⁵ and 10⁶ requests of 128 chunks, beside a bare loop that inserts the same rows; and what
//! it costs to ask, at 100, 1,000 and 10,000 runs.
//!
//! `store_bench [REQUESTS…]` writes a sealed run of each size into the folder for temporary files (3 GB at 10⁶ until it is sealed, 4 GB
//! with the databases), reads it in by a process of its own, and lets another insert its rows alone. Peak memory is the kernel's
//! `VmHWM` of the reading process. `store_bench queries` leaves that out.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that takes times and prints a table"
)]

#[path = "../../../runner/examples/support/big_run.rs"]
mod big_run;
mod queries;
mod requests;

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ingest", dir, db] => requests::ingested(Path::new(dir), Path::new(db)),
        ["bare", from, db, requests] => requests::bare(Path::new(from), Path::new(db), requests),
        ["queries"] => queries::table(),
        sizes => requests::table(sizes).and_then(|()| queries::table()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("store_bench: {e}");
            ExitCode::FAILURE
        }
    }
}
