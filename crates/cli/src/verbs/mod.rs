//! One file per verb.

pub(crate) mod bench;
pub(crate) mod bench_instrument;
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod dataset;
pub(crate) mod db;
pub(crate) mod doctor;
pub(crate) mod engine;
pub(crate) mod guard;
pub(crate) mod ingest;
pub(crate) mod init;
pub(crate) mod null;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod query;
pub(crate) mod report;
pub(crate) mod rerun;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod seal;
pub(crate) mod sign;
pub(crate) mod signals;
pub(crate) mod sim;
pub(crate) mod traces;
pub(crate) mod verify;
