//! How late the event loop is, against a grid that was fixed before the load began.
//!
//! Tick i is due at start + i × [`PERIOD`], whatever woke when. The kernel's timer fires on that grid whether or not this
//! process may run, and the loop learns of it as of any other descriptor: so a tick's lag is what a token chunk would have
//! waited for its stamp at that moment. When the loop comes late, every tick that has become due meanwhile counts with the
//! lag that it has then; ticks that were never served count with the lag at the end. A client that stands still therefore
//! shows as many late ticks as it stood still, in a closed loop as in an open one.

use crate::{clock::monotonic, facts::nearest_rank, timer::Beat};
use servelab_schema::{WallInstant, WallNanos};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Distance of two ticks. Short enough that a load of half a second has a hundred, long enough to cost nothing.
pub(crate) const PERIOD: WallNanos = WallNanos(5_000_000);

/// The ticks of one load and when they were served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grid {
    start: WallInstant,
    /// Lag of tick i + 1.
    lags: Vec<WallNanos>,
}

/// How late the ticks of a span were, of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lateness {
    /// Ticks that were due.
    pub(crate) ticks: u64,
    /// Ticks that were served only after the next one was due.
    pub(crate) missed: u64,
    pub(crate) p50: WallNanos,
    pub(crate) p99: WallNanos,
    pub(crate) max: WallNanos,
}

impl Grid {
    const fn new(start: WallInstant) -> Self {
        Self {
            start,
            lags: Vec::new(),
        }
    }

    /// When tick `i` is due, from 1.
    fn due(&self, i: usize) -> WallInstant {
        let i = u64::try_from(i).unwrap_or(u64::MAX);
        self.start.after(WallNanos(i.saturating_mul(PERIOD.0)))
    }

    /// Serves every tick that is due by now.
    fn serve(&mut self, now: WallInstant) {
        loop {
            let due = self.due(self.lags.len() + 1);
            if now < due {
                return;
            }
            self.lags.push(now.since(due));
        }
    }

    /// Lateness of the ticks that were due from one monotonic stamp to another.
    pub(crate) fn between(&self, from: WallInstant, to: WallInstant) -> Lateness {
        let inside = |(i, lag): (usize, &WallNanos)| {
            let due = self.due(i + 1);
            (due >= from && due <= to).then_some(*lag)
        };
        let mut lags: Vec<WallNanos> = self.lags.iter().enumerate().filter_map(inside).collect();
        lags.sort_unstable();
        let missed = lags.iter().filter(|lag| **lag > PERIOD).count();
        Lateness {
            ticks: u64::try_from(lags.len()).unwrap_or(u64::MAX),
            missed: u64::try_from(missed).unwrap_or(u64::MAX),
            p50: nearest_rank(&lags, 0.5),
            p99: nearest_rank(&lags, 0.99),
            max: lags.last().copied().unwrap_or_default(),
        }
    }
}

/// The probe of one event loop.
#[derive(Debug)]
pub(crate) struct Probe {
    grid: Arc<Mutex<Grid>>,
    task: tokio::task::JoinHandle<()>,
}

impl Probe {
    /// Starts it; must be called inside the runtime that is to be probed.
    pub(crate) fn start() -> io::Result<Self> {
        let start = monotonic();
        let beat = Beat::new(start, PERIOD)?;
        let grid = Arc::new(Mutex::new(Grid::new(start)));
        let served = Arc::clone(&grid);
        let task = tokio::spawn(async move {
            while beat.next().await.is_ok() {
                served.lock().unwrap_or_else(PoisonError::into_inner).serve(monotonic());
            }
        });
        Ok(Self { grid, task })
    }

    /// Ends the probe. Ticks that are due and were not served are late by now.
    pub(crate) fn stop(self) -> Grid {
        self.task.abort();
        let mut grid = self.grid.lock().unwrap_or_else(PoisonError::into_inner);
        grid.serve(monotonic());
        grid.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A grid from 1 s, served at these times after it.
    fn served(at: impl IntoIterator<Item = u64>) -> Grid {
        let mut grid = Grid::new(WallInstant(1000 * MS));
        for at in at {
            grid.serve(WallInstant(1000 * MS + at));
        }
        grid
    }

    /// Lateness between two moments.
    fn between(grid: &Grid, from: u64, to: u64) -> Lateness {
        grid.between(WallInstant(from), WallInstant(to))
    }

    #[test]
    fn lag_runs_from_the_grid_whatever_woke_when() {
        let calm = served((1..=200).map(|i| i * PERIOD.0 + 50_000));
        let expected = Lateness {
            ticks: 200,
            missed: 0,
            p50: WallNanos(50_000),
            p99: WallNanos(50_000),
            max: WallNanos(50_000),
        };
        assert_eq!(between(&calm, 0, u64::MAX), expected);
        // An early wake-up serves nothing, and a second one nothing twice.
        assert_eq!(served([4 * MS, 6 * MS, 6 * MS]).lags, [WallNanos(MS)]);
    }

    #[test]
    fn a_stop_counts_every_tick_that_it_swallowed() {
        // On time to 100 ms, then nothing until 350 ms, then on time to 1 s.
        let stopped = served((1..=20).chain(70..=200).map(|i| i * PERIOD.0));
        let all = between(&stopped, 0, u64::MAX);
        assert_eq!((all.ticks, all.missed), (200, 48), "{all:?}");
        assert_eq!(all.max.0, 245 * MS);
        assert_eq!(all.p50.0, 0);
        assert!(all.p99.0 >= 235 * MS, "{all:?}");
    }

    #[test]
    fn ticks_that_were_never_served_are_late_at_the_end() {
        let grid = served([PERIOD.0, 500 * MS]);
        let all = between(&grid, 0, u64::MAX);
        assert_eq!((all.ticks, all.missed, all.max.0), (100, 97, 490 * MS));
    }

    #[test]
    fn only_ticks_of_the_span_count() {
        let grid = served((1..=10).chain(30..=40).map(|i| i * PERIOD.0));
        let after = between(&grid, 1150 * MS, 1200 * MS);
        assert_eq!((after.ticks, after.missed), (11, 0));
        let within = between(&grid, 1051 * MS, 1149 * MS);
        assert_eq!((within.ticks, within.missed, within.max.0), (19, 18, 95 * MS));
        assert_eq!(between(&grid, 5, 10), Lateness::default());
    }
}
