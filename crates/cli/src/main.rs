//! The `servelab` command: one file per verb that parses, calls, prints and exits. No logic of its own.
//!
//! Standard output is the answer and nothing else; progress and logs go to standard error.

mod doctor;
mod exit;
mod output;
mod progress;
mod project;
mod verbs;

use anyhow::anyhow;
use clap::{Parser, Subcommand, ValueEnum};
use exit::{Exit, Failure};
use output::{Above, LogFormat, Voice};
use servelab_runner::{EVENT_TARGET, EventLog};
use std::{
    env::{self, VarError},
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The environment variable that says finely what is logged.
const LOG_VARIABLE: &str = "SERVELAB_LOG";

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
    /// What can be known of it where the command line does not parse: programs read the error too.
    fn of_words(words: impl IntoIterator<Item = String>) -> Self {
        const OPTION: &str = "--log-format";
        let words: Vec<String> = words.into_iter().collect();
        let beside = words
            .windows(2)
            .filter(|pair| pair.first().is_some_and(|word| word == OPTION));
        let beside = beside.filter_map(|pair| pair.get(1)).map(String::as_str);
        let within = words
            .iter()
            .filter_map(|word| word.strip_prefix(OPTION)?.strip_prefix('='));
        let format = beside
            .chain(within)
            .find_map(|name| LogFormat::from_str(name, false).ok());
        Self {
            quiet: false,
            verbose: 0,
            log_format: format.unwrap_or_default(),
        }
    }

    /// Begins to log, into the run that goes on too. An error where the environment asks for what there is not; it can be said.
    fn begin(&self, events: &EventLog) -> Result<(), Failure> {
        let voice = Voice {
            format: self.log_format,
            quiet: self.quiet,
        };
        voice.set();
        let (asked, wrong) = match asked_filter() {
            Ok(asked) => (asked, None),
            Err(failure) => (None, Some(failure)),
        };
        let is_asked = asked.is_some();
        let filter = asked.unwrap_or_else(|| EnvFilter::new(self.level()));
        // What a run's own events warn of is said in better words already, and once is enough.
        let filter = filter.and(filter_fn(move |event| {
            is_asked || event.target() != EVENT_TARGET || *event.level() > Level::WARN
        }));
        let lines = tracing_subscriber::fmt::layer().with_writer(Above::default);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match self.log_format {
            LogFormat::Text => lines.with_ansi(Voice::has_colours()).with_filter(filter).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        };
        tracing_subscriber::registry().with(lines).with(events.layer()).init();
        wrong.map_or(Ok(()), Err)
    }

    /// What is logged where SERVELAB_LOG does not say.
    fn level(&self) -> String {
        match (self.verbose, self.quiet, self.log_format) {
            (0, true, _) => "warn".to_owned(),
            // What a run tells of itself is on the terminal already, in better words.
            (0, false, LogFormat::Text) => format!("warn,{EVENT_TARGET}=off"),
            (0, false, LogFormat::Json) => format!("warn,cli=info,{EVENT_TARGET}=info"),
            (1, ..) => "info".to_owned(),
            _ => "debug".to_owned(),
        }
    }
}

