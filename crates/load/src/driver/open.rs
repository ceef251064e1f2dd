//! The open loop: requests leave when their schedule says so and never wait for answers.
//!
//! Three schedules follow each other: fillers until the warm-up has ended, the measured requests at offsets that depend on
//! the seed alone (so that every variant of a block sees the same arrivals), fillers again until the last measured request
//! has ended.

use super::{
    book::{Book, Job},
    shared::Shared,
};
use crate::{arrivals::Schedule, connection::Connection, timer::Pacer};
use servelab_schema::{Arrivals, Nanos, Rate};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinSet;

/// Connections that are kept open beyond those in use, so that an arrival seldom waits for a handshake.
const SPARE: usize = 4;

/// Idle connections, the most recently used on top.
#[derive(Debug, Clone, Default)]
struct Pool(Arc<Mutex<Vec<Connection>>>);

impl Pool {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Connection>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, shared: &Shared) -> Option<Connection> {
        loop {
            let top = self.with(Vec::pop)?;
            if top.is_fresh(&shared.net) {
                return Some(top);
            }
        }
    }
}

struct OpenLoop<'a> {
    shared: &'a Arc<Shared>,
    pacer: Pacer,
    pool: Pool,
    tasks: JoinSet<()>,
}

impl OpenLoop<'_> {
    /// Waits for an arrival's time. False = the load was stopped.
    async fn wait(&self, at: Nanos) -> io::Result<bool> {
        // An arrival that is already due must not starve the answers.
        tokio::task::consume_budget().await;
        tokio::select! {
            biased;
            _ = self.shared.net.control.wait() => Ok(false),
            waited = self.pacer.wait_until(at) => waited.map(|()| true),
        }
    }

    fn send(&mut self, job: Job) {
        let (shared, pool) = (Arc::clone(self.shared), self.pool.clone());
        let connection = pool.take(&shared);
        self.tasks.spawn(async move {
            let done = shared.run(job, connection).await;
            pool.with(|idle| idle.extend(done.connection));
        });
        if self.pool.with(|idle| idle.len()) < SPARE {
            let (shared, pool) = (Arc::clone(self.shared), self.pool.clone());
            self.tasks.spawn(async move {
                let spare = Connection::open(&shared.net).await.ok();
                pool.with(|idle| idle.extend(spare));
            });
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Sends fillers on `schedule` from `base` until the books say so. False = the load was stopped.
    async fn fill(
        &mut self,
        mut schedule: Schedule,
        base: Nanos,
        reached: impl Fn(&Book) -> bool + Copy,
    ) -> io::Result<bool> {
        loop {
            let at = base.saturating_add(schedule.next_offset());
            let shared = self.shared;
            tokio::select! {
                biased;
                () = shared.until(reached) => return Ok(true),
                go_on = self.wait(at) => if !go_on? { return Ok(false) },
            }
            match shared.book(|b| b.next_filler(at)) {
                Some(job) => self.send(job),
                // Without fillers there is nothing to hold the load with.
                None => return Ok(true),
            }
        }
    }
}

/// Runs the open loop to the end of its last request.
///
/// # Errors
/// Where the operating system has no timer for it.
pub(crate) async fn run(shared: &Arc<Shared>, rate: Rate, arrivals: Arrivals, seed: u64, n: usize) -> io::Result<()> {
    let clock = shared.net.clock;
    let offsets = Schedule::new(arrivals, rate, seed, "measured").take_offsets(n);
    let pool = Pool::default();
    for _ in 0..SPARE {
        // Where that fails, the requests say why.
        if let Ok(connection) = Connection::open(&shared.net).await {
            pool.with(|idle| idle.push(connection));
        }
    }
    let mut open = OpenLoop {
        shared,
        pacer: Pacer::new(clock)?,
        pool,
        tasks: JoinSet::new(),
    };
    open.phases(rate, arrivals, seed, &offsets).await?;
    while open.tasks.join_next().await.is_some() {}
    Ok(())
}

impl OpenLoop<'_> {
    async fn phases(&mut self, rate: Rate, arrivals: Arrivals, seed: u64, offsets: &[Nanos]) -> io::Result<()> {
        let clock = self.shared.net.clock;
        let warm_up = Schedule::new(arrivals, rate, seed, "warm-up");
        if !self.fill(warm_up, clock.now(), Book::is_warm).await? {
            return Ok(());
        }
        let base = clock.now();
        let mut last = base;
        for offset in offsets {
            last = base.saturating_add(*offset);
            if !self.wait(last).await? {
                return Ok(());
            }
            if let Some(job) = self.shared.book(|b| b.next_measured(last)) {
                self.send(job);
            }
        }
        let tail = Schedule::new(arrivals, rate, seed, "tail");
        self.fill(tail, last, Book::is_measured_out).await.map(|_| ())
    }
}
