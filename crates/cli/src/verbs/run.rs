//! `servelab run`: execute a matrix.

use super::{plan::Matrix, signals};
use crate::{
    exit::{Exit, Failure},
    instrument::certify::{Under, certify},
    output::{self, Format},
    progress::Bars,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use servelab_runner::{EventLog, MachineLock, RunError, RunOptions, RunOutcome, StopFlag, execute, lock_folder};
use servelab_schema::{EngineKind, InstrumentCertificate, Plan, RunEnd, RunId};
use std::{
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
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
    /// Go on where another run measures on this machine; its evidence then says so. GPUs are never shared.
    #[arg(long)]
    share_machine: bool,
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
    retakes: usize,
    lost: usize,
    cells_without_valid_trial: Vec<String>,
}

impl Run {
    pub(crate) fn execute(self, project: &Project, events: EventLog) -> Result<Exit, Failure> {
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
        // Before the instrument is measured: what it is certified for is true of a machine without other runs.
        let machine = MachineLock::take(&lock_folder(), self.share_machine).map_err(Failure::environment)?;
        let instrument = if self.no_calibrate {
            None
        } else {
            Some(calibrated(&program, &plan)?)
        };
        let options = RunOptions {
            run_id: self.run_id,
            instrument,
            machine: Some(Arc::new(machine)),
            events,
            ..RunOptions::new(root, runs, program)
        };
        let bars = Bars::new(plan.trial_count(), plan.engine_kind);
        let stop = StopFlag::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .context("cannot start an event loop")
            .map_err(Failure::environment)?;
        signals::obey(&stop).map_err(Failure::environment)?;
        let outcome = runtime.block_on(execute(&plan, &options, &stop, &bars));
        bars.finish();
        let outcome = outcome.map_err(failure)?;
        self.format
            .print(plan.engine_kind, &outcome)
            .map_err(Failure::environment)?;
        match (outcome.error, outcome.end) {
            (Some(error), _) => Err(failure(error)),
            (None, RunEnd::Aborted { .. }) => Ok(Exit::Aborted),
            (None, RunEnd::Complete) if !outcome.cells_without_valid_trial.is_empty() => Ok(Exit::Invalid),
            (None, RunEnd::Complete) => Ok(Exit::Ok),
        }
    }
}

/// The exit code that an error causes.
fn failure(error: RunError) -> Failure {
    match error {
        RunError::Prompts { .. } | RunError::Plan(_) => Failure::configuration(error),
        RunError::Stopped(_) => Failure::aborted(error),
        RunError::Evidence(_)
        | RunError::Engine(_)
        | RunError::Load(_)
        | RunError::Lock(_)
        | RunError::Unsealed { .. } => Failure::environment(error),
    }
}

/// What the load generator can do here, under the plan's heaviest load.
fn calibrated(program: &Path, plan: &Plan) -> Result<InstrumentCertificate, Failure> {
    output::note("measuring the instrument itself (about three seconds; --no-calibrate leaves it out)");
    certify(program, &Under::plan(plan))
        .context("the instrument could not be measured; --no-calibrate runs without its certificate")
        .map_err(Failure::environment)
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
            retakes: outcome.retakes,
            lost: outcome.lost,
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
        if answer.retakes > 0 || answer.lost > 0 {
            let lost = match answer.lost {
                0 => "none stays lost to the instrument".to_owned(),
                lost => format!("{lost} stay lost to the instrument: a calmer machine would give them"),
            };
            rows.push(("taken again", format!("{} of them; {lost}", answer.retakes)));
        }
        if !answer.cells_without_valid_trial.is_empty() {
            rows.push(("no valid trial", answer.cells_without_valid_trial.join(", ")));
        }
        output::answer(&output::facts(rows));
        Ok(())
    }
}
