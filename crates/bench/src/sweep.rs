//! The loads of a bench, one after the other, on one server.

use crate::{
    BenchError,
    answers::AnswerCounter,
    asked::Asked,
    at_load::AtLoad,
    figures::{Answer, LoadEnd, ResultSet},
    find_max::{Probe, find_max},
    knee::SweepKnee,
    looked::Looked,
    options::{Bench, PromptSource},
    prompts::{Prompts, Requests, Texts},
    rates,
    summary::{Measured, figures},
    traces::{Kept, Rows, TraceFile},
    values::arrivals_text,
};
use servelab_load::{
    Control, Labels, Live, LoadError, LoadResult, LoadSpec,
    attempt::{Deadlines, SizeLimits},
    bench::{Conversations, Extent, LoadProfile, Pace, body::Asking},
    clock::{TrialClock, utc_now},
    start_with_profile,
    stream::KeepText,
};
use servelab_schema::{
    Arrivals, Capabilities, Load, Member, Nanos, OutputPolicy, Rate, Ratio, Reason, Stop, TimeScale, TokenSource,
    Trace, VariantId,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Stale connections are worth a word above one request in so many.
const STALE_ONE_IN: u64 = 100;

/// Time to open a connection.
const CONNECT: Nanos = Nanos::from_secs(10);

/// Who looks on while loads run, and may end them.
pub trait Watch {
    /// A load begins; `control` ends it early.
    fn begins(&self, load: &str, live: Live, control: Control);
    /// It has ended.
    fn ended(&self);
    /// A load of a sweep was measured.
    fn measured(&self, set: &ResultSet);
    /// A load of a search was measured.
    fn probed(&self, probe: &Probe);
    /// True where no further load shall begin.
    fn is_interrupted(&self) -> bool;
}

/// How a load is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As the options say.
    AsAsked,
    /// So many requests measured while fillers hold the load, after `warm_up` of them have ended.
    Held {
        /// Measured requests.
        requests: u32,
        /// Fillers before the first of them.
        warm_up: u32,
    },
}

/// A bench whose server has been asked what it is, whose prompts are made and whose trace file is open.
#[derive(Debug)]
pub struct Prepared<'a> {
    looked: Looked<'a>,
    prompts: Prompts<'a>,
    file: Option<TraceFile>,
    /// Counts answers that the server does not count.
    counter: Option<AnswerCounter>,
}

impl Bench {
    /// What every request asks for, before it is known what the server takes.
    pub(crate) fn asking(&self, model: &str) -> Asking {
        Asking {
            api: self.api,
            model: model.to_owned(),
            output: OutputPolicy {
                stop: if self.ignores_eos() { Stop::Fixed } else { Stop::Natural },
                temperature: Ratio::default(),
                seed: self.seed,
                keep_text: false,
            },
            capabilities: Capabilities {
                seed: if self.no_seed { Member::Unasked } else { Member::Taken },
                ..Capabilities::FULL
            },
            extra: self.extra_body.clone(),
        }
    }

    /// Makes everything that must be there before the first request.
    ///
    /// # Errors
    /// Options that contradict each other, files that are wrong, a key that is not there or would go out in the clear, a
    /// server that names no model, a trace file that cannot be made or exists.
    pub fn prepare(&self) -> Result<Prepared<'_>, BenchError> {
        self.check()?;
        let texts = Texts::read(self)?;
        tracing::info!(url = %self.url, endpoint = self.api.path(), "the server is asked what it is and what it takes");
        let mut looked = self.looked(&texts)?;
        tell(&looked);
        let counter = match &self.tokenizer {
            _ if looked.negotiated.capabilities.usage.counts() => None,
            Some(dir) => Some(AnswerCounter::load(dir)?),
            None => AnswerCounter::of_server(&looked)?,
        };
        if !looked.negotiated.capabilities.usage.counts() {
            looked.negotiated.notes.push(counted_by(counter.as_ref()).to_owned());
        }
        Ok(Prepared {
            prompts: texts.prompts(&looked)?,
            // The last that can fail: a file that is left behind is in the way of the next try.
            file: self.traces.clone().map(TraceFile::create).transpose()?,
            looked,
            counter,
        })
    }
}

