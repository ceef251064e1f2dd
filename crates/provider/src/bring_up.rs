//! From a place to an engine that answers.

use crate::{Failed, Place, ProviderError, Ready, Running, Start, Wait, wait_ready};

/// What was started for a trial, and the engine that came of it.
#[derive(Debug)]
pub struct BroughtUp {
    /// The command line; empty where nothing was started.
    pub argv: Vec<String>,
    /// The engine, or why there is none.
    pub ready: Result<Ready, Failed>,
}

/// Starts or finds an engine in a place and waits until it answers. `started` is shown it before the wait begins, so that
/// whoever must end it in a hurry can.
///
/// # Errors
/// What makes going on pointless: nothing to start, something left of an engine that failed, or the simulated engine where a
/// real one is declared.
pub async fn bring_up(
    place: &dyn Place,
    start: Start<'_>,
    wait: &Wait<'_>,
    started: impl FnOnce(&dyn Running) + Send,
) -> Result<BroughtUp, ProviderError> {
    let begun = place.start(start).await?;
    started(begun.engine.as_ref());
    let ready = wait_ready(begun.engine, wait, place).await?;
    Ok(BroughtUp {
        argv: begun.argv,
        ready,
    })
}
