//! The load generator beside a bare client that only drains bytes, against the same server in the same run
//! (`make bench-instrument`). Every row has its bound, its aim and both sides.
//!
//! Server, load generator and bare client are processes of their own; a round runs both clients, in turn first; the median
//! over the rounds is what counts, and shares are taken within a round, so that a machine's mood moves both sides.

mod rates;
mod row;
mod times;
mod worker;

use super::{
    InstrumentError, float, ms,
    null_server::{Answers, NullServer},
    per_second, quantile,
    tool::Job,
};
use row::median;
pub use row::{Came, Row};
use servelab_schema::Load;
use std::{num::NonZeroU32, path::Path, time::Duration};
pub use worker::work;
use worker::{Figures, Side, measure};

/// Token chunks of an answer, unless a case says otherwise.
const CHUNKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// Every measurement.
#[derive(Clone, Copy)]
pub struct Suite<'a> {
    /// This program, which is also the null server and the workers.
    pub program: &'a Path,
    /// Rounds of each measurement.
    pub rounds: u32,
    /// Fewer requests.
    pub quick: bool,
    /// Told what is being measured, and what is odd about it.
    pub say: &'a dyn Fn(&str),
}

/// One side of a round.
struct Measured {
    figures: Figures,
    /// Share of a core that the server used meanwhile.
    server: f64,
    ttft_p99_ms: f64,
    gap_p50_ms: f64,
}

impl Measured {
    fn rate(&self) -> f64 {
        per_second(u64::from(self.figures.done.completed), self.figures.done.wall_ns)
    }

    /// CPU seconds per million chunks.
    fn cpu(&self) -> f64 {
        let chunks = u64::from(self.figures.done.completed).saturating_mul(u64::from(CHUNKS.get()));
        float(self.figures.done.cpu_ns) / 1e3 / float(chunks.max(1))
    }
}

struct Round {
    tool: Measured,
    bare: Measured,
}

fn column(rounds: &[Round], of: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(of).collect()
}

fn closed(streams: u32) -> Result<Load, InstrumentError> {
    Ok(Load::Closed {
        concurrency: NonZeroU32::new(streams).ok_or_else(|| InstrumentError::Request("no streams".to_owned()))?,
    })
}

const fn at_once(each: bool, stamps: bool) -> Answers {
    Answers {
        chunks: CHUNKS.get(),
        each,
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        stamps,
    }
}

impl Suite<'_> {
    /// Runs the groups whose name has `only` in it.
    ///
    /// # Errors
    /// Where a server or a worker cannot be started, or the two sides do not agree on what was sent.
    pub fn run(&self, only: Option<&str>) -> Result<Vec<Row>, InstrumentError> {
        let mut rows = Vec::new();
        let mut group =
            |name: &str, run: &dyn Fn() -> Result<Vec<Row>, InstrumentError>| -> Result<(), InstrumentError> {
                if only.is_none_or(|word| name.contains(word)) {
                    (self.say)(&format!("{name} …"));
                    rows.extend(run().map_err(InstrumentError::during(name))?);
                }
                Ok(())
            };
        group("throughput coalesced 64", &|| {
            self.throughput(false, 64, Some((0.45, 0.6)), Some((5.0, 3.0)))
        })?;
        group("throughput coalesced 512", &|| {
            self.throughput(false, 512, Some((0.35, 0.5)), None)
        })?;
        group("throughput each 64", &|| {
            self.throughput(true, 64, Some((0.8, 0.9)), Some((2.0, 1.3)))
        })?;
        group("throughput each 512", &|| {
            self.throughput(true, 512, Some((0.8, 0.9)), None)
        })?;
        group("throughput traces", &|| self.with_traces())?;
        group("error 32", &|| self.error(32, 10, 10, (1.0, 0.3)))?;
        group("error 256", &|| self.error(256, 10, 6, (3.0, 1.0)))?;
        group("error 1000", &|| self.error(1000, 50, 3, (10.0, 3.0)))?;
        group("schedule 200", &|| self.schedule(200))?;
        group("schedule 1000", &|| self.schedule(1000))?;
        group("streams 1000", &|| self.streams(1000))?;
        group("streams 10000", &|| self.streams(10_000))?;
        group("job", &|| self.job())?;
        Ok(rows)
    }

    fn side(&self, server: &NullServer, side: Side, job: &Job) -> Result<Measured, InstrumentError> {
        let before = server.stats()?;
        let figures = measure(self.program, side, job)?;
        let after = server.stats()?;
        let cpu = after.cpu_ns.saturating_sub(before.cpu_ns);
        let (asked, done) = (after.requests.saturating_sub(before.requests), figures.done.completed);
        if asked != u64::from(done.saturating_add(figures.done.failed)) {
            let why = format!("{side:?} says that it read {done} streams, but the server was asked for {asked}");
            return Err(InstrumentError::Unsound(why));
        }
        let (mut ttft_p99_ms, mut gap_p50_ms) = (f64::NAN, f64::NAN);
        if job.times {
            let mut errors = server.truth()?.compare(&figures.done.seen);
            if errors.unmatched > 0 {
                (self.say)(&format!(
                    "{side:?}: {} requests could not be compared",
                    errors.unmatched
                ));
            }
            ttft_p99_ms = quantile(&mut errors.ttft_ns, 0.99).map_or(f64::NAN, ms);
            gap_p50_ms = quantile(&mut errors.gap_ns, 0.5).map_or(f64::NAN, |ns| float(ns) / 1e6);
        }
        if figures.done.failed > 0 {
            (self.say)(&format!("{side:?}: {} streams failed", figures.done.failed));
        }
        // The worker's start and end are not the measurement's.
        let server = float(cpu) / float(figures.done.wall_ns.max(1));
        Ok(Measured {
            figures,
            server,
            ttft_p99_ms,
            gap_p50_ms,
        })
    }

    fn rounds(&self, answers: Answers, job: &Job) -> Result<Vec<Round>, InstrumentError> {
        let server = NullServer::start(self.program, answers)?;
        let job = Job {
            base: server.base().to_owned(),
            ..job.clone()
        };
        (0..self.rounds)
            .map(|n| {
                if n % 2 == 0 {
                    let bare = self.side(&server, Side::Bare, &job)?;
                    Ok(Round {
                        tool: self.side(&server, Side::Tool, &job)?,
                        bare,
                    })
                } else {
                    let tool = self.side(&server, Side::Tool, &job)?;
                    Ok(Round {
                        bare: self.side(&server, Side::Bare, &job)?,
                        tool,
                    })
                }
            })
            .collect()
    }

    fn request_count(&self, full: u32) -> u32 {
        if self.quick { full / 4 } else { full }
    }
}
