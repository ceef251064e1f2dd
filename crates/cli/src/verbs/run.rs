//! `servelab run`: execute a matrix.

use super::{plan::Matrix, signals};
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
use servelab_runner::{EventLog, MachineLock, RunError, RunOptions, RunOutcome, StopFlag, execute, lock_folder};
use servelab_schema::{EngineKind, InstrumentCertificate, Plan, RunEnd, RunId, Sha256Hex, findings::Findings};
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
struct Answer<'r> {
    engine_kind: EngineKind,
    run_id: &'r RunId,
    dir: String,
    fingerprint: &'r Sha256Hex,
    end: &'r RunEnd,
    retakes: usize,
    lost: usize,
    cells_without_valid_trial: Vec<String>,
    findings: &'r Findings,
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
            Some(calibrated(&program, &plan, &root)?)
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
        self.format.print(&plan, &outcome).map_err(Failure::environment)?;
        let measured = outcome.findings.cells_without_valid_trial().next().is_none();
        match (outcome.error, outcome.end) {
            (Some(error), _) => Err(failure(error)),
            (None, RunEnd::Aborted { .. }) => Ok(Exit::Aborted),
            (None, RunEnd::Complete) if !measured => Ok(Exit::Invalid),
            (None, RunEnd::Complete) => Ok(Exit::Ok),
        }
    }
}

/// The exit code that an error causes.
pub(super) fn failure(error: RunError) -> Failure {
    match error {
        RunError::Prompts { .. } | RunError::Plan(_) => Failure::configuration(error),
        RunError::NoModel { .. } => Failure::usage(error),
        RunError::Stopped(_) => Failure::aborted(error),
        RunError::Evidence(_)
        | RunError::Engine(_)
        | RunError::Provider(_)
        | RunError::Load(_)
        | RunError::Unfit { .. }
        | RunError::Lock(_)
        | RunError::Unsealed { .. } => Failure::environment(error),
    }
}

/// What the load generator can do here, under the plan's heaviest load.
pub(super) fn calibrated(program: &Path, plan: &Plan, project: &Path) -> Result<InstrumentCertificate, Failure> {
    output::note("measuring the instrument itself (a few seconds; --no-calibrate leaves it out)");
    let under = Under::plan(plan, project).map_err(Failure::configuration)?;
    certify(program, &under)
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
    fn print(self, plan: &Plan, outcome: &RunOutcome) -> anyhow::Result<()> {
        let findings = &outcome.findings;
        let empty = findings.cells_without_valid_trial();
        let empty: Vec<String> = empty.map(|c| format!("{} {}", c.variant, c.load)).collect();
        if self == Self::Json {
            return output::json(&Answer {
                engine_kind: plan.engine_kind,
                run_id: &outcome.run_id,
                dir: outcome.dir.display().to_string(),
                fingerprint: &outcome.fingerprint,
                end: &outcome.end,
                retakes: findings.retakes(),
                lost: findings.lost_to_the_instrument(),
                cells_without_valid_trial: empty,
                findings,
            });
        }
        let end = match &outcome.end {
            RunEnd::Complete => "complete".to_owned(),
            RunEnd::Aborted { why } => format!("aborted: {why}"),
        };
        let brief = &findings.brief;
        let mut rows = vec![
            ("run", format!("{} ({})", outcome.run_id, plan.engine_kind)),
            ("directory", outcome.dir.display().to_string()),
            ("fingerprint", outcome.fingerprint.to_string()),
            (
                "takes",
                format!("{} ({} valid, {} invalid)", brief.takes, brief.valid, brief.invalid),
            ),
            ("end", end),
        ];
        let (retakes, lost) = (findings.retakes(), findings.lost_to_the_instrument());
        if retakes > 0 || lost > 0 {
            let lost = match lost {
                0 => "none stays lost to the instrument".to_owned(),
                lost => format!("{lost} stay lost to the instrument: a calmer machine would give them"),
            };
            rows.push(("taken again", format!("{retakes} of them; {lost}")));
        }
        if !empty.is_empty() {
            rows.push(("no valid trial", empty.join(", ")));
        }
        output::answer(&output::facts(rows));
        let said = servelab_report::headlines(plan, findings);
        if !said.is_empty() {
            output::answer("\n");
        }
        super::results::headlines(&said);
        Ok(())
    }
}
