//! One load, or a sweep of loads, on a server that runs already; and the instrument's own calibration.
//!
//! It starts no engine, needs no plan and writes no run directory: [`Bench`] says what is asked, [`Bench::prepare`] asks the
//! server what it is and makes the prompts, [`Prepared::run`] puts the loads on it and gives an [`Answer`], whose figures are
//! made with the formulas of `findings`. [`instrument`] holds the load generator against a server without an engine.
//!
//! Parts: [`options`], [`values`] and [`tokens`] (what may be asked, and in which words), `server` and [`Looked`] (what the server says
//! it is, takes and does), `hints` (what to do where it cannot be measured), [`counting`] (who counts the tokens of prompts),
//! [`text`] (prompts of an exact length), `prompts` (what is sent), `traces` (where each request is kept), `answers` (tokens
//! that no server counts), `sweep` (the loads one after the other), [`find_max`] (the highest load that meets objectives),
//! [`knee`] and `rates` (what is said of a sweep, and of an open loop's rate), `summary` and `validity` (traces to
//! [`figures`]), [`at_load`] and `quantiles` (how answers write loads and percentiles), `asked` and `client` (what an answer says beside them), `remedy` (what helps where requests failed);
//! [`fresh`] makes the prompts of servers that are compared.
//!
//! Traps: whatever a server said is redacted and loses its control characters here, before anybody sees it (`clean`); the
//! model's name as requests carry it is not what is shown. Times are those of the wall.

mod answers;
mod asked;
pub mod at_load;
mod base_url;
mod clean;
mod client;
pub mod counting;
mod error;
pub mod figures;
pub mod find_max;
pub mod fresh;
mod hints;
pub mod instrument;
pub mod knee;
mod looked;
pub mod options;
mod prompts;
mod quantiles;
mod rates;
mod remedy;
mod server;
mod summary;
mod sweep;
pub mod text;
pub mod tokens;
mod traces;
mod validity;
pub mod values;

pub use asked::{Asked, AskedLoad, AskedObjectives, AskedPrompts, AskedSearch, AskedTimeouts};
pub use at_load::AtLoad;
pub use client::{ClientFigures, StarvationFigures};
pub use error::{BenchError, Blame};
pub use figures::{Answer, Figures, Latency, LoadEnd, ResultSet};
pub use looked::Looked;
pub use options::{Bench, FindMaxAsked, PromptSource};
pub use sweep::{Prepared, Watch};
