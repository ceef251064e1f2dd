//! Batches: so many requests leave together, the next ones when all of them have ended.

use super::{shared::Shared, state::LoadState};
use crate::connection::Connection;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Opens `n` connections side by side, so that what leaves together does not wait for handshakes. Where one fails, the
/// request that lacks it says why.
pub(crate) async fn open_connections(shared: &Arc<Shared>, n: usize) -> Vec<Connection> {
    let mut opening = JoinSet::new();
    for _ in 0..n {
        let shared = Arc::clone(shared);
        opening.spawn(async move { Connection::open(&shared.net).await.ok() });
    }
    opening.join_all().await.into_iter().flatten().collect()
}

/// Runs batches of `size` until the state has nothing more to send.
pub(crate) async fn run(shared: &Arc<Shared>, size: u32) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let warm_up = super::closed::warm_up(shared, size).await;
    let mut idle: Vec<Connection> = warm_up;
    let mut missing = size.saturating_sub(idle.len());
    while shared.net.control.stopped().is_none() {
        idle.extend(open_connections(shared, missing).await);
        let now = shared.net.clock.now();
        let jobs: Vec<_> =
            shared.state(|s: &mut LoadState| std::iter::from_fn(|| s.next_measured(now)).take(size).collect());
        if jobs.is_empty() {
            return;
        }
        let mut batch = JoinSet::new();
        for job in jobs {
            let (shared, connection) = (Arc::clone(shared), idle.pop());
            batch.spawn(async move { shared.run(job, connection).await.connection });
        }
        idle.extend(batch.join_all().await.into_iter().flatten());
        // Idle ones that the server has closed meanwhile would be opened inside the next batch.
        idle.retain_mut(|c| c.is_fresh(&shared.net));
        missing = size.saturating_sub(idle.len());
    }
}
