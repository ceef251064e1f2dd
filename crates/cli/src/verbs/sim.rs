//! `servelab sim`: the simulated engine alone.

use crate::{
    exit::{Exit, Failure},
    output,
};
use servelab_simengine::SimArgs;

pub(crate) fn execute(args: &SimArgs) -> Result<Exit, Failure> {
    Ok(Exit::Engine(match servelab_simengine::run(args) {
        Ok(reason) => reason.exit_code(),
        Err(error) => {
            // The runner reads the engine's own words from its log, so they stand as the imitated engine writes them.
            output::error(&error.to_string());
            error.exit_code()
        }
    }))
}
