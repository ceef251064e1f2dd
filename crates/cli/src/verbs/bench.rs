//! `servelab bench`: one load, or a sweep of loads, against a running server.

mod exact;
mod live;
mod options;
mod print;
mod prompts;
mod server;
mod summary;
mod values;

pub(crate) use options::Bench;

use crate::{
    exit::{Exit, Failure},
    project::Project,
};
use anyhow::{Context, anyhow};
use live::{Interrupt, Line};
use prompts::{Prompts, Requests};
use serde::Serialize;
use servelab_load::{
    Endpoint, Labels, LoadError, LoadResult, LoadSpec, RequestHeaders, SinkError, TraceSink,
    attempt::{Deadlines, SizeLimits},
    bench::{
        Conversations, Extent, LoadProfile, Pace,
        body::{Api, Asking},
    },
    clock::TrialClock,
    start_with_profile,
};
use servelab_schema::{EngineKind, Load, Nanos, OutputPolicy, Rate, Ratio, Stop, Trace, VariantId};
use std::{
    fs::File,
    io::{BufWriter, Write},
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use summary::{Figures, Measured, figures};

/// Time to open a connection.
const CONNECT: Nanos = Nanos::from_secs(10);

/// One load and its figures.
#[derive(Debug, Serialize)]
struct ResultSet {
    load: String,
    concurrency: Option<NonZeroU32>,
    rate_per_s: Option<f64>,
    #[serde(flatten)]
    figures: Figures,
    notes: Vec<String>,
}

/// What the command answers.
#[derive(Debug, Serialize)]
struct Answer {
    v: u32,
    engine_kind: EngineKind,
    engine_version: Option<String>,
    url: String,
    endpoint: &'static str,
    model: String,
    seed: u64,
    results: Vec<ResultSet>,
}

/// Where the traces of a load go: all of them into memory for the figures, and into a file where one is asked for.
struct Kept {
    traces: Arc<Mutex<Vec<Trace>>>,
    file: Option<TraceFile>,
}

/// The file of `--traces`, shared by the loads of a sweep.
#[derive(Clone)]
struct TraceFile {
    path: PathBuf,
    out: Arc<Mutex<BufWriter<File>>>,
}

impl TraceFile {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let file = File::create(&path).with_context(|| format!("--traces {}", path.display()));
        Ok(Self {
            out: Arc::new(Mutex::new(BufWriter::new(file.map_err(Failure::environment)?))),
            path,
        })
    }

    fn with(&self, f: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), SinkError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut out)
            .map_err(|e| format!("{}: {e}; free some space or give another --traces", self.path.display()).into())
    }
}

impl TraceSink for Kept {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.traces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(trace.clone());
        let Some(file) = &self.file else { return Ok(()) };
        file.with(|out| {
            serde_json::to_writer(&mut *out, trace)?;
            out.write_all(b"\n")
        })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.file.as_ref().map_or(Ok(()), |file| file.with(Write::flush))
    }
}

/// The parts that every load of a sweep shares.
struct Setup<'a> {
    bench: &'a Bench,
    endpoint: Endpoint,
    headers: RequestHeaders,
    file: Option<TraceFile>,
    interrupt: Interrupt,
}

impl Bench {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        self.check().map_err(|why| Failure::usage(anyhow!(why)))?;
        let api = Api::from(self.endpoint);
        let endpoint = self.url.endpoint(api).map_err(Failure::environment)?;
        let headers = server::headers(&self)?;
        let server = server::identify(&self, &headers)?;
        let asking = Asking {
            api,
            model: server.model.clone(),
            output: OutputPolicy {
                stop: if self.ignore_eos { Stop::Fixed } else { Stop::Natural },
                temperature: Ratio::default(),
                seed: self.seed,
                keep_text: false,
            },
        };
        let prompts = Prompts::open(&self, asking, project)?;
        let file = self
            .traces
            .as_ref()
            .map(|path| TraceFile::create(project.path(path)))
            .transpose()?;
        let interrupt = Interrupt::listen()
            .context("cannot listen for Ctrl-C")
            .map_err(Failure::environment)?;
        let setup = Setup {
            bench: &self,
            endpoint,
            headers,
            file,
            interrupt,
        };
        let mut results = Vec::new();
        for (number, load) in self.loads().into_iter().enumerate() {
            if setup.interrupt.is_asked() {
                break;
            }
            let requests = prompts.requests(number, self.request_count(load))?;
            results.push(setup.run(number, load, requests)?);
        }
        let answer = Answer {
            v: 1,
            engine_kind: server.kind,
            engine_version: server.version,
            url: self.url.to_string(),
            endpoint: api.path(),
            model: server.model,
            seed: self.seed,
            results,
        };
        print::print(self.format, &answer).map_err(Failure::environment)?;
        Ok(if setup.interrupt.is_asked() {
            Exit::Aborted
        } else if answer
            .results
            .iter()
            .any(|set| !set.figures.valid || set.figures.all_failed())
        {
            Exit::Invalid
        } else {
            Exit::Ok
        })
    }
}

/// The mean rate of recorded arrivals; 1 where there are too few to have one.
fn rate_of(offsets: &[Nanos]) -> Option<Rate> {
    let gaps = u32::try_from(offsets.len().checked_sub(1)?).ok()?;
    let last = offsets.last()?.as_secs_f64();
    Rate::new(if last > 0.0 && gaps > 0 {
        f64::from(gaps) / last
    } else {
        1.0
    })
    .ok()
}

