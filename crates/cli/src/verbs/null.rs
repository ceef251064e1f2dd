//! `servelab null`: the null server alone.

use crate::exit::{Exit, Failure};
use servelab_simengine::null::{NullArgs, run};

pub(crate) fn execute(args: &NullArgs) -> Result<Exit, Failure> {
    run(args).map_err(Failure::environment)?;
    Ok(Exit::Ok)
}
