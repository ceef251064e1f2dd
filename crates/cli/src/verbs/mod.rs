//! One file per verb.

pub(crate) mod dataset;
pub(crate) mod ingest;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod sim;
