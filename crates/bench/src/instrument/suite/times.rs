//! How exact: measured − true, and how well a schedule is kept.

use super::{CHUNKS, Measured, Suite, at_once, closed, column, median};
use crate::instrument::{
    InstrumentError, float,
    null_server::{Answers, NullServer},
    suite::{Came, Row, worker::Side},
    tool::Job,
};
use servelab_schema::{Arrivals, Load, Rate};
use std::time::Duration;

impl Suite<'_> {
    pub(super) fn error(
        &self,
        streams: u32,
        itl_ms: u64,
        turns: u32,
        (bound, aim): (f64, f64),
    ) -> Result<Vec<Row>, InstrumentError> {
        let (ttft, itl) = (Duration::from_millis(50), Duration::from_millis(itl_ms));
        let turns = if self.quick { turns.min(2) } else { turns };
        let job = Job {
            base: String::new(),
            load: closed(streams)?,
            requests: streams.saturating_mul(turns),
            request_bytes: Vec::new(),
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

    pub(super) fn schedule(&self, rate: u32) -> Result<Vec<Row>, InstrumentError> {
        let server = NullServer::start(self.program, at_once(true, false))?;
        let job = Job {
            base: server.base().to_owned(),
            load: Load::Open {
                rate_per_s: Rate::new(f64::from(rate)).map_err(InstrumentError::Request)?,
                arrivals: Arrivals::Poisson,
            },
            requests: self.request_count(rate.saturating_mul(3)),
            request_bytes: Vec::new(),
            chunks: CHUNKS,
            times: false,
            traces: None,
        };
        let runs: Vec<Measured> = (0..self.rounds)
            .map(|_| self.side(&server, Side::Tool, &job))
            .collect::<Result<_, InstrumentError>>()?;
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
}
