//! `servelab run`: execute a matrix, and say what came of it.

mod said;
mod which;

use self::which::{What, Which};
use super::{
    plan::{Changes, Matrix},
    signals::{self, Begun},
};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    progress::Told,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use servelab_bench::instrument::{Under, certify};
use servelab_evidence::{Disk, SharedDisk};
use servelab_runner::{EventLog, MachineLock, RunError, RunOptions, StopFlag, lock_folder};
use servelab_schema::{InstrumentCertificate, Plan, RunEnd, RunId};
use servelab_verify::sign::SigningKey;
use std::{
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Arguments of `servelab run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The matrix file.
    #[arg(value_name = "MATRIX.toml", required_unless_present = "resume")]
    matrix: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    which: Which,
    /// Name of the run; by default the matrix's name and the time.
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
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
    /// Only seal the run: the database and the report stay as they are.
    #[arg(long)]
    no_report: bool,
    /// Let others read the run's files as your umask says; without it only you may, since they hold prompts and answers.
    #[arg(long)]
    share: bool,
    /// Sign the run once it is sealed: a private key's file (ed25519, PEM), or `env` for SERVELAB_SIGNING_KEY; see `servelab sign`.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Run {
    pub(crate) fn execute(self, project: &Project, events: EventLog) -> Result<Exit, Failure> {
        if self.matrix.is_none() && self.changes != Changes::default() {
            let what = "what changes a matrix needs one: give it beside --resume, as it was when the run began";
            return Err(Failure::usage(anyhow!("{what}")));
        }
        let given = self.matrix.clone().map(|file| Matrix::new(file, self.changes.clone()));
        let given = given.map(|matrix| matrix.resolve(project)).transpose()?;
        if let Some(resolved) = &given {
            super::plan::notes(resolved);
        }
        let given = given.map(|resolved| resolved.plan);
        // A key that is no use must show before anything is measured.
        let key = self
            .sign
            .as_deref()
            .map(|path| super::sign::key(Some(path)))
            .transpose()?;
        let root = project
            .root()
            .canonicalize()
            .context("--project")
            .map_err(Failure::environment)?;
        let program = Project::servelab()?;
        let runs = self.runs.clone().unwrap_or_else(|| project.runs());
        let mut options = RunOptions {
            run_id: self.run_id.clone(),
            events,
            layer: if self.share {
                Arc::new(SharedDisk)
            } else {
                Arc::new(Disk)
            },
            ..RunOptions::new(root, runs, program)
        };
        let Some(what) = self.which.what(given, &mut options)? else {
            return Ok(Exit::Ok);
        };
        if let Some(question) = servelab_matrix::needs_confirmation(what.plan())
            && !self.confirm
            && !confirmed(&question)
        {
            let error = anyhow!("{question}; not confirmed, nothing was run: answer yes, or give --confirm");
            return Err(Failure::environment(error));
        }
        self.measure(project, what, options, key.as_ref())
    }

    /// Executes it, reports it, and says what came of it.
    fn measure(
        &self,
        project: &Project,
        what: What,
        mut options: RunOptions,
        key: Option<&SigningKey>,
    ) -> Result<Exit, Failure> {
        let (stop, begun) = (StopFlag::default(), Begun::default());
        signals::obey(&stop, &begun).map_err(Failure::environment)?;
        // Before the instrument is measured: what it is certified for is true of a machine without other runs.
        let machine = MachineLock::take(&lock_folder(), self.share_machine).map_err(Failure::environment)?;
        options.machine = Some(Arc::new(machine));
        // A run that goes on has the certificate that it began with.
        if matches!(what, What::Anew { .. }) && !self.no_calibrate {
            options.instrument = Some(calibrated(&options.servelab, what.plan(), &options.project)?);
        }
        let plan = what.plan().clone();
        let told = Told::new(plan.trial_count(), plan.engine_kind);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .context("cannot start an event loop")
            .map_err(Failure::environment)?;
        begun.set();
        let outcome = runtime.block_on(what.execute(&options, &stop, &told));
        told.finish();
        let outcome = outcome.map_err(failure)?;
        let signed = key.map_or(Ok(()), |key| super::sign::sealed(&outcome.dir, &outcome.run_id, key));
        let page = (!self.no_report).then(|| said::report(project, &outcome)).flatten();
        said::print(self.format, &plan, &outcome, page.as_deref()).map_err(Failure::environment)?;
        let measured = outcome.findings.cells_without_valid_trial().next().is_none();
        match (outcome.error, outcome.end) {
            (Some(error), _) => Err(failure(error)),
            (None, _) if signed.is_err() => signed.map(|()| Exit::Environment),
            (None, RunEnd::Aborted { .. }) if !outcome.as_asked => Ok(Exit::Aborted),
            (None, _) if !measured => Ok(Exit::Invalid),
            (None, _) => Ok(Exit::Ok),
        }
    }
}

/// The exit code that an error causes.
pub(super) fn failure(error: RunError) -> Failure {
    match error {
        RunError::Prompts { .. } | RunError::Plan(_) | RunError::Changed { .. } | RunError::UsedUp(_) => {
            Failure::configuration(error)
        }
        RunError::Selection(_) => Failure::usage(error),
        RunError::Stopped(_) => Failure::aborted(error),
        RunError::Evidence(_)
        | RunError::Engine(_)
        | RunError::Provider(_)
        | RunError::Load(_)
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
pub(super) fn confirmed(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    output::warn(&format!("{question}. Go on? [yes/no]"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).is_ok() && line.trim().eq_ignore_ascii_case("yes")
}
