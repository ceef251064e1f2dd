//! Real requests to real vLLM on this machine's CPU. `make test-vllm` runs `check`, `make torture-vllm` runs `torture`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and shows how far it is: an engine starts for a minute"
)]

mod check;
mod real_engine;
mod torture;

#[path = "../support/http.rs"]
mod http;
