//! `servelab sim`: the simulated engine alone.

use crate::exit::{Exit, Failure};
use servelab_simengine::SimArgs;

pub(crate) fn execute(args: SimArgs) -> Result<Exit, Failure> {
    servelab_simengine::run(args).map_err(Failure::environment)?;
    Ok(Exit::Ok)
}
