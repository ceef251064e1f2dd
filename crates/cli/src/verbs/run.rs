//! `servelab run`: execute a matrix.

use super::plan::Matrix;
use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    progress::Bars,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use servelab_bench::instrument::{Under, certify};
use servelab_runner::{RunError, RunOptions, RunOutcome, StopFlag, execute};
use servelab_schema::{EngineKind, InstrumentCertificate, Plan, RunEnd, RunId};
use std::{
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
};

/// Arguments of `servelab run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    matrix: Matrix,
    /// Name of the run; by default the matrix's name and the time.
    #[arg(long, value_name = "NAME")]
    run_id: Option<RunId>,
    /// Folder of the run directories; by default runs/ of the project.
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Do not measure the load generator before the first trial; the run then says nothing of its precision.
    #[arg(long)]
    no_calibrate: bool,
    /// Do not ask before a run that would rent or cost something.
    #[arg(long)]
    confirm: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answer {
    engine_kind: EngineKind,
    run_id: String,
    dir: String,
    fingerprint: String,
    end: RunEnd,
    trials: usize,
    valid: usize,
    invalid: usize,
    cells_without_valid_trial: Vec<String>,
}

impl Run {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        let resolved = self.matrix.resolve(project)?;
        super::plan::notes(&resolved);
        let plan = resolved.plan;
        if let Some(question) = servelab_matrix::needs_confirmation(&plan)
            && !self.confirm
            && !confirmed(&question)
        {
            let error = anyhow!("{question}; not confirmed, nothing was run: answer yes, or give --confirm");
            return Err(Failure::environment(error));
        }
        let runs = self.runs.unwrap_or_else(|| project.runs());
        let root = project
            .root()
            .canonicalize()
            .context("--project")
            .map_err(Failure::environment)?;
        let program = Project::servelab()?;
        let instrument = if self.no_calibrate {
            None
        } else {
            Some(calibrated(&program, &plan, &root)?)
        };
        let options = RunOptions {
            run_id: self.run_id,
            instrument,
            ..RunOptions::new(root, runs, program)
        };
        let bars = Bars::new(plan.trial_count(), plan.engine_kind);
        let stop = StopFlag::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .context("cannot start an event loop")
            .map_err(Failure::environment)?;
        let outcome = runtime.block_on(async {
            tokio::spawn(interrupts(stop.clone()));
            execute(&plan, &options, &stop, &bars).await
        });
        bars.finish();
        let outcome = outcome.map_err(|error| match error {
            RunError::Prompts { .. } | RunError::Plan(_) => Failure::configuration(error),
            RunError::Evidence(_) | RunError::Engine(_) | RunError::Load(_) => Failure::environment(error),
        })?;
        self.format
            .print(plan.engine_kind, &outcome)
            .map_err(Failure::environment)?;
        Ok(match outcome.end {
            RunEnd::Aborted { .. } => Exit::Aborted,
            RunEnd::Complete if !outcome.cells_without_valid_trial.is_empty() => Exit::Invalid,
            RunEnd::Complete => Exit::Ok,
        })
    }
}

/// What the load generator can do here, under the plan's heaviest load.
fn calibrated(program: &Path, plan: &Plan, project: &Path) -> Result<InstrumentCertificate, Failure> {
    output::note("measuring the instrument itself (a few seconds; --no-calibrate leaves it out)");
    let under = Under::plan(plan, project).map_err(Failure::configuration)?;
    certify(program, &under)
        .context("the instrument could not be measured; --no-calibrate runs without its certificate")
        .map_err(Failure::environment)
}

/// Ctrl-C once asks the run to end, twice kills the engine and ends at once.
async fn interrupts(stop: StopFlag) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if stop.is_stopped() {
            stop.kill_engine();
            output::note("interrupted twice: the run is left unsealed");
            std::process::exit(5);
        }
        stop.stop();
        output::note("interrupted: ending the trial and sealing the run; Ctrl-C again ends at once");
    }
}

/// Asks on the terminal; without one nobody can say yes.
fn confirmed(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    output::note(&format!("{question}. Go on? [yes/no]"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).is_ok() && line.trim().eq_ignore_ascii_case("yes")
}

impl Format {
    fn print(self, engine_kind: EngineKind, outcome: &RunOutcome) -> anyhow::Result<()> {
        let answer = Answer {
            engine_kind,
            run_id: outcome.run_id.to_string(),
            dir: outcome.dir.display().to_string(),
            fingerprint: outcome.fingerprint.to_string(),
            end: outcome.end.clone(),
            trials: outcome.trials,
            valid: outcome.valid,
            invalid: outcome.invalid,
            cells_without_valid_trial: outcome.cells_without_valid_trial.clone(),
        };
        if self == Self::Json {
            return output::json(&answer);
        }
        let end = match &answer.end {
            RunEnd::Complete => "complete".to_owned(),
            RunEnd::Aborted { why } => format!("aborted: {why}"),
        };
        let mut rows = vec![
            ("run", format!("{} ({engine_kind})", answer.run_id)),
            ("directory", answer.dir),
            ("fingerprint", answer.fingerprint),
            (
                "trials",
                format!("{} ({} valid, {} invalid)", answer.trials, answer.valid, answer.invalid),
            ),
            ("end", end),
        ];
        if !answer.cells_without_valid_trial.is_empty() {
            rows.push(("no valid trial", answer.cells_without_valid_trial.join(", ")));
        }
        output::answer(&output::facts(rows));
        Ok(())
    }
}
