//! The certificate: what the load generator can do on this machine, and the error of its times under a given load.

use super::{
    InstrumentError, Under,
    null_server::{Answers, NullServer},
    per_second, quantile,
    tool::{self, Done, Job},
    truth::Errors,
    whole,
};
use servelab_load::clock::utc_now;
use servelab_schema::{InstrumentCertificate, Load, Nanos, Ratio};
use std::{num::NonZeroU32, path::Path, time::Duration};

/// Chunks of an answer while capacity is measured.
const CAPACITY_CHUNKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// Streams in flight meanwhile.
const CAPACITY_STREAMS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// Requests of the first look; the real measurement is as long as this says.
const LOOK_REQUESTS: u32 = 512;
/// How long a capacity is measured.
const CAPACITY_TIME_S: f64 = 0.4;

const CLOSED: Load = Load::Closed {
    concurrency: CAPACITY_STREAMS,
};

/// Completed streams per second and the server's share of a core, measured for about `CAPACITY_TIME_S`.
fn capacity(program: &Path, each: bool) -> Result<(f64, f64), InstrumentError> {
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
        request_bytes: Vec::new(),
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
        let why = format!("{} of {requests} streams failed against the null server", done.failed);
        return Err(InstrumentError::Unsound(why));
    }
    Ok((rate(&done), after.cpu_ratio_since(&before)))
}

/// What the measurement under a load came to.
#[derive(Debug)]
struct UnderLoad {
    /// Measured − true.
    errors: Errors,
    /// Requests that were sent.
    requests: u32,
    /// Token chunks received per second of wall time.
    chunks_per_s: f64,
}

fn under_load(program: &Path, under: &Under) -> Result<UnderLoad, InstrumentError> {
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
        request_bytes: under.request_bytes.clone(),
        chunks: under.chunks,
        times: true,
        traces: None,
    };
    let done = tool::run(&job)?;
    let errors = server.truth()?.compare(&done.seen);
    if done.failed > 0 || errors.unmatched > 0 {
        let why = format!(
            "the instrument could not be calibrated: {} streams failed, {} could not be compared",
            done.failed, errors.unmatched
        );
        return Err(InstrumentError::Unsound(why));
    }
    let chunks = u64::from(done.completed).saturating_mul(u64::from(under.chunks.get()));
    Ok(UnderLoad {
        errors,
        requests: job.requests,
        chunks_per_s: per_second(chunks, done.wall_ns),
    })
}

/// The certificate's numbers from what was measured; a client that stamps earlier than the server has no error there.
fn certificate(
    under: &Under,
    (requests_per_s, busy_a): (f64, f64),
    (each_per_s, busy_b): (f64, f64),
    mut seen: UnderLoad,
) -> Result<InstrumentCertificate, InstrumentError> {
    let floor = |x: f64| u64::from(whole(x.floor().max(0.0)));
    let none = || InstrumentError::Unsound("the instrument could not be calibrated: no stream was compared".to_owned());
    let compared = u32::try_from(seen.errors.ttft_ns.len()).unwrap_or(u32::MAX);
    let mut ttft = |q| quantile(&mut seen.errors.ttft_ns, q).map(|ns| Nanos(u64::try_from(ns).unwrap_or(0)));
    let (ttft_p50, ttft_p99) = (ttft(0.5), ttft(0.99));
    let mut gap = |q| quantile(&mut seen.errors.gap_ns, q).map_or(Nanos::ZERO, Nanos);
    let nanos = |d: Duration| Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    let (mean, max) = under.body_bytes(seen.requests);
    Ok(InstrumentCertificate {
        measured_utc: utc_now(),
        highest_requests_per_s: floor(requests_per_s),
        highest_chunks_per_s: floor(each_per_s * f64::from(CAPACITY_CHUNKS.get())),
        server_cpu_ratio: Ratio::new(busy_a.max(busy_b)).map_err(|e| InstrumentError::Unsound(e.to_string()))?,
        load: under.load,
        time_scale: under.time_scale,
        request_bytes_mean: Some(mean),
        request_bytes_max: Some(max),
        chunks: under.chunks.get(),
        chunks_per_s: Some(floor(seen.chunks_per_s)),
        ttft_ns: nanos(under.ttft),
        itl_ns: nanos(under.itl),
        requests: compared,
        ttft_error_p50_ns: ttft_p50.ok_or_else(none)?,
        ttft_error_p99_ns: ttft_p99.ok_or_else(none)?,
        gap_error_p50_ns: gap(0.5),
        gap_error_p99_ns: gap(0.99),
    })
}

/// Measures the certificate: a few seconds. `program` is this program, which also holds the null server.
///
/// # Errors
/// Where the null server cannot be started or a stream of it fails.
pub fn certify(program: &Path, under: &Under) -> Result<InstrumentCertificate, InstrumentError> {
    let during = InstrumentError::during;
    let coalesced = capacity(program, false).map_err(during("the highest request rate was measured"))?;
    let each = capacity(program, true).map_err(during("the highest chunk rate was measured"))?;
    let seen = under_load(program, under).map_err(during("the error of the times was measured"))?;
    certificate(under, coalesced, each, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_stamps_and_conditions_from_the_load() {
        let seen = |errors| UnderLoad {
            errors,
            requests: 3,
            chunks_per_s: 812.7,
        };
        let errors = Errors {
            ttft_ns: (-1..99).map(|n| n * 1000).collect(),
            gap_ns: (1..=200).map(|n| n * 10).collect(),
            unmatched: 0,
        };
        let under = Under {
            time_scale: NonZeroU32::new(20).unwrap(),
            request_bytes: vec![100, 900],
            ..Under::default()
        };
        let c = certificate(&under, (12_345.9, 0.4), (4_000.0, 0.9), seen(errors)).unwrap();
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
        assert_eq!((c.time_scale.get(), c.chunks_per_s), (20, Some(812)));
        assert_eq!((c.request_bytes_mean, c.request_bytes_max), (Some(366), Some(900)));
        assert!(certificate(&under, (1.0, 0.0), (1.0, 0.0), seen(Errors::default())).is_err());
    }
}