/// Tells the log what was seen of a server.
fn tell(looked: &Looked<'_>) {
    let clean = |text: &str| looked.sent.clean.text(text);
    let version = looked.server.version.as_deref().unwrap_or("not said");
    tracing::info!(model = clean(&looked.server.model), version, kind = %looked.server.kind, "the server says what it is");
    tracing::info!(
        notes = looked.negotiated.notes.join("; "),
        "what the server takes is known"
    );
    tracing::debug!(capabilities = ?looked.negotiated.capabilities, context_tokens = ?looked.server.context_tokens, "in detail");
}

/// Who counts the tokens of a server that counts none.
const fn counted_by(counter: Option<&AnswerCounter>) -> &'static str {
    match counter {
        Some(counter) => match counter.source() {
            TokenSource::ServerTokenize => {
                "tokens are counted from the texts by the server's /tokenize, after the load"
            }
            TokenSource::Tokenizer | TokenSource::Usage => {
                "tokens are counted from the texts by --tokenizer, after the load"
            }
        },
        None => {
            "nobody counts tokens, so there is no TPOT, no NTPOT and no token throughput: give the served model's folder as \
             --tokenizer"
        }
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

impl Prepared<'_> {
    /// Runs every load to its end, or until `watch` is interrupted.
    ///
    /// # Errors
    /// Where a prompt cannot be made, the load generator cannot start, or a trace cannot be kept. Failed requests are rows.
    pub fn run(&self, watch: &impl Watch) -> Result<Answer, BenchError> {
        let started_utc = utc_now();
        let capabilities = self.looked.negotiated.capabilities;
        let (find_max, results) = match &self.looked.bench.find_max {
            Some(asked) => find_max(self, asked, watch).map(|(found, results)| (Some(found), results))?,
            None => (None, self.loads(watch)?),
        };
        Ok(Answer {
            v: 3,
            servelab_version: env!("CARGO_PKG_VERSION"),
            started_utc,
            host: None,
            command: None,
            knee: self.looked.bench.sweep.as_ref().and_then(|_| SweepKnee::of(&results)),
            find_max,
            engine_kind: self.looked.server.kind,
            engine_version: self.looked.server.version.clone(),
            url: self.looked.bench.url.to_string(),
            endpoint: self.looked.bench.api.path(),
            model: self.looked.sent.clean.text(&self.looked.server.model),
            seed: self.looked.bench.seed,
            capabilities,
            server_notes: self.looked.negotiated.notes.clone(),
            extra_body: Some(self.looked.bench.extra_body.members().clone()).filter(|members| !members.is_empty()),
            asked: Asked::from(self.looked.bench),
            lengths: self
                .prompts
                .lengths()
                .map(|lengths| lengths.clone().answered_by(capabilities.ignore_eos.has_effect())),
            not_run: self.not_run(results.len()),
            results,
        })
    }

    /// What was asked for.
    pub(crate) const fn bench(&self) -> &Bench {
        self.looked.bench
    }

    /// The loads behind the first `run` ones; a search has none that it must run.
    fn not_run(&self, run: usize) -> Vec<AtLoad> {
        let loads = if self.looked.bench.find_max.is_some() {
            Vec::new()
        } else {
            self.looked.bench.loads()
        };
        loads.into_iter().skip(run).map(AtLoad::from).collect()
    }

    /// The loads of a sweep, or the only one.
    fn loads(&self, watch: &impl Watch) -> Result<Vec<ResultSet>, BenchError> {
        let mut results = Vec::<ResultSet>::new();
        for (number, load) in self.looked.bench.loads().into_iter().enumerate() {
            // What is wrong with the first load is wrong with the next one too.
            let gave_up = results.last().is_some_and(|set| set.figures.end == LoadEnd::GaveUp);
            if watch.is_interrupted() || gave_up {
                break;
            }
            let (set, ..) = self.put(number, load, &Shape::AsAsked, watch)?;
            if self.looked.bench.sweep.is_some() {
                watch.measured(&set);
            }
            results.push(set);
        }
        Ok(results)
    }

    fn spec(&self, number: usize, load: Load, requests: &Requests, shape: &Shape) -> Result<LoadSpec, BenchError> {
        let bench = self.looked.bench;
        let number = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
        // Two benches at one server must not name their requests alike.
        let prefix = format!("bench-{:x}-{number}", std::process::id());
        Ok(LoadSpec {
            endpoint: self.looked.endpoint.clone(),
            headers: self.looked.sent.headers.clone(),
            load,
            warm_up: match *shape {
                Shape::AsAsked => bench.warmup,
                Shape::Held { warm_up, .. } => warm_up,
            },
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
            keep_text: if self.counter.is_some() {
                KeepText::Everything
            } else {
                KeepText::Nothing
            },
            connections: self.looked.negotiated.capabilities.connections,
            labels: Labels {
                block: number,
                variant: VariantId::new("bench").map_err(|e| BenchError::Options(e.to_string()))?,
                request_prefix: prefix,
            },
            clock: TrialClock::start(TimeScale::REAL),
            engine_exit_grace: Duration::ZERO,
        })
    }

    fn profile(&self, requests: &Requests, shape: &Shape) -> LoadProfile {
        if matches!(shape, Shape::Held { .. }) {
            return LoadProfile::held();
        }
        let pace = match (self.looked.bench.batch, &requests.pace) {
            (Some(size), _) => Pace::Batch(size),
            (None, Some(pace)) => pace.clone(),
            (None, None) => Pace::Load,
        };
        let conversations = requests.conversations.clone();
        LoadProfile {
            pace,
            extent: self.looked.bench.extent(),
            ramp: self.looked.bench.ramp.unwrap_or(Nanos::ZERO),
            hold: false,
            give_up_after: self.looked.bench.give_up_after,
            conversations: conversations.map(|c| -> Arc<dyn Conversations> { c }),
        }
    }

    /// Runs one load to its end: its figures, its traces, and what the load generator says of it.
    pub(crate) fn put(
        &self,
        number: usize,
        load: Load,
        shape: &Shape,
        watch: &impl Watch,
    ) -> Result<(ResultSet, Vec<Trace>, LoadResult), BenchError> {
        let requests = &match *shape {
            Shape::AsAsked => {
                let n = self.looked.bench.request_count(load);
                self.prompts.requests(number, n, self.looked.bench.warmup)?
            }
            Shape::Held { requests, warm_up } => {
                let fillers = warm_up.saturating_add(requests);
                self.prompts.requests(number, requests, fillers)?
            }
        };
        let load = match &requests.pace {
            Some(Pace::Offsets(offsets)) => Load::Open {
                rate_per_s: rate_of(offsets)
                    .ok_or_else(|| BenchError::Options("the recording has no rate".to_owned()))?,
                arrivals: Arrivals::Constant,
            },
            _ => load,
        };
        let name = self.name(load);
        let (spec, profile) = (self.spec(number, load, requests, shape)?, self.profile(requests, shape));
        let rows = Arc::new(Mutex::new(Rows::default()));
        let sink = Kept {
            rows: Arc::clone(&rows),
            file: self.file.clone(),
            clean: self.looked.sent.clean.clone(),
            uncounted: self.counter.is_some(),
        };
        let planned = requests.measured.len();
        tracing::info!(number, load = name, planned, "a load begins");
        tracing::debug!(seed = spec.seed, deadlines = ?spec.deadlines, connections = ?spec.connections, "in detail");
        let handle = start_with_profile(spec, profile, sink)?;
        watch.begins(&name, handle.live(), handle.control());
        let result = handle.join();
        watch.ended();
        let result = result?;
        let (completed, failed) = (result.counts.completed, result.counts.failures());
        tracing::info!(number, completed, failed, "a load ended");
        let rows = std::mem::take(&mut *rows.lock().unwrap_or_else(PoisonError::into_inner));
        let traces = self.counted(rows)?;
        let figures = figures(&Measured {
            load,
            slo: self.looked.bench.slo,
            ramp: self.looked.bench.ramp.unwrap_or(Nanos::ZERO),
            asked_rate: rates::asked_rate(self.looked.bench, load, &result),
            result: &result,
            traces: &traces,
        });
        let set = ResultSet {
            load: name,
            at: AtLoad::from(load),
            notes: {
                let mut notes = self.notes(load, requests, &result);
                notes.extend(rates::drain_note(load, &result, &figures));
                notes
            },
            figures,
        };
        Ok((set, traces, result))
    }

    /// The traces of a load that has ended, with the tokens that its server did not count.
    fn counted(&self, rows: Rows) -> Result<Vec<Trace>, BenchError> {
        let Some(counter) = &self.counter else {
            return Ok(rows.traces);
        };
        let traces = counter.counted(rows.traces, &rows.texts)?;
        if let Some(file) = &self.file {
            for trace in &traces {
                file.write(trace).map_err(LoadError::Sink)?;
            }
            file.flush().map_err(LoadError::Sink)?;
        }
        Ok(traces)
    }

    /// The load in words.
    fn name(&self, load: Load) -> String {
        let bench = self.looked.bench;
        let mut name = match load {
            _ if matches!(bench.prompts, PromptSource::Replay(_)) => "replay of recorded arrivals".to_owned(),
            Load::Closed { concurrency } if bench.batch.is_some() => format!("batches of {concurrency}"),
            Load::Closed { concurrency } => format!("closed loop, concurrency {concurrency}"),
            Load::Open { rate_per_s, arrivals } => {
                format!("open loop, {}/s, {}", rate_per_s.get(), arrivals_text(arrivals))
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
    fn notes(&self, load: Load, requests: &Requests, result: &LoadResult) -> Vec<String> {
        let mut notes: Vec<String> = rates::note(self.looked.bench, load, result).into_iter().collect();
        let sent = usize::try_from(result.counts.planned).unwrap_or(usize::MAX);
        let turns = self
            .looked
            .bench
            .turns
            .map_or(1, |t| usize::try_from(t.get()).unwrap_or(1));
        if sent > requests.distinct.saturating_mul(turns) {
            notes.push(format!(
                "only {} for {sent} requests: an engine with a prefix cache answers repeated ones faster",
                match requests.distinct {
                    1 => "one prompt".to_owned(),
                    distinct => format!("{distinct} different prompts"),
                }
            ));
        }
        let has_several = self.looked.bench.sweep.is_some() || self.looked.bench.find_max.is_some();
        if has_several && matches!(self.looked.bench.prompts, PromptSource::File(_)) {
            notes.push(
                "each load sends the same prompts: an engine with a prefix cache answers the later ones faster"
                    .to_owned(),
            );
        }
        let stale = u64::from(result.instrument.stale_connections);
        if stale.saturating_mul(STALE_ONE_IN) > u64::from(result.counts.planned) {
            notes.push(format!(
                "{stale} of {} requests were sent a second time, because the server had closed the kept connection without a \
                 byte of an answer; each is timed from its second send",
                result.counts.planned
            ));
        }
        if let Some(lengths) = self.prompts.lengths() {
            notes.extend(lengths.notes());
        }
        let failed = |reason| result.counts.failed.get(&reason).copied().unwrap_or(0);
        if failed(Reason::PromptTokenMismatch) > 0 {
            notes.push(
                "the prompts were counted with another tokenizer or chat template than the server's; give the served \
                 model's folder as --tokenizer"
                    .to_owned(),
            );
        }
        if failed(Reason::Empty) > 0 {
            notes.push(
                "some answers had no text, because the model ended them at once: --ignore-eos asks it to go on, and --endpoint \
                 chat renders its chat template"
                    .to_owned(),
            );
        }
        notes
    }
}
