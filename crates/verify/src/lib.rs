//! Run directories in; whether each is complete, unchanged, consistent and signed, with the file and the line of every break.
//!
//! Parts: `seal` reads the manifest and its fingerprint; `inventory` holds the folder against its list, purely; `sessions` holds a run that
//! went on against its earlier seals; `take` reads each file of a take once (`documents`, `rows`) and holds its rows against `rules`;
//! [`verify`] decides which breaks count, has [`findings`](servelab_findings) decide every number again, and compares (`agree`, `pointers`,
//! and `elsewhere` with database and summary). [`Report`] is what is said; [`sign`] makes and checks signatures.
//!
//! Whoever rewrites every file and the manifest breaks nothing here: only a fingerprint or a signature from outside finds that.
//!
//! Traps: the files are a stranger's. Nothing is opened that is no plain file below the run, nothing is read without a bound, and no
//! bytes make this room panic. One changed file must not put others to blame: what only follows from it is not said.

mod agree;
mod context;
mod documents;
mod elsewhere;
mod inventory;
mod pointers;
mod report;
mod rows;
mod rules;
mod run;
mod seal;
mod sessions;
pub mod sign;
mod take;

pub use elsewhere::Summary;
pub use report::{Amount, Break, Kind, Level, Outside, Report, Standing, State};
pub use run::{Asked, Verified, verify};