impl Setup<'_> {
    fn spec(&self, number: usize, load: Load, requests: &Requests) -> Result<LoadSpec, Failure> {
        let bench = self.bench;
        let number = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
        // Two benches at one server must not name their requests alike.
        let prefix = format!("bench-{:x}-{number}", std::process::id());
        Ok(LoadSpec {
            endpoint: self.endpoint.clone(),
            headers: self.headers.clone(),
            load,
            warm_up: bench.warmup,
            measured: requests.measured.clone(),
            fillers: requests.fillers.clone(),
            seed: bench.seed,
            deadlines: Deadlines {
                connect: CONNECT,
                ttft: bench.ttft_timeout,
                idle: bench.idle_timeout,
                total: bench.total_timeout,
            },
            limits: SizeLimits::default(),
            keep_text: false,
            labels: Labels {
                block: number,
                variant: VariantId::new("bench").map_err(Failure::configuration)?,
                request_prefix: prefix,
            },
            clock: TrialClock::start(NonZeroU32::MIN),
            engine_exit_grace: Duration::ZERO,
        })
    }

    fn profile(&self, requests: &Requests) -> LoadProfile {
        let pace = match (self.bench.batch, &requests.pace) {
            (Some(size), _) => Pace::Batch(size),
            (None, Some(pace)) => pace.clone(),
            (None, None) => Pace::Load,
        };
        let conversations = requests.conversations.clone();
        LoadProfile {
            pace,
            extent: self.bench.extent(),
            ramp: self.bench.ramp.unwrap_or(Nanos::ZERO),
            hold: false,
            conversations: conversations.map(|c| -> Arc<dyn Conversations> { c }),
        }
    }

    /// Runs one load to its end.
    fn run(&self, number: usize, load: Load, requests: Requests) -> Result<ResultSet, Failure> {
        let load = match &requests.pace {
            Some(Pace::Offsets(offsets)) => Load::Open {
                rate_per_s: rate_of(offsets)
                    .ok_or_else(|| Failure::configuration(anyhow!("the recording has no rate")))?,
                arrivals: servelab_schema::Arrivals::Constant,
            },
            _ => load,
        };
        let name = self.name(load);
        let (spec, profile) = (self.spec(number, load, &requests)?, self.profile(&requests));
        let traces = Arc::new(Mutex::new(Vec::with_capacity(requests.measured.len())));
        let sink = Kept {
            traces: Arc::clone(&traces),
            file: self.file.clone(),
        };
        let handle = start_with_profile(spec, profile, sink).map_err(of_load)?;
        self.interrupt.ends(handle.control());
        let line = Line::show(&name, handle.live());
        let result = handle.join();
        line.finish();
        let result = result.map_err(of_load)?;
        let traces = std::mem::take(&mut *traces.lock().unwrap_or_else(PoisonError::into_inner));
        let slo = self.bench.slo.unwrap_or_default();
        let figures = figures(&Measured {
            load,
            slo,
            ramp: self.bench.ramp.unwrap_or(Nanos::ZERO),
            result: &result,
            traces: &traces,
        });
        Ok(ResultSet {
            load: name,
            concurrency: match load {
                Load::Closed { concurrency } => Some(concurrency),
                Load::Open { .. } => None,
            },
            rate_per_s: match load {
                Load::Open { rate_per_s, .. } => Some(rate_per_s.get()),
                Load::Closed { .. } => None,
            },
            notes: self.notes(&requests, &result),
            figures,
        })
    }

    /// The load in words.
    fn name(&self, load: Load) -> String {
        let bench = self.bench;
        let mut name = match load {
            _ if bench.replay.is_some() => "replay of recorded arrivals".to_owned(),
            Load::Closed { concurrency } if bench.batch.is_some() => format!("batches of {concurrency}"),
            Load::Closed { concurrency } => format!("closed loop, concurrency {concurrency}"),
            Load::Open { rate_per_s, arrivals } => {
                format!("open loop, {}/s, {}", rate_per_s.get(), values::arrivals_text(arrivals))
            }
        };
        if let Some(ramp) = bench.ramp {
            name.push_str(&format!(", ramp {ramp}"));
        }
        if let Some(turns) = bench.turns {
            name.push_str(&format!(", {turns} turns"));
        }
        if let Extent::For(duration) = bench.extent() {
            name.push_str(&format!(", for {duration}"));
        }
        name
    }

    /// What a reader must know beside the figures.
    fn notes(&self, requests: &Requests, result: &LoadResult) -> Vec<String> {
        let mut notes = Vec::new();
        let sent = usize::try_from(result.counts.planned).unwrap_or(usize::MAX);
        let turns = self.bench.turns.map_or(1, |t| usize::try_from(t.get()).unwrap_or(1));
        if sent > requests.distinct.saturating_mul(turns) {
            notes.push(format!(
                "only {} different prompts for {sent} requests: an engine with a prefix cache answers repeated ones faster",
                requests.distinct
            ));
        }
        if self.bench.sweep.is_some() && self.bench.prompts.is_some() {
            notes.push(
                "each load of the sweep sends the same prompts: an engine with a prefix cache answers the later ones faster"
                    .to_owned(),
            );
        }
        let mismatches = result
            .counts
            .failed
            .get(&servelab_schema::Reason::PromptTokenMismatch)
            .copied()
            .unwrap_or(0);
        if mismatches > 0 {
            notes.push(
                "the prompts were counted with another tokenizer or chat template than the server's; give the served \
                 model's folder as --tokenizer"
                    .to_owned(),
            );
        }
        notes
    }
}

fn of_load(error: LoadError) -> Failure {
    match error {
        LoadError::Spec(_) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}
