//! Text for prompts of an exact number of tokens: where it comes from, what one server's tokenizer makes of it, and the
//! prompts themselves.
//!
//! The trick: the built-in sentences have words that nearly every tokenizer knows as one token, and marks that stand alone.
//! No tokenizer makes fewer tokens of such a text than it has words and marks. So where a server counts just as many for
//! many sentences at once, each of them is proven, by one request. A prompt then is any sequence of proven sentences, cut
//! behind any word: its length is known without counting it, and no measured prompt is sent before the load.
//!
//! Parts: [`sentences`] (the text), [`Lexicon`] (what is proven of one server), [`Maker`] (prompts for one server or several).
//!
//! Formats: `sentences.txt` holds one sentence a line. It is chosen by `datasets/tools/bench_text.py` from the novels of Jane
//! Austen and the CIA World Factbook, both in the public domain (`datasets/README.md`).
//!
//! Traps: additivity at spaces is what all of this rests on. It is checked on whole prompts before the load (`counting`), and
//! each answer's `usage.prompt_tokens` is checked as ever. A prompt ends with a word: a template may merge a mark with what
//! it puts behind it. Another text, or another order of draws, makes other prompts from the same seed: that is a change of
//! measurement.

mod learn;
mod lexicon;
mod maker;
mod sentences;

pub use learn::{Wants, learn};
pub use lexicon::{Lexicon, Material};
pub use maker::{BLOCK_TOKENS, Lengths, MadePrompt, Maker, TextError};
