//! The `servelab` command.
fn main() {}
