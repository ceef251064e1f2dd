//! The one place where the project's random numbers are made: every one follows from a seed, none from the system.
//!
//! A seed serves many purposes: it is split by name, so that a choice added in one place moves nothing in another.
//!
//! Parts, and what each one's numbers decide:
//!
//! | part | algorithm | used for |
//! | --- | --- | --- |
//! | [`split`] | SHA-256 of seed and name, first 53 bits | the seeds that a plan holds, cache salts |
//! | [`shuffle`], undone by [`unshuffled`] | Fisher–Yates by `ChaCha12` | the order of a plan's trials and prompts |
//! | [`ChaChaStream`] | `ChaCha8`, keyed by SHA-256 of seed and name | arrivals, the built-in prompts of `bench` |
//! | [`HashStream`] | SHA-256 in counter mode, keyed likewise | packed prompt sets |
//! | [`SplitMix64`] | `SplitMix64` | resampling, and data in tests |
//! | [`hash`] | `SplitMix64`'s finaliser | the simulator's draws, each a function of what it is for |
//!
//! New purposes take a [`ChaChaStream`] with a name of their own. The others stay as they are because files were made with
//! them: the tests of this room hold golden vectors of each, those of `load` arrival schedules, those of `matrix` the order
//! of a plan. Where one fails after a library's update, the update is not taken; where it fails because a stream was changed
//! on purpose, plans made before are made otherwise and METHOD_VERSION rises.
//!
//! Traps: [`shuffle`] and [`HashStream::shuffle`] draw their indices in two ways and give different orders. `ChaCha` draws
//! of 32 and of 64 bits share one stream: what is drawn first moves what comes after. Nothing here is fit for secrets.

mod chacha;
pub mod hash;
mod hash_stream;
mod num;
mod order;
mod seed;
mod split_mix;

pub use chacha::{ChaChaStream, UnitGamma};
pub use hash_stream::HashStream;
pub use order::{shuffle, unshuffled};
pub use seed::split;
pub use split_mix::SplitMix64;
