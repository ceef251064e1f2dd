//! The certificate: what the load generator can do on this machine, and the error of its times under a given load.

use super::{
    float,
    null_server::{Answers, NullServer},
    per_second, quantile,
    tool::{self, Done, Job},
    truth::Errors,
};
use anyhow::{Context, anyhow};
use servelab_load::clock::utc_now;
use servelab_schema::{Arrivals, InstrumentCertificate, Load, Nanos, Plan, Rate, Ratio};
use std::{num::NonZeroU32, path::Path, time::Duration};

/// The load under which the error is measured, and how the server answers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Under {
    /// Closed or open loop; an open loop's rate is one of wall time.
    pub(crate) load: Load,
    /// Token chunks of each answer.
    pub(crate) chunks: NonZeroU32,
    /// From the request to its first token.
    pub(crate) ttft: Duration,
    /// Between two tokens.
    pub(crate) itl: Duration,
}

/// Chunks of an answer while capacity is measured.
const CAPACITY_CHUNKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// Streams in flight meanwhile.
const CAPACITY_STREAMS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// Requests of the first look; the real measurement is as long as this says.
const LOOK_REQUESTS: u32 = 512;
/// How long a capacity is measured.
const CAPACITY_TIME_S: f64 = 0.4;
/// How long the error is measured at most.
const ERROR_TIME_S: f64 = 1.0;

const CLOSED: Load = Load::Closed {
    concurrency: CAPACITY_STREAMS,
};

impl Default for Under {
    fn default() -> Self {
        Self {
            load: Load::Closed {
                concurrency: NonZeroU32::MIN.saturating_add(31),
            },
            chunks: CAPACITY_CHUNKS,
            ttft: Duration::from_millis(50),
            itl: Duration::from_millis(10),
        }
    }
}

impl Under {
    /// The heaviest load of a plan, in wall time: the one with the most streams, or else with the highest rate. The server's
    /// times are the default's, since no one knows the engine's before the run.
    pub(crate) fn plan(plan: &Plan) -> Self {
        let scale = f64::from(plan.engine.time_scale().get());
        let wall = |load: Load| match load {
            Load::Closed { .. } => load,
            Load::Open { rate_per_s, arrivals } => Load::Open {
                rate_per_s: Rate::new(rate_per_s.get() * scale).unwrap_or(rate_per_s),
                arrivals,
            },
        };
        let weight = |load: &Load| match load {
            Load::Closed { concurrency } => f64::from(concurrency.get()),
            // As many streams as answers of the default length hold in flight.
            Load::Open { rate_per_s, .. } => rate_per_s.get() * Self::default().answer_s(),
        };
        let loads = plan.loads.iter().map(|named| wall(named.load));
        let heaviest = loads.max_by(|a, b| weight(a).total_cmp(&weight(b)));
        Self {
            load: heaviest.unwrap_or(Self::default().load),
            ..Self::default()
        }
    }

    /// How long the server takes for an answer.
    fn answer_s(&self) -> f64 {
        self.ttft.as_secs_f64() + self.itl.as_secs_f64() * f64::from(self.chunks.get().saturating_sub(1))
    }

    /// Requests that fill the time for the error, but at least two rounds of a closed loop and enough for a 99th percentile
    /// where the load allows it.
    fn requests(&self) -> u32 {
        let (floor, rate) = match self.load {
            Load::Closed { concurrency } => {
                let streams = f64::from(concurrency.get());
                (2.0 * streams, streams / self.answer_s().max(1e-3))
            }
            Load::Open { rate_per_s, .. } => (20.0, rate_per_s.get()),
        };
        whole((rate * ERROR_TIME_S).max(floor).min(20_000.0))
    }
}

#[expect(clippy::as_conversions, reason = "float to integer saturates")]
const fn whole(x: f64) -> u32 {
    x.ceil() as u32
}

