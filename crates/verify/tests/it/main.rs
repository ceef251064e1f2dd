//! The room from outside: made-up runs, and what is done to them. One program, so that it is linked once.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and the table of flips is printed"
)]

mod any_bytes;
mod flips;
mod made;
mod mend;
mod replayed;
mod tampering;
