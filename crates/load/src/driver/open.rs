//! The open loop: requests leave when their schedule says so and never wait for answers.
//!
//! Three schedules follow each other: fillers until the warm-up has ended, the measured requests at offsets that depend on
//! the seed alone (so that every variant of a block sees the same arrivals) or that were given (a replayed trace), and in a
//! held load fillers again until the last measured request has ended.

use super::{
    batch::open_connections,
    shared::Shared,
    state::{Job, LoadState},
};
use crate::{
    arrivals::{self, Schedule},
    bench::{Extent, LoadProfile, Pace},
    connection::Connection,
    timer::Pacer,
};
use servelab_schema::{Arrivals, Nanos, Rate, TrialInstant};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinSet;

/// Connections that are kept open beyond those in use, so that an arrival seldom waits for a handshake.
const SPARE: usize = 4;

/// Most that are opened before the schedule begins, for one in which many arrive together.
const MOST_SPARE: usize = 1024;

/// Connections to open before the schedule begins: as many as ever arrive together.
fn spare_for(offsets: &[Nanos]) -> usize {
    let together = offsets.chunk_by(|a, b| a == b).map(<[Nanos]>::len).max();
    together.unwrap_or(0).clamp(SPARE, MOST_SPARE)
}

/// When measured requests arrive, counted from the first possible moment, and the time that they fill; a recording has none.
fn measured_offsets(
    profile: &LoadProfile,
    rate: Rate,
    arrivals: Arrivals,
    seed: u64,
    n: usize,
) -> (Vec<Nanos>, Option<Nanos>) {
    let schedule = arrivals::measured(arrivals, rate, seed).ramped(profile.ramp);
    let filled = match (&profile.pace, profile.extent) {
        (Pace::Offsets(at), Extent::Once) => return (at.clone(), None),
        (Pace::Offsets(at), Extent::For(length)) => {
            return (at.iter().copied().take_while(|at| *at < length).collect(), None);
        }
        (_, Extent::Once) => schedule.fill(n),
        (_, Extent::For(length)) => schedule.fill_for(length),
    };
    (filled.offsets, Some(filled.horizon))
}

/// Idle connections, the most recently used on top.
#[derive(Debug, Clone, Default)]
struct Pool(Arc<Mutex<Vec<Connection>>>);

impl Pool {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Connection>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, shared: &Shared) -> Option<Connection> {
        loop {
            let mut top = self.with(Vec::pop)?;
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
    async fn wait(&self, at: TrialInstant) -> io::Result<bool> {
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

    /// Sends fillers on `schedule` from `base` until the state says so. False = the load was stopped.
    async fn fill(
        &mut self,
        mut schedule: Schedule,
        base: TrialInstant,
        reached: impl Fn(&LoadState) -> bool + Copy,
    ) -> io::Result<bool> {
        loop {
            let at = base.after(schedule.next_offset());
            let shared = self.shared;
            tokio::select! {
                biased;
                () = shared.until(reached) => return Ok(true),
                go_on = self.wait(at) => if !go_on? { return Ok(false) },
            }
            match shared.state(|s| s.next_filler(at)) {
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
    let (offsets, horizon) = measured_offsets(&shared.profile, rate, arrivals, seed, n);
    let pool = Pool::default();
    let connections = open_connections(shared, spare_for(&offsets)).await;
    pool.with(|idle| idle.extend(connections));
    let mut open = OpenLoop {
        shared,
        pacer: Pacer::new(clock)?,
        pool,
        tasks: JoinSet::new(),
    };
    open.phases(rate, arrivals, seed, (&offsets, horizon)).await?;
    while open.tasks.join_next().await.is_some() {}
    Ok(())
}

impl OpenLoop<'_> {
    /// Sends exactly the fillers of a warm-up on `schedule` and waits for their ends. False = the load was stopped.
    async fn warm_up(&mut self, mut schedule: Schedule) -> io::Result<bool> {
        let (clock, shared) = (self.shared.net.clock, self.shared);
        let base = clock.now();
        while shared.state(|s| s.warm_up_left() > 0) {
            let at = base.after(schedule.next_offset());
            if !self.wait(at).await? {
                return Ok(false);
            }
            if let Some(job) = shared.state(|s| s.next_warm_up(at)) {
                self.send(job);
            }
        }
        shared.until(LoadState::is_warm).await;
        Ok(shared.net.control.stopped().is_none())
    }

    async fn phases(
        &mut self,
        rate: Rate,
        arrivals: Arrivals,
        seed: u64,
        (offsets, horizon): (&[Nanos], Option<Nanos>),
    ) -> io::Result<()> {
        let clock = self.shared.net.clock;
        let hold = self.shared.profile.hold;
        let warm_up = Schedule::new(arrivals, rate, seed, "warm-up");
        let go_on = if hold {
            self.fill(warm_up, clock.now(), LoadState::is_warm).await?
        } else {
            self.warm_up(warm_up).await?
        };
        if !go_on {
            return Ok(());
        }
        let base = clock.now();
        self.shared.state(|s| {
            s.begin(base);
            s.fills(offsets.len(), horizon);
        });
        for offset in offsets {
            let at = base.after(*offset);
            if !self.wait(at).await? {
                return Ok(());
            }
            if let Some(job) = self.shared.state(|s| s.next_measured(at)) {
                self.send(job);
            }
        }
        if !hold {
            return Ok(());
        }
        // Only a load of its own schedule is held, and that has a horizon; the next arrival comes after its end.
        let end = base.after(horizon.unwrap_or_default());
        let tail = Schedule::new(arrivals, rate, seed, "tail");
        self.fill(tail, end, LoadState::is_measured_out).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_as_many_as_arrive_together() {
        let check = |at: &[u64], expected| {
            let at: Vec<Nanos> = at.iter().map(|n| Nanos(*n)).collect();
            assert_eq!(spare_for(&at), expected);
        };
        check(&[], 4);
        check(&[1, 2, 3], 4);
        check(&[1, 1, 1, 1, 1, 2, 2], 5);
        check(&[7; 5000], 1024);
    }

    #[test]
    fn time_ends_a_schedule() {
        let rate = Rate::new(100.0).unwrap();
        let offsets = |pace, extent| {
            let profile = LoadProfile {
                pace,
                extent,
                ..LoadProfile::default()
            };
            measured_offsets(&profile, rate, Arrivals::Constant, 1, 3)
        };
        let ms = |n: u64| Nanos::from_millis(n);
        assert_eq!(
            offsets(Pace::Load, Extent::Once),
            (vec![ms(0), ms(10), ms(20)], Some(ms(30)))
        );
        assert_eq!(
            offsets(Pace::Load, Extent::For(ms(21))),
            (vec![ms(0), ms(10)], Some(ms(21)))
        );
        let given = Pace::Offsets(vec![ms(0), ms(5), ms(9)]);
        assert_eq!(offsets(given.clone(), Extent::Once), (vec![ms(0), ms(5), ms(9)], None));
        assert_eq!(offsets(given, Extent::For(ms(6))), (vec![ms(0), ms(5)], None));
    }
}
