//! The load generator on the null server.

use super::{InstrumentError, truth::Seen};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use servelab_load::{
    Endpoint, Labels, LoadError, LoadSpec, PreparedRequest, RequestHeaders, SinkError, TraceSink,
    attempt::{Deadlines, SizeLimits},
    bench::body::{Asking, Text},
    clock::{TrialClock, monotonic, process_cpu_ns},
    run_load,
    stream::{Expectation, KeepText},
};
use servelab_schema::{ConnectionUse, Load, Nanos, OutputPolicy, PromptId, Ratio, Stop, TimeScale, Trace, VariantId};
use std::{
    fs::File,
    io::{BufWriter, Write},
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A measurement: what is sent, and what is kept of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The server, `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    /// Closed or open loop.
    pub(crate) load: Load,
    /// How many requests.
    pub(crate) requests: u32,
    /// Sizes of the requests' bodies in bytes, used in turn; none for a prompt of ordinary length.
    pub(crate) request_bytes: Vec<u32>,
    /// Token chunks that each answer has.
    pub(crate) chunks: NonZeroU32,
    /// Keep each request's times.
    pub(crate) times: bool,
    /// Write each trace to this file.
    pub(crate) traces: Option<PathBuf>,
}

/// What a measurement came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Streams that were read to their end.
    pub(crate) completed: u32,
    /// Streams that were not.
    pub(crate) failed: u32,
    /// From the start to the end of the last stream, ns.
    pub(crate) wall_ns: u64,
    /// CPU time of all threads meanwhile, ns.
    pub(crate) cpu_ns: u64,
    /// p99 of sent − scheduled, ns; 0 for a client without a schedule.
    pub(crate) schedule_lag_p99_ns: u64,
    /// Achieved over scheduled rate; none in a closed loop.
    pub(crate) rate_ratio: Option<f64>,
    /// Each request's times, where they were kept.
    pub(crate) seen: Vec<Seen>,
}

/// What prompts say, again and again. ASCII without anything that JSON escapes, so that a character is a byte.
const SENTENCE: &str = "Say what the river said to the stone. ";

fn body(chunks: NonZeroU32, content: String) -> Result<Bytes, InstrumentError> {
    let output = OutputPolicy {
        stop: Stop::Fixed,
        temperature: Ratio::default(),
        seed: 1,
        keep_text: false,
    };
    let body = Asking::chat("null", output).body(&Text::Plain(content), chunks);
    body.map_err(|e| InstrumentError::Request(e.to_string()))
}

/// A body of that size, or of the least that a body has.
fn body_of(chunks: NonZeroU32, bytes: u32) -> Result<Bytes, InstrumentError> {
    let frame = body(chunks, String::new())?.len();
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(frame);
    body(chunks, SENTENCE.chars().cycle().take(wanted).collect())
}

impl Job {
    /// The bodies of its requests, to be used in turn: at least one.
    pub(crate) fn bodies(&self) -> Result<Vec<Bytes>, InstrumentError> {
        if self.request_bytes.is_empty() {
            return Ok(vec![body(self.chunks, SENTENCE.repeat(16))?]);
        }
        let bodies = self.request_bytes.iter().map(|bytes| body_of(self.chunks, *bytes));
        bodies.collect()
    }
}

/// How long a request may take: far beyond what any null server is asked for.
const LONG: Nanos = Nanos::from_secs(120);

fn spec(job: &Job) -> Result<LoadSpec, InstrumentError> {
    let id = |e: servelab_schema::IdError| InstrumentError::Request(e.to_string());
    let prompt_id = PromptId::new("null").map_err(id)?;
    let bodies = job.bodies()?;
    let request = |body: &Bytes| PreparedRequest {
        prompt_id: prompt_id.clone(),
        body: body.clone(),
        expect: Expectation {
            prompt_tokens: NonZeroU32::new(10),
            completion_tokens: Some(job.chunks),
            ..Expectation::default()
        },
    };
    let requests = usize::try_from(job.requests).unwrap_or(usize::MAX);
    Ok(LoadSpec {
        endpoint: Endpoint::parse(&format!("{}/v1/chat/completions", job.base)).map_err(LoadError::from)?,
        headers: RequestHeaders::default(),
        load: job.load,
        warm_up: 0,
        measured: bodies.iter().cycle().take(requests).map(request).collect(),
        fillers: Vec::new(),
        seed: 1,
        deadlines: Deadlines {
            connect: LONG,
            ttft: LONG,
            idle: LONG,
            total: LONG,
        },
        limits: SizeLimits::default(),
        keep_text: KeepText::Nothing,
        connections: ConnectionUse::Kept,
        labels: Labels {
            block: 1,
            variant: VariantId::new("null").map_err(id)?,
            request_prefix: "n".to_owned(),
        },
        clock: TrialClock::start(TimeScale::REAL),
        engine_exit_grace: Duration::ZERO,
    })
}

/// Keeps what the measurement asks for.
struct Sink {
    times: Option<Arc<Mutex<Vec<Seen>>>>,
    file: Option<BufWriter<File>>,
}

impl TraceSink for Sink {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        if let Some(file) = &mut self.file {
            serde_json::to_writer(&mut *file, trace)?;
            file.write_all(b"\n")?;
        }
        if let (Some(times), Some(completion)) = (&self.times, trace.completion()) {
            let gaps = completion.chunks().iter().skip(1).map(|chunk| chunk.gap.0);
            let seen = Seen {
                id: trace.request_id.to_string(),
                ttft_ns: completion.first_chunk().0,
                gaps_ns: gaps.collect(),
            };
            times.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.file.as_mut().map_or(Ok(()), BufWriter::flush)?)
    }
}

/// Runs the load generator on its own threads and waits for its end.
pub(crate) fn run(job: &Job) -> Result<Done, InstrumentError> {
    let spec = spec(job)?;
    let times = job.times.then(|| Arc::new(Mutex::new(Vec::new())));
    let open = |path: &PathBuf| {
        File::create(path)
            .map_err(InstrumentError::os(path.display().to_string()))
            .map(BufWriter::new)
    };
    let sink = Sink {
        times: times.clone(),
        file: job.traces.as_ref().map(open).transpose()?,
    };
    let (began, cpu) = (monotonic(), process_cpu_ns());
    let result = run_load(spec, sink)?;
    let (wall_ns, cpu_ns) = (monotonic().since(began).0, process_cpu_ns().saturating_sub(cpu));
    let failed = result.counts.failures();
    if result.counts.completed == 0 {
        let why = format!("no request completed: {:?}", result.counts.failed);
        return Err(InstrumentError::Unsound(why));
    }
    let rates = result.instrument.achieved_rate_per_s.zip(result.scheduled_rate_per_s);
    let seen = times.map(|t| std::mem::take(&mut *t.lock().unwrap_or_else(PoisonError::into_inner)));
    Ok(Done {
        completed: result.counts.completed,
        failed,
        wall_ns,
        cpu_ns,
        schedule_lag_p99_ns: result.instrument.schedule_lag_p99_ns.0,
        rate_ratio: rates.map(|(achieved, scheduled)| achieved / scheduled),
        seen: seen.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_size_that_is_asked_for() {
        let job = Job {
            base: String::new(),
            load: Load::Closed {
                concurrency: NonZeroU32::MIN,
            },
            requests: 5,
            request_bytes: vec![500, 40_000, 1],
            chunks: NonZeroU32::MIN,
            times: false,
            traces: None,
        };
        let sizes: Vec<usize> = job.bodies().unwrap().iter().map(Bytes::len).collect();
        assert_eq!(sizes[..2], [500, 40_000]);
        assert!(sizes[2] < 300, "never below the frame: {}", sizes[2]);
        let sent: Vec<usize> = spec(&Job {
            base: "http://127.0.0.1:1".to_owned(),
            ..job
        })
        .unwrap()
        .measured
        .iter()
        .map(|r| r.body.len())
        .collect();
        assert_eq!(sent, [500, 40_000, sizes[2], 500, 40_000], "in turn");
    }
}
