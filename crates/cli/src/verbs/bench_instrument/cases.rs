//! The measurements behind the rows.

use super::{
    table::{Came, Row, median},
    worker::{Figures, Side, measure},
};
use crate::{
    instrument::{
        certify::ms,
        float,
        null_server::{Answers, NullServer},
        per_second, quantile,
        tool::Job,
    },
    output,
};
use anyhow::{Context, anyhow, bail};
use servelab_load::clock::monotonic_ns;
use servelab_schema::{Arrivals, Load, Rate};
use std::{
    num::NonZeroU32,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Token chunks of an answer, unless a case says otherwise.
const CHUNKS: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);
/// Share of a core from which on the server is the limit.
const SERVER_LIMIT: f64 = 0.9;

/// Every measurement.
pub(super) struct Suite<'a> {
    /// This program.
    pub(super) program: &'a Path,
    /// Rounds of each measurement.
    pub(super) rounds: u32,
    /// Fewer requests.
    pub(super) quick: bool,
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

fn closed(streams: u32) -> anyhow::Result<Load> {
    Ok(Load::Closed {
        concurrency: NonZeroU32::new(streams).context("no streams")?,
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
    pub(super) fn run(&self, only: Option<&str>) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut group = |name: &str, run: &dyn Fn() -> anyhow::Result<Vec<Row>>| -> anyhow::Result<()> {
            if only.is_none_or(|word| name.contains(word)) {
                output::note(&format!("{name} …"));
                rows.extend(run().with_context(|| name.to_owned())?);
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

    fn side(&self, server: &NullServer, side: Side, job: &Job) -> anyhow::Result<Measured> {
        let before = server.stats()?;
        let figures = measure(self.program, side, job)?;
        let after = server.stats()?;
        let cpu = after.cpu_ns.saturating_sub(before.cpu_ns);
        let (asked, done) = (after.requests.saturating_sub(before.requests), figures.done.completed);
        if asked != u64::from(done.saturating_add(figures.done.failed)) {
            bail!("{side:?} says that it read {done} streams, but the server was asked for {asked}");
        }
        let (mut ttft_p99_ms, mut gap_p50_ms) = (f64::NAN, f64::NAN);
        if job.times {
            let mut errors = server.truth()?.compare(&figures.done.seen);
            if errors.unmatched > 0 {
                output::note(&format!(
                    "{side:?}: {} requests could not be compared",
                    errors.unmatched
                ));
            }
            ttft_p99_ms = quantile(&mut errors.ttft_ns, 0.99).map_or(f64::NAN, ms);
            gap_p50_ms = quantile(&mut errors.gap_ns, 0.5).map_or(f64::NAN, |ns| float(ns) / 1e6);
        }
        if figures.done.failed > 0 {
            output::note(&format!("{side:?}: {} streams failed", figures.done.failed));
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

    fn rounds(&self, answers: Answers, job: &Job) -> anyhow::Result<Vec<Round>> {
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

    fn throughput(
        &self,
        each: bool,
        streams: u32,
        share: Option<(f64, f64)>,
        cpu: Option<(f64, f64)>,
    ) -> anyhow::Result<Vec<Row>> {
        let job = Job {
            base: String::new(),
            load: closed(streams)?,
            requests: self.request_count(if each { 16_000 } else { 80_000 }),
            chunks: CHUNKS,
            times: false,
            traces: None,
        };
        let rounds = self.rounds(at_once(each, false), &job)?;
        let cut = if each {
            "one write per chunk"
        } else {
            "all in one write"
        };
        let (tool, bare) = (
            median(&column(&rounds, |r| r.tool.rate())),
            median(&column(&rounds, |r| r.bare.rate())),
        );
        let servers = (
            median(&column(&rounds, |r| r.tool.server)),
            median(&column(&rounds, |r| r.bare.server)),
        );
        let limit = |busy: f64| if busy >= SERVER_LIMIT { ", the limit" } else { "" };
        let note = format!(
            "server at {:.0} % of a core with the tool{}, {:.0} % with the bare client{}",
            servers.0 * 100.0,
            limit(servers.0),
            servers.1 * 100.0,
            limit(servers.1)
        );
        let mut rows = Vec::new();
        if let Some((bound, aim)) = share {
            let shares = column(&rounds, |r| r.tool.rate() / r.bare.rate());
            let value = median(&shares);
            rows.push(Row {
                what: format!("requests/s at zero latency, {cut}, concurrency {streams}: share of the bare client's"),
                bound: format!("≥ {bound}"),
                aim: format!("{aim}"),
                measured: format!("{value:.2}"),
                tool: format!("{tool:.0}/s"),
                bare: format!("{bare:.0}/s"),
                came: Came::at_least(value, bound, aim),
                note: note.clone(),
                rounds: shares,
            });
        }
        if let Some((bound, aim)) = cpu {
            let ratios = column(&rounds, |r| r.tool.cpu() / r.bare.cpu());
            let value = median(&ratios);
            rows.push(Row {
                what: format!("client CPU per 1 M chunks, {cut}, concurrency {streams}: against the bare client's"),
                bound: format!("≤ {bound} ×"),
                aim: format!("{aim} ×"),
                measured: format!("{value:.2} ×"),
                tool: format!("{:.2} s", median(&column(&rounds, |r| r.tool.cpu()))),
                bare: format!("{:.2} s", median(&column(&rounds, |r| r.bare.cpu()))),
                came: Came::at_most(value, bound, aim),
                note: "all threads of the process".to_owned(),
                rounds: ratios,
            });
        }
        Ok(rows)
    }

    /// What writing every trace to the disk costs.
    fn with_traces(&self) -> anyhow::Result<Vec<Row>> {
        let file = std::env::temp_dir().join(format!("servelab-bench-instrument-{}.jsonl", std::process::id()));
        let job = Job {
            base: String::new(),
            load: closed(64)?,
            requests: self.request_count(80_000),
            chunks: CHUNKS,
            times: false,
            traces: Some(file.clone()),
        };
        let rounds = self.rounds(at_once(false, false), &job);
        let _ = std::fs::remove_file(&file);
        let rounds = rounds?;
        let shares = column(&rounds, |r| r.tool.rate() / r.bare.rate());
        Ok(vec![Row {
            what: "requests/s at zero latency, all in one write, concurrency 64, each trace written to a file"
                .to_owned(),
            bound: String::new(),
            aim: String::new(),
            measured: format!("{:.2}", median(&shares)),
            tool: format!("{:.0}/s", median(&column(&rounds, |r| r.tool.rate()))),
            bare: format!("{:.0}/s", median(&column(&rounds, |r| r.bare.rate()))),
            came: Came::Info,
            note: "16 chunks a trace, JSON".to_owned(),
            rounds: shares,
        }])
    }

    fn error(&self, streams: u32, itl_ms: u64, turns: u32, (bound, aim): (f64, f64)) -> anyhow::Result<Vec<Row>> {
        let (ttft, itl) = (Duration::from_millis(50), Duration::from_millis(itl_ms));
        let turns = if self.quick { turns.min(2) } else { turns };
        let job = Job {
            base: String::new(),
            load: closed(streams)?,
            requests: streams.saturating_mul(turns),
            chunks: CHUNKS,
            times: true,
            traces: None,
        };
        let answers = Answers {
            chunks: CHUNKS.get(),
            each: true,
            ttft,
            itl,
            stamps: true,
        };
        let rounds = self.rounds(answers, &job)?;
        let case = format!("ITL {itl_ms} ms, concurrency {streams}");
        let beyond = column(&rounds, |r| r.tool.ttft_p99_ms - r.bare.ttft_p99_ms);
        let gaps = column(&rounds, |r| r.tool.gap_p50_ms);
        let (value, gap) = (median(&beyond), median(&gaps));
        let server = median(&column(&rounds, |r| r.tool.server));
        Ok(vec![
            Row {
                what: format!("p99 of measured − true TTFT beyond the bare client's, {case}"),
                bound: format!("≤ {bound} ms"),
                aim: format!("{aim} ms"),
                measured: format!("{value:.2} ms"),
                tool: format!("{:.2} ms", median(&column(&rounds, |r| r.tool.ttft_p99_ms))),
                bare: format!("{:.2} ms", median(&column(&rounds, |r| r.bare.ttft_p99_ms))),
                came: Came::at_most(value, bound, aim),
                note: format!("true TTFT 50 ms; server at {:.0} % of a core", server * 100.0),
                rounds: beyond,
            },
            Row {
                what: format!("median error of the chunk gap, {case}"),
                bound: "≤ 0.1 ms".to_owned(),
                aim: "0.02 ms".to_owned(),
                measured: format!("{gap:.3} ms"),
                tool: format!("{gap:.3} ms"),
                bare: format!("{:.3} ms", median(&column(&rounds, |r| r.bare.gap_p50_ms))),
                came: Came::at_most(gap, 0.1, 0.02),
                note: String::new(),
                rounds: gaps,
            },
        ])
    }

    fn schedule(&self, rate: u32) -> anyhow::Result<Vec<Row>> {
        let server = NullServer::start(self.program, at_once(true, false))?;
        let job = Job {
            base: server.base().to_owned(),
            load: Load::Open {
                rate_per_s: Rate::new(f64::from(rate)).map_err(|e| anyhow!(e))?,
                arrivals: Arrivals::Poisson,
            },
            requests: self.request_count(rate.saturating_mul(3)),
            chunks: CHUNKS,
            times: false,
            traces: None,
        };
        let runs: Vec<Measured> = (0..self.rounds)
            .map(|_| self.side(&server, Side::Tool, &job))
            .collect::<anyhow::Result<_>>()?;
        let lags: Vec<f64> = runs
            .iter()
            .map(|r| float(r.figures.done.schedule_lag_p99_ns) / 1e6)
            .collect();
        let off: Vec<f64> = runs
            .iter()
            .map(|r| {
                r.figures
                    .done
                    .rate_ratio
                    .map_or(f64::NAN, |ratio| (ratio - 1.0).abs() * 100.0)
            })
            .collect();
        let (lag, away) = (median(&lags), median(&off));
        let row = |what: &str, bound: &str, aim: &str, measured: String, came, rounds| Row {
            what: format!("{what}, Poisson {rate} requests/s"),
            bound: bound.to_owned(),
            aim: aim.to_owned(),
            tool: measured.clone(),
            measured,
            bare: "keeps no schedule".to_owned(),
            came,
            note: "zero latency, one write per chunk".to_owned(),
            rounds,
        };
        let lag_came = Came::at_most(lag, 1.0, 0.2);
        let off_came = Came::at_most(away, 1.0, 1.0);
        Ok(vec![
            row(
                "p99 schedule lag",
                "≤ 1 ms",
                "0.2 ms",
                format!("{lag:.3} ms"),
                lag_came,
                lags,
            ),
            row(
                "achieved rate",
                "within 1 %",
                "",
                format!("off by {away:.3} %"),
                off_came,
                off,
            ),
        ])
    }

    /// Memory with so many streams open, and how many of them are lost.
    fn streams(&self, streams: u32) -> anyhow::Result<Vec<Row>> {
        let second = Duration::from_secs(1);
        let chunks = NonZeroU32::MIN.saturating_add(3);
        let answers = Answers {
            chunks: chunks.get(),
            each: true,
            ttft: second,
            itl: second,
            stamps: false,
        };
        let server = NullServer::start(self.program, answers)?;
        let job = Job {
            base: server.base().to_owned(),
            load: closed(streams)?,
            requests: streams,
            chunks,
            times: false,
            traces: None,
        };
        let bare = self.side(&server, Side::Bare, &job)?;
        let runs: Vec<Measured> = (0..self.rounds)
            .map(|_| self.side(&server, Side::Tool, &job))
            .collect::<anyhow::Result<_>>()?;
        let mb = |bytes: u64| float(bytes) / 1e6;
        let memory: Vec<f64> = runs.iter().map(|r| mb(r.figures.peak_memory_bytes)).collect();
        let lost: Vec<f64> = runs
            .iter()
            .map(|r| f64::from(streams.saturating_sub(r.figures.done.completed)))
            .collect();
        let bound = 40.0 + 0.04 * f64::from(streams);
        let (held, worst) = (median(&memory), lost.iter().copied().fold(0.0, f64::max));
        let mut rows = vec![Row {
            what: format!("memory with {streams} streams open"),
            bound: format!("≤ {bound:.0} MB"),
            aim: String::new(),
            measured: format!("{held:.0} MB"),
            tool: format!("{held:.0} MB"),
            bare: format!("{:.0} MB", mb(bare.figures.peak_memory_bytes)),
            came: Came::at_most(held, bound, bound),
            note: "peak of the process; 40 MB + 40 kB a stream".to_owned(),
            rounds: memory,
        }];
        if streams >= 10_000 {
            rows.push(Row {
                what: format!("{streams} streams at once, ITL 1 s: lost in any round"),
                bound: "0".to_owned(),
                aim: String::new(),
                measured: format!("{worst:.0}"),
                tool: format!("{worst:.0}"),
                bare: format!("{}", streams.saturating_sub(bare.figures.done.completed)),
                came: Came::at_most(worst, 0.0, 0.0),
                note: "each read to its end, server in its own process".to_owned(),
                rounds: lost,
            });
        }
        Ok(rows)
    }

    /// The whole wall time of `servelab bench` with 1800 requests.
    fn job(&self) -> anyhow::Result<Vec<Row>> {
        let server = NullServer::start(self.program, at_once(false, false))?;
        let walls: Vec<f64> = (0..self.rounds.max(5))
            .map(|_| {
                let began = monotonic_ns();
                let mut command = Command::new(self.program);
                command.args(["bench", "--url", server.base(), "--model", "null", "--requests", "1800"]);
                command.args(["--concurrency", "64", "--max-tokens", "16", "--ignore-eos"]);
                let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
                let wall = float(monotonic_ns().saturating_sub(began)) / 1e9;
                // 6: measured, but a gate failed, which near its capacity a client must say.
                if !matches!(said.status.code(), Some(0 | 6)) || said.stdout.is_empty() {
                    bail!("servelab bench ended with {}", said.status);
                }
                Ok(wall)
            })
            .collect::<anyhow::Result<_>>()?;
        let wall = median(&walls);
        Ok(vec![Row {
            what: "whole wall of a 1800-request `servelab bench` at zero latency, start to printed summary".to_owned(),
            bound: "≤ 0.8 s".to_owned(),
            aim: "0.4 s".to_owned(),
            measured: format!("{wall:.2} s"),
            tool: format!("{wall:.2} s"),
            bare: "–".to_owned(),
            came: Came::at_most(wall, 0.8, 0.4),
            note: "concurrency 64, 16 chunks in one write".to_owned(),
            rounds: walls,
        }])
    }
}
