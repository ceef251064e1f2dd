//! The `servelab` command: one file per verb that parses, calls, prints and exits. No logic of its own.
//!
//! Standard output is the answer and nothing else; progress and logs go to standard error.

mod doctor;
mod exit;
mod output;
mod progress;
mod project;
mod verbs;

use clap::{Parser, Subcommand};
use exit::{Exit, Failure};
use output::{LogFormat, Voice};
use servelab_runner::{EVENT_TARGET, EventLog};
use std::{path::PathBuf, process::ExitCode};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

/// Compare LLM serving configurations under one token-checked load, with evidence and error bars.
///
/// First steps: `servelab bench --url URL` on a server that runs; or `servelab dataset build` and
/// `servelab run matrix/demo.toml`, which ends with its report.
#[derive(Debug, Parser)]
#[command(name = "servelab", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 ok, 2 usage, 3 configuration, 4 environment, 5 aborted, 6 measured but invalid, \
                        7 compared and worse, 8 compared without evidence; \
                        of `sim` also 1: the simulated engine refused its configuration or died as scripted."
)]
struct Cli {
    /// The project: paths in matrix and dataset files are relative to it.
    #[arg(
        long,
        global = true,
        default_value = ".",
        value_name = "DIR",
        help_heading = "Everywhere"
    )]
    project: PathBuf,
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    verb: Verb,
}

/// What is said beside the answer, on standard error.
#[derive(Debug, clap::Args)]
struct Logging {
    /// Say nothing but warnings and errors beside the answer.
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    quiet: bool,
    /// Say more; twice for every detail. SERVELAB_LOG says it more finely.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    verbose: u8,
    /// How progress, notes, logs and errors are written.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Everywhere"
    )]
    log_format: LogFormat,
}

impl Logging {
    /// Begins to log, into the run that goes on too.
    fn begin(&self, events: &EventLog) {
        let voice = Voice {
            format: self.log_format,
            quiet: self.quiet,
        };
        voice.set();
        let filter = EnvFilter::try_from_env("SERVELAB_LOG").unwrap_or_else(|_| EnvFilter::new(self.level()));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match self.log_format {
            LogFormat::Text => lines.with_ansi(Voice::has_colours()).with_filter(filter).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        };
        tracing_subscriber::registry().with(lines).with(events.layer()).init();
    }

    /// What is logged where SERVELAB_LOG does not say.
    fn level(&self) -> String {
        match (self.verbose, self.quiet, self.log_format) {
            (0, true, _) => "warn".to_owned(),
            // What a run tells of itself is on the terminal already, in better words.
            (0, false, LogFormat::Text) => format!("warn,{EVENT_TARGET}=off"),
            (0, false, LogFormat::Json) => "warn,cli=info,servelab_run=info".to_owned(),
            (1, ..) => "info".to_owned(),
            _ => "debug".to_owned(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build or check the token-checked prompt files.
    #[command(subcommand)]
    Dataset(verbs::dataset::Dataset),
    /// Show what a matrix would run: cells, effective flags and where each value came from. Runs nothing.
    Plan(verbs::plan::Plan),
    /// Execute a matrix, seal the evidence under runs/ and write its report.
    Run(verbs::run::Run),
    /// Read sealed runs into the database; a run that is there already is left as it is.
    Ingest(verbs::ingest::Ingest),
    /// Write the HTML report, plots, summary.csv and summary.json of runs.
    Report(verbs::report::Report),
    /// Close a run directory that `kill -9`, a power cut or a full disk left open, so that it can be ingested.
    Seal(verbs::seal::Seal),
    /// What has been run.
    #[command(subcommand)]
    Results(verbs::results::Results),
    /// Put one load, or a sweep of loads, on a running server. No matrix, no run directory.
    Bench(Box<verbs::bench::Bench>),
    /// Compare servers that are up already: which is better, by how much, how sure.
    Compare(Box<verbs::compare::Compare>),
    /// What this machine has and lacks, with the remedy for each.
    Doctor(verbs::doctor::Doctor),
    /// What is known of an engine without measuring it: the flags that a version of it takes.
    #[command(subcommand)]
    Engine(verbs::engine::Engine),
    /// Write a commented matrix to begin with.
    Init(verbs::init::Init),
    /// Serve the simulated engine: vLLM's wire behaviour, timed by a simulated GPU. Every answer says SIMULATED.
    Sim(Box<servelab_simengine::SimArgs>),
    /// Measure the load generator itself on this machine: its capacity and the error of its times.
    Calibrate(verbs::calibrate::Calibrate),
    /// Serve prepared answers without an engine, to measure a load generator with.
    #[command(hide = true)]
    Null(verbs::null::Null),
    /// Hold the load generator against a bare client: what `make bench-instrument` prints.
    #[command(hide = true)]
    BenchInstrument(verbs::bench_instrument::BenchInstrument),
    /// End an engine whose servelab was killed; servelab itself sets this guard.
    #[command(hide = true)]
    Guard(verbs::guard::Guard),
    /// Print docs/FORMATS.md from the types.
    #[command(hide = true)]
    Formats,
}

fn dispatch(cli: Cli, events: EventLog) -> Result<Exit, Failure> {
    let project = project::Project::new(cli.project);
    match cli.verb {
        Verb::Dataset(verb) => verb.execute(&project),
        Verb::Plan(verb) => verb.execute(&project),
        Verb::Run(verb) => verb.execute(&project, events),
        Verb::Seal(verb) => verb.execute(&project),
        Verb::Ingest(verb) => verb.execute(&project),
        Verb::Report(verb) => verb.execute(&project),
        Verb::Results(verb) => verb.execute(&project),
        Verb::Bench(verb) => verb.execute(&project),
        Verb::Compare(verb) => verb.execute(&project, events),
        Verb::Doctor(verb) => verb.execute(&project),
        Verb::Engine(verb) => verb.execute(&project),
        Verb::Init(verb) => verb.execute(&project),
        Verb::Sim(args) => verbs::sim::execute(&args),
        Verb::Calibrate(verb) => verb.execute(&project),
        Verb::Guard(args) => Ok(args.execute()),
        Verb::Null(args) => args.execute(),
        Verb::BenchInstrument(verb) => verb.execute(&project),
        Verb::Formats => {
            output::answer(&servelab_schema::formats::markdown());
            Ok(Exit::Ok)
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let events = EventLog::default();
    cli.logging.begin(&events);
    let exit = match dispatch(cli, events) {
        Ok(exit) => exit,
        Err(failure) => {
            output::error(&failure.words());
            failure.exit
        }
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
