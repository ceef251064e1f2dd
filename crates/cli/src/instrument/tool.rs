//! The load generator on the null server.

use super::truth::Seen;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use servelab_load::{
    BodyParams, Endpoint, Labels, LoadSpec, PreparedRequest, RequestHeaders, SinkError, TraceSink,
    attempt::{Deadlines, SizeLimits},
    clock::{TrialClock, monotonic_ns, process_cpu_ns},
    request_body, run_load,
    stream::Expectation,
};
use servelab_schema::{Load, Message, Nanos, OutputPolicy, PromptId, Ratio, Role, Stop, Trace, VariantId};
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

/// The body of every request: a prompt of ordinary length.
pub(crate) fn body(chunks: NonZeroU32) -> anyhow::Result<Vec<u8>> {
    let message = Message {
        role: Role::User,
        content: "Say what the river said to the stone. ".repeat(16),
    };
    let output = OutputPolicy {
        stop: Stop::Fixed,
        temperature: Ratio::default(),
        seed: 1,
        keep_text: false,
    };
    let params = BodyParams {
        model: "null",
        messages: std::slice::from_ref(&message),
        max_tokens: chunks,
        output,
        continuous_usage: true,
    };
    Ok(request_body(&params)?.to_vec())
}

/// How long a request may take: far beyond what any null server is asked for.
const LONG: Nanos = Nanos::from_secs(120);

fn spec(job: &Job) -> anyhow::Result<LoadSpec> {
    let request = PreparedRequest {
        prompt_id: PromptId::new("null")?,
        body: body(job.chunks)?.into(),
        expect: Expectation {
            prompt_tokens: NonZeroU32::new(10),
            completion_tokens: Some(job.chunks),
        },
    };
    Ok(LoadSpec {
        endpoint: Endpoint::parse(&format!("{}/v1/chat/completions", job.base))?,
        headers: RequestHeaders::default(),
        load: job.load,
        warm_up: 0,
        measured: vec![request; usize::try_from(job.requests)?],
        fillers: Vec::new(),
        seed: 1,
        deadlines: Deadlines {
            connect: LONG,
            ttft: LONG,
            idle: LONG,
            total: LONG,
        },
        limits: SizeLimits::default(),
        keep_text: false,
        labels: Labels {
            block: 1,
            variant: VariantId::new("null")?,
            request_prefix: "n".to_owned(),
        },
        clock: TrialClock::start(NonZeroU32::MIN),
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
                ttft_ns: completion.ttft().0,
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
pub(crate) fn run(job: &Job) -> anyhow::Result<Done> {
    let spec = spec(job)?;
    let times = job.times.then(|| Arc::new(Mutex::new(Vec::new())));
    let open = |path: &PathBuf| {
        File::create(path)
            .with_context(|| path.display().to_string())
            .map(BufWriter::new)
    };
    let sink = Sink {
        times: times.clone(),
        file: job.traces.as_ref().map(open).transpose()?,
    };
    let (began, cpu) = (monotonic_ns(), process_cpu_ns());
    let result = run_load(spec, sink)?;
    let (wall_ns, cpu_ns) = (
        monotonic_ns().saturating_sub(began),
        process_cpu_ns().saturating_sub(cpu),
    );
    let failed = result.counts.failures();
    if result.counts.completed == 0 {
        bail!("no request completed: {:?}", result.counts.failed);
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