/// Completed streams per second and the server's share of a core, measured for about `CAPACITY_TIME_S`.
fn capacity(program: &Path, each: bool) -> anyhow::Result<(f64, f64)> {
    let answers = Answers {
        chunks: CAPACITY_CHUNKS.get(),
        each,
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        stamps: false,
    };
    let server = NullServer::start(program, answers)?;
    let job = |requests| Job {
        base: server.base().to_owned(),
        load: CLOSED,
        requests,
        chunks: CAPACITY_CHUNKS,
        times: false,
        traces: None,
    };
    let rate = |done: &Done| per_second(u64::from(done.completed), done.wall_ns);
    let look = tool::run(&job(LOOK_REQUESTS))?;
    let requests = whole(rate(&look) * CAPACITY_TIME_S).max(LOOK_REQUESTS);
    let before = server.stats()?;
    let done = tool::run(&job(requests))?;
    let after = server.stats()?;
    if done.failed > 0 {
        return Err(anyhow!(
            "{} of {requests} streams failed against the null server",
            done.failed
        ));
    }
    Ok((rate(&done), after.cpu_ratio_since(&before)))
}

/// Measured − true under a load.
pub(crate) fn errors(program: &Path, under: &Under) -> anyhow::Result<Errors> {
    let answers = Answers {
        chunks: under.chunks.get(),
        each: true,
        ttft: under.ttft,
        itl: under.itl,
        stamps: true,
    };
    let server = NullServer::start(program, answers)?;
    let job = Job {
        base: server.base().to_owned(),
        load: under.load,
        requests: under.requests(),
        chunks: under.chunks,
        times: true,
        traces: None,
    };
    let done = tool::run(&job)?;
    let errors = server.truth()?.compare(&done.seen);
    if done.failed > 0 || errors.unmatched > 0 {
        let why = format!(
            "{} streams failed, {} could not be compared",
            done.failed, errors.unmatched
        );
        return Err(anyhow!("the instrument could not be calibrated: {why}"));
    }
    Ok(errors)
}

/// The certificate's numbers from what was measured; a client that stamps earlier than the server has no error there.
fn certificate(
    under: &Under,
    (requests_per_s, busy_a): (f64, f64),
    (each_per_s, busy_b): (f64, f64),
    mut errors: Errors,
) -> anyhow::Result<InstrumentCertificate> {
    let floor = |x: f64| u64::from(whole(x.floor().max(0.0)));
    let compared = errors.ttft_ns.len();
    let mut ttft = |q| quantile(&mut errors.ttft_ns, q).map(|ns| Nanos(u64::try_from(ns).unwrap_or(0)));
    let (ttft_p50, ttft_p99) = (ttft(0.5), ttft(0.99));
    let mut gap = |q| quantile(&mut errors.gap_ns, q).map_or(Nanos::ZERO, Nanos);
    let none = || anyhow!("the instrument could not be calibrated: no stream was compared");
    let nanos = |d: Duration| Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    Ok(InstrumentCertificate {
        measured_utc: utc_now(),
        highest_requests_per_s: floor(requests_per_s),
        highest_chunks_per_s: floor(each_per_s * f64::from(CAPACITY_CHUNKS.get())),
        server_cpu_ratio: Ratio::new(busy_a.max(busy_b))?,
        load: under.load,
        chunks: under.chunks.get(),
        ttft_ns: nanos(under.ttft),
        itl_ns: nanos(under.itl),
        requests: u32::try_from(compared)?,
        ttft_error_p50_ns: ttft_p50.ok_or_else(none)?,
        ttft_error_p99_ns: ttft_p99.ok_or_else(none)?,
        gap_error_p50_ns: gap(0.5),
        gap_error_p99_ns: gap(0.99),
    })
}

/// Measures the certificate: about three seconds.
///
/// # Errors
/// Where the null server cannot be started or a stream of it fails.
pub(crate) fn certify(program: &Path, under: &Under) -> anyhow::Result<InstrumentCertificate> {
    let coalesced = capacity(program, false).context("while the highest request rate was measured")?;
    let each = capacity(program, true).context("while the highest chunk rate was measured")?;
    let errors = errors(program, under).context("while the error of the times was measured")?;
    certificate(under, coalesced, each, errors)
}

