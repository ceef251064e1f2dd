//! Executes a plan: starts the engine of each trial, puts the load on it, watches, stops it, keeps the evidence, has findings
//! judge it, and seals the run.
//!
//! Parts: `takes` says which take comes next, `take_all` is the loop, `trial` executes one take, `run` begins and seals; `look`
//! looks at servers that are up already; `stop`, `limits` and `repeated` end it early, `lock` keeps others away, `events` writes
//! down what happens.
//!
//! What a number means is decided elsewhere; this room decides only the order of things. It keeps three kinds of trouble
//! apart: a request that failed is a row, a trial that measured badly is Invalid, and only what makes going on pointless
//! (a full disk, a missing program) is an [`RunError`].

mod bring_up;
mod checkpoint;
mod environment;
mod error;
mod evaluation;
mod events;
mod gpus;
mod limits;
mod lock;
mod look;
mod progress;
mod repeated;
mod requests;
mod resume;
mod run;
mod selection;
mod stop;
mod take_all;
mod takes;
mod trial;
mod watch;

pub use error::RunError;
pub use evaluation::evaluate_takes;
pub use events::{EventLog, TARGET as EVENT_TARGET};
pub use lock::{FOLDER_VARIABLE, LockError, MachineLock, lock_folder};
pub use look::{ServerAsked, ServerSeen, look};
pub use progress::{NoProgress, Progress};
pub use resume::Resumption;
pub use run::{RunOptions, RunOutcome, execute, resume};
pub use selection::{NamesNothing, Selection};
pub use stop::{StopFlag, StopReason, StopSignal};
