//! The closed loop: N slots, each with a connection of its own; one request ends, the next is sent.

use super::shared::Shared;
use crate::connection::Connection;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Runs `concurrency` slots until the books have nothing more for them. Fillers in flight then end by themselves.
pub(crate) async fn run(shared: &Arc<Shared>, concurrency: u32) {
    let mut slots = JoinSet::new();
    for _ in 0..concurrency {
        slots.spawn(slot(Arc::clone(shared)));
    }
    while slots.join_next().await.is_some() {}
}

async fn slot(shared: Arc<Shared>) {
    // Opened ahead, so that the first request's lag is not the handshake. Where that fails, the request says why.
    let mut connection = Connection::open(&shared.net).await.ok();
    let mut free = shared.net.clock.now();
    let mut failures_in_a_row = 0_u32;
    while shared.net.control.stopped().is_none() {
        let Some(job) = shared.book(|b| b.next(free)) else {
            break;
        };
        let measured = job.measured;
        let done = shared.run(job, connection).await;
        connection = done.connection;
        free = done.free;
        failures_in_a_row = if done.completed {
            0
        } else {
            failures_in_a_row.saturating_add(1)
        };
        if !measured && let Some(pause) = pause_after(failures_in_a_row) {
            tokio::select! {
                () = tokio::time::sleep(pause) => free = shared.net.clock.now(),
                _ = shared.net.control.wait() => break,
            }
        }
    }
}

/// Fillers have no end of their own: against an engine that refuses everything at once they would fill the disk with rows.
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