/// In ms, for tables.
pub(crate) fn ms(ns: i64) -> f64 {
    let magnitude = float(ns.unsigned_abs()) / 1e6;
    if ns < 0 { -magnitude } else { magnitude }
}

/// A load in words.
pub(crate) fn words(load: &Load) -> String {
    match load {
        Load::Closed { concurrency } => format!("closed loop, {concurrency} in flight"),
        Load::Open { rate_per_s, arrivals } => {
            let kind = match arrivals {
                Arrivals::Constant => "constant",
                Arrivals::Poisson => "Poisson",
                Arrivals::Gamma { .. } => "gamma",
                Arrivals::Burst { .. } => "burst",
            };
            format!("open loop, {} requests/s, {kind} arrivals", rate_per_s.get())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    fn closed(n: u32) -> Load {
        Load::Closed {
            concurrency: NonZeroU32::new(n).unwrap(),
        }
    }

    #[test]
    fn numbers_come_from_the_stamps() {
        let errors = Errors {
            ttft_ns: (-1..99).map(|n| n * 1000).collect(),
            gap_ns: (1..=200).map(|n| n * 10).collect(),
            unmatched: 0,
        };
        let c = certificate(&Under::default(), (12_345.9, 0.4), (4_000.0, 0.9), errors).unwrap();
        assert_eq!((c.highest_requests_per_s, c.highest_chunks_per_s), (12_345, 64_000));
        assert!(
            (c.server_cpu_ratio.get() - 0.9).abs() < 1e-12,
            "the busier server limits"
        );
        assert_eq!(
            (c.ttft_error_p50_ns, c.ttft_error_p99_ns),
            (Nanos(48_000), Nanos(97_000))
        );
        assert_eq!((c.gap_error_p50_ns, c.gap_error_p99_ns), (Nanos(1000), Nanos(1980)));
        assert_eq!(c.requests, 100);
        assert!(certificate(&Under::default(), (1.0, 0.0), (1.0, 0.0), Errors::default()).is_err());
    }

    #[test]
    fn the_heaviest_load_of_a_plan_is_certified() {
        let mut plan = examples::plan();
        let first = plan.loads[0].clone();
        plan.loads = [closed(4), closed(64), closed(8)]
            .map(|load| servelab_schema::NamedLoad { load, ..first.clone() })
            .into();
        assert_eq!(Under::plan(&plan).load, closed(64));
        let rate_per_s = Rate::new(5.0).unwrap();
        plan.loads[2].load = Load::Open {
            rate_per_s,
            arrivals: Arrivals::Poisson,
        };
        assert_eq!(Under::plan(&plan).load, closed(64));
        plan.loads.truncate(3);
        plan.loads.drain(..2);
        let scaled = 5.0 * f64::from(plan.engine.time_scale().get());
        let Load::Open { rate_per_s, .. } = Under::plan(&plan).load else {
            panic!()
        };
        assert!(
            (rate_per_s.get() - scaled).abs() < 1e-9,
            "the client works in wall time"
        );
    }

    #[test]
    fn a_measurement_is_long_enough_and_short() {
        let under = |load| Under {
            load,
            ..Under::default()
        };
        assert_eq!(under(closed(32)).requests(), 160, "one second of 200 ms answers");
        assert_eq!(under(closed(1)).requests(), 5);
        let slow = Under {
            itl: Duration::from_secs(1),
            ..under(closed(100))
        };
        assert_eq!(slow.requests(), 200, "two rounds");
        let rate_per_s = Rate::new(300.0).unwrap();
        assert_eq!(
            under(Load::Open {
                rate_per_s,
                arrivals: Arrivals::Constant
            })
            .requests(),
            300
        );
    }
}
