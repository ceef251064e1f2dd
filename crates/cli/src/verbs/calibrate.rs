//! `servelab calibrate`: what the load generator itself can do on this machine.

use super::plan::{Changes, Matrix};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
use servelab_bench::instrument::{USUAL_BODY_BYTES, Under, certify};
use servelab_schema::{Arrivals, InstrumentCertificate, Load, Nanos, Rate};
use std::{num::NonZeroU32, path::PathBuf, time::Duration};

/// Arguments of `servelab calibrate`.
#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// Measure the error under the heaviest load of this matrix: its requests' sizes, its answers' lengths, its time scale.
    #[arg(long, value_name = "MATRIX",
          conflicts_with_all = ["concurrency", "rate", "request_bytes", "chunks", "ttft", "itl"])]
    plan: Option<PathBuf>,
    /// Measure the error with this many streams in flight; 32 unless something else is asked for.
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    concurrency: Option<NonZeroU32>,
    /// Measure the error at this many requests per second, arriving at random.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Size of each request's body.
    #[arg(long, value_name = "N", default_value_t = USUAL_BODY_BYTES)]
    request_bytes: u32,
    /// Token chunks of each answer.
    #[arg(long, value_name = "N", default_value = "16")]
    chunks: NonZeroU32,
    /// From each request to its first token.
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    ttft: Nanos,
    /// Between two tokens.
    #[arg(long, value_name = "TIME", default_value = "10ms")]
    itl: Nanos,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Calibrate {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        let under = match &self.plan {
            Some(path) => {
                let plan = Matrix::new(path.clone(), Changes::default()).resolve(project)?.plan;
                Under::plan(&plan, project.root()).map_err(Failure::configuration)?
            }
            None => self.under()?,
        };
        let certificate = certify(&Project::servelab()?, &under).map_err(Failure::environment)?;
        print(self.format, &certificate).map_err(Failure::environment)?;
        Ok(Exit::Ok)
    }

    /// What the options ask for, without a plan.
    fn under(&self) -> Result<Under, Failure> {
        let usual = Under::default();
        let load = match (self.concurrency, self.rate) {
            (Some(concurrency), _) => Load::Closed { concurrency },
            (None, Some(rate)) => Load::Open {
                rate_per_s: Rate::new(rate).map_err(|e| Failure::usage(anyhow!("--rate: {e}")))?,
                arrivals: Arrivals::Poisson,
            },
            (None, None) => usual.load,
        };
        Ok(Under {
            load,
            request_bytes: vec![self.request_bytes],
            chunks: self.chunks,
            ttft: Duration::from_nanos(self.ttft.0),
            itl: Duration::from_nanos(self.itl.0),
            ..usual
        })
    }
}

/// A load in words.
fn words(load: &Load) -> String {
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

/// Errors are a few microseconds to a few milliseconds.
fn ms(time: Nanos) -> String {
    format!("{:.3} ms", time.as_millis_f64())
}

fn print(format: Format, c: &InstrumentCertificate) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(c);
    }
    let row = |what: &'static str, value: String| (what, value);
    let server = format!("{:.0} % of a core", c.server_cpu_ratio.get() * 100.0);
    let rows = vec![
        row(
            "highest request rate",
            format!("{} requests/s", c.highest_requests_per_s),
        ),
        row(
            "highest chunk rate",
            format!("{} chunks/s, each in a write of its own", c.highest_chunks_per_s),
        ),
        row(
            "null server meanwhile",
            format!("{server}; near 100 % it was the limit, not the client"),
        ),
        row(
            "load for the errors",
            format!(
                "{}, {} chunks, TTFT {}, {} between chunks",
                words(&c.load),
                c.chunks,
                c.ttft_ns,
                c.itl_ns
            ),
        ),
        row(
            "requests and chunks meanwhile",
            format!(
                "bodies of {} bytes (largest {}), {} chunks/s, for a time scale of {}",
                c.request_bytes_mean.unwrap_or(0),
                c.request_bytes_max.unwrap_or(0),
                c.chunks_per_s.unwrap_or(0),
                c.time_scale
            ),
        ),
        row(
            "TTFT, measured − true",
            format!(
                "p50 {}, p99 {} ({} requests)",
                ms(c.ttft_error_p50_ns),
                ms(c.ttft_error_p99_ns),
                c.requests
            ),
        ),
        row(
            "chunk gap, |measured − true|",
            format!("p50 {}, p99 {}", ms(c.gap_error_p50_ns), ms(c.gap_error_p99_ns)),
        ),
    ];
    output::answer(&output::facts(rows));
    Ok(())
}
