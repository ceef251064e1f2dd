//! How much: requests per second and CPU beside the bare client's, streams and memory, a whole `servelab bench`.

use super::{CHUNKS, Measured, Suite, at_once, closed, column, median};
use crate::instrument::{
    InstrumentError, float,
    null_server::{Answers, NullServer},
    suite::{Came, Row, worker::Side},
    tool::Job,
};
use servelab_load::clock::monotonic;
use std::{
    num::NonZeroU32,
    process::{Command, Stdio},
    time::Duration,
};

/// Share of a core from which on the server is the limit.
const SERVER_LIMIT: f64 = 0.9;

impl Suite<'_> {
    pub(super) fn throughput(
        &self,
        each: bool,
        streams: u32,
        share: Option<(f64, f64)>,
        cpu: Option<(f64, f64)>,
    ) -> Result<Vec<Row>, InstrumentError> {
        let job = Job {
            base: String::new(),
            load: closed(streams)?,
            requests: self.request_count(if each { 16_000 } else { 80_000 }),
            request_bytes: Vec::new(),
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
    pub(super) fn with_traces(&self) -> Result<Vec<Row>, InstrumentError> {
        let file = std::env::temp_dir().join(format!("servelab-bench-instrument-{}.jsonl", std::process::id()));
        let job = Job {
            base: String::new(),
            load: closed(64)?,
            requests: self.request_count(80_000),
            request_bytes: Vec::new(),
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

    /// Memory with so many streams open, and how many of them are lost.
    pub(super) fn streams(&self, streams: u32) -> Result<Vec<Row>, InstrumentError> {
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
            request_bytes: Vec::new(),
            chunks,
            times: false,
            traces: None,
        };
        let bare = self.side(&server, Side::Bare, &job)?;
        let runs: Vec<Measured> = (0..self.rounds)
            .map(|_| self.side(&server, Side::Tool, &job))
            .collect::<Result<_, InstrumentError>>()?;
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
    pub(super) fn job(&self) -> Result<Vec<Row>, InstrumentError> {
        let server = NullServer::start(self.program, at_once(false, false))?;
        let walls: Vec<f64> = (0..self.rounds.max(5))
            .map(|_| {
                let began = monotonic();
                let mut command = Command::new(self.program);
                command.args(["bench", "--url", server.base(), "--model", "null", "--requests", "1800"]);
                command.args(["--concurrency", "64", "--max-tokens", "16", "--ignore-eos"]);
                let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
                let said = said.map_err(InstrumentError::os("servelab bench"))?;
                let wall = monotonic().since(began).as_secs_f64();
                // 6: measured, but a gate failed, which near its capacity a client must say.
                if !matches!(said.status.code(), Some(0 | 6)) || said.stdout.is_empty() {
                    let why = format!("servelab bench ended with {}", said.status);
                    return Err(InstrumentError::Worker(why));
                }
                Ok(wall)
            })
            .collect::<Result<_, InstrumentError>>()?;
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
