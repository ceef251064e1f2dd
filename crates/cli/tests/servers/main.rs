//! `servelab bench` against real servers of this machine, each with what is odd about it. `make test-servers` runs `ci`, `make
//! test-servers-all` runs `more` too: what each is, and what is known of it, stands in docs/SERVERS.md.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and shows how far it is: a server may be installed first"
)]

mod ci;
mod more;
mod server;

#[path = "../support/http.rs"]
mod http;
