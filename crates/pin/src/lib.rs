//! Pinned runs: a sealed run in, a small file out that is committed; and what a re-run of it says: same, better, worse, or no
//! evidence.
//!
//! Parts: [`pin()`] makes a [`Pin`](servelab_schema::Pin), `file` writes and reads it; [`plan()`] gives its plan back, byte for byte,
//! after every input was hashed (`inputs`, `arrivals`); `stages` says what a re-run says: [`first`] holds it against the pin,
//! [`suspects`] are looked at again in a run of their own ([`again`]), [`settle`] gives every question its answer; `report` is the
//! answer as one document, `markdown` and `junit` are other forms of it.
//!
//! The numbers and the words of a question are decided in `findings::two_runs`; this room asks, and decides which run an answer
//! rests on. It runs nothing itself.
//!
//! Traps: a suspect's first numbers were chosen for being bad. They are never counted together with the fresh ones.

mod again;
mod arrivals;
mod error;
pub mod file;
mod inputs;
mod junit;
mod make;
mod markdown;
mod report;
mod stages;

pub use again::{plan, plan_sha256, same_engines};
pub use error::{Drift, DriftError, PinError};
pub use junit::{JunitError, junit};
pub use make::{machine, pin};
pub use markdown::markdown;
pub use report::{RerunReport, RunShown, effect, side, why};
pub use stages::{AGAIN_BLOCKS, Answer, Overall, SCREEN_P, Settled, again, first, overall, settle, suspects};
