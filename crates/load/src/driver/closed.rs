//! The closed loop: N slots, each with a connection of its own; one request ends, the next is sent.

use super::{
    shared::Shared,
    state::{Job, LoadState},
};
use crate::connection::Connection;
use servelab_schema::{Nanos, TrialInstant};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// What a slot asks the state for its next request, at the moment it became free.
type Next = fn(&mut LoadState, TrialInstant) -> Option<Job>;

/// Runs `concurrency` slots until the state has nothing more for them. Requests in flight then end by themselves.
pub(crate) async fn run(shared: &Arc<Shared>, concurrency: u32) {
    let slots = usize::try_from(concurrency).unwrap_or(usize::MAX);
    if shared.profile.hold {
        let _ = phase(shared, slots, Vec::new(), Nanos::ZERO, LoadState::next).await;
        return;
    }
    let connections = warm_up(shared, slots).await;
    let _ = phase(
        shared,
        slots,
        connections,
        shared.profile.ramp,
        LoadState::next_measured,
    )
    .await;
}

/// Sends exactly the fillers that the warm-up asks for, at most `slots` at a time, and waits for their ends. Returns the
/// connections that are left.
pub(crate) async fn warm_up(shared: &Arc<Shared>, slots: usize) -> Vec<Connection> {
    let fillers = shared.state(|s| usize::try_from(s.warm_up_left()).unwrap_or(usize::MAX));
    phase(
        shared,
        slots.min(fillers),
        Vec::new(),
        Nanos::ZERO,
        LoadState::next_warm_up,
    )
    .await
}

/// Runs `slots` until `next` has nothing more for them; returns the connections that are left.
async fn phase(
    shared: &Arc<Shared>,
    slots: usize,
    connections: Vec<Connection>,
    ramp: Nanos,
    next: Next,
) -> Vec<Connection> {
    let mut connections = connections.into_iter();
    let mut tasks = JoinSet::new();
    let n = u64::try_from(slots).unwrap_or(u64::MAX);
    for slot_index in 0..n {
        // slot i begins at i / n of the ramp
        let share = u128::from(ramp.0)
            .saturating_mul(u128::from(slot_index))
            .checked_div(u128::from(n));
        let delay = Nanos(share.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
        tasks.spawn(slot(Arc::clone(shared), connections.next(), delay, next));
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn slot(shared: Arc<Shared>, connection: Option<Connection>, delay: Nanos, next: Next) -> Option<Connection> {
    if delay > Nanos::ZERO {
        let due = shared.net.clock.now().after(delay);
        tokio::select! {
            () = tokio::time::sleep(shared.net.clock.until(due)) => {}
            _ = shared.net.control.wait() => return None,
        }
    }
    // Opened ahead, so that the first request's lag is not the handshake. Where that fails, the request says why.
    let mut connection = match connection {
        Some(open) => Some(open),
        None => Connection::open(&shared.net).await.ok(),
    };
    let mut free = shared.net.clock.now();
    let mut failures_in_a_row = 0_u32;
    while shared.net.control.stopped().is_none() {
        let Some(mut job) = shared.state(|s| next(s, free)) else {
            break;
        };
        let ready = shared.ahead(connection, &mut job).await;
        let without_end = !job.measured || shared.lasts();
        let done = shared.run(job, ready).await;
        connection = done.connection;
        free = done.free;
        failures_in_a_row = if done.completed { 0 } else { failures_in_a_row + 1 };
        if without_end && let Some(pause) = pause_after(failures_in_a_row) {
            tokio::select! {
                () = tokio::time::sleep(pause) => free = shared.net.clock.now(),
                _ = shared.net.control.wait() => break,
            }
        }
    }
    connection
}

/// Fillers, and requests of a load that lasts for a time, have no end of their own: against an engine that refuses
/// everything at once they would fill the disk with rows.
fn pause_after(failures_in_a_row: u32) -> Option<Duration> {
    let doublings = failures_in_a_row.checked_sub(2)?.min(7);
    Some(Duration::from_millis(10_u64 << doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let ms: Vec<_> = [0, 1, 2, 3, 9, 100, u32::MAX]
            .map(|n| pause_after(n).map(|d| d.as_millis()))
            .into();
        assert_eq!(ms, [None, None, Some(10), Some(20), Some(1280), Some(1280), Some(1280)]);
    }
}
