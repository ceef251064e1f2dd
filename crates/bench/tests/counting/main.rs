//! Prompts of an exact length: against scripted servers with a real tokenizer behind them, and against made-up tokenizers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod lengths;
mod server;
mod tokenizers;