/// What SERVELAB_LOG asks for; none where it is not set, or empty.
fn asked_filter() -> Result<Option<EnvFilter>, Failure> {
    let wrong = |what: &str| {
        let example = "such as `info`, or `warn,servelab_run=debug`";
        Failure::usage(anyhow!(
            "the environment variable {LOG_VARIABLE} {what}; give levels, {example}"
        ))
    };
    let asked = match env::var(LOG_VARIABLE) {
        Ok(text) => text,
        Err(VarError::NotPresent) => return Ok(None),
        Err(VarError::NotUnicode(_)) => return Err(wrong("is no text")),
    };
    if asked.trim().is_empty() {
        return Ok(None);
    }
    let filter = EnvFilter::builder().parse(&asked);
    filter.map(Some).map_err(|why| wrong(&format!("is `{asked}`: {why}")))
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
    /// Check runs: every hash, every row, and every number derived again from the traces.
    Verify(verbs::verify::Verify),
    /// Sign a run: whoever has your public key can tell that it is as you sealed it.
    Sign(verbs::sign::Sign),
    /// Keep of a sealed run what it takes to run it again: runs/pinned/NAME.json, small enough to be committed.
    Pin(verbs::pin::Pin),
    /// Run a pinned run again and compare: exit code 0 the same or better, 7 worse, 8 no evidence.
    Rerun(verbs::rerun::Rerun),
    /// What has been run.
    #[command(subcommand)]
    Results(verbs::results::Results),
    /// Findings of all runs, by model, engine, variant, load, metric, date and more; the history of a cell.
    Query(Box<verbs::query::Query>),
    /// Copy or check the database.
    #[command(subcommand)]
    Db(verbs::db::Db),
    /// Write the rows of a run's traces: as they are, or as CSV or Parquet.
    Traces(verbs::traces::Traces),
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
    // `init` makes folders, and `doctor` says of this one what it says of the others.
    if !matches!(cli.verb, Verb::Init(_) | Verb::Doctor(_)) {
        project.must_exist()?;
    }
    match cli.verb {
        Verb::Dataset(verb) => verb.execute(&project),
        Verb::Plan(verb) => verb.execute(&project),
        Verb::Run(verb) => verb.execute(&project, events),
        Verb::Seal(verb) => verb.execute(&project),
        Verb::Ingest(verb) => verb.execute(&project),
        Verb::Report(verb) => verb.execute(&project),
        Verb::Sign(verb) => verb.execute(&project),
        Verb::Verify(verb) => verb.execute(&project),
        Verb::Pin(verb) => verb.execute(&project),
        Verb::Rerun(verb) => verb.execute(&project, events),
        Verb::Results(verb) => verb.execute(&project),
        Verb::Query(verb) => verb.execute(&project),
        Verb::Db(verb) => verb.execute(&project),
        Verb::Traces(verb) => verb.execute(&project),
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

/// The command line does not parse, or asks for help or the version: those are answers.
fn refused(error: &clap::Error) -> Exit {
    let rendered = error.render();
    if !error.use_stderr() {
        let in_colours = io::stdout().is_terminal() && !Voice::colours_are_refused();
        if in_colours {
            output::answer(&rendered.ansi().to_string());
        } else {
            output::answer(&rendered.to_string());
        }
        return Exit::Ok;
    }
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    match Logging::of_words(words).begin(&EventLog::default()) {
        Ok(()) => output::usage(&rendered.to_string()),
        Err(failure) => output::error(&failure.words()),
    }
    Exit::Usage
}

fn executed(cli: Cli) -> Exit {
    let events = EventLog::default();
    let done = cli.logging.begin(&events).and_then(|()| dispatch(cli, events));
    done.unwrap_or_else(|failure| {
        output::error(&failure.words());
        failure.exit
    })
}

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => executed(cli),
        Err(error) => refused(&error),
    };
    // Whoever reads the exit code only must not take half an answer for a whole one.
    let exit = match output::undelivered() {
        Some(why) => {
            output::error(&why);
            Exit::Environment
        }
        None => exit,
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

    #[test]
    fn who_reads_json_reads_usage_errors_as_json() {
        let format = |words: &[&str]| Logging::of_words(words.iter().map(|word| (*word).to_owned())).log_format;
        assert_eq!(
            format(&["servelab", "--log-format", "json", "--nonsense"]),
            LogFormat::Json
        );
        assert_eq!(format(&["servelab", "plan", "--log-format=json"]), LogFormat::Json);
        for words in [
            &["servelab", "--log-format"][..],
            &["servelab", "--log-format", "xml"],
            &["json"],
        ] {
            assert_eq!(format(words), LogFormat::Text, "{words:?}");
        }
    }
}
