//! Which takes `servelab run` executes: those of a matrix, or what is left of a run that ended.

use super::failure;
use crate::{exit::Failure, output};
use anyhow::anyhow;
use clap::Args;
use servelab_matrix::more_blocks;
use servelab_runner::{Progress, Resumption, RunError, RunOptions, RunOutcome, StopFlag, execute, resume};
use servelab_schema::{Plan, RunId, Wish};
use std::{num::NonZeroU32, path::Path};

/// The options that choose takes.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Go on with a run that was killed, stopped or left takes out: what ended stays, what was cut off is taken anew. Without a
    /// matrix its own plan is executed; with one it must be the same but for more blocks and other limits.
    #[arg(long, help_heading = "Which takes", value_name = "RUN")]
    resume: Option<String>,
    /// Only these: variants, loads, blocks as b03, or beginnings of a trial's name; separated by commas.
    #[arg(long, help_heading = "Which takes", value_name = "WORD", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these; words as for --only.
    #[arg(long, help_heading = "Which takes", value_name = "WORD", value_delimiter = ',')]
    skip: Vec<String>,
    /// Take trials once more that the instrument lost every take of. What the engine or its setting made Invalid is an outcome, and
    /// stays.
    #[arg(long, help_heading = "Which takes", requires = "resume")]
    retry_invalid: bool,
    /// Add so many blocks to the run.
    #[arg(long, help_heading = "Which takes", value_name = "N", requires = "resume")]
    more_blocks: Option<NonZeroU32>,
}

/// What is to be executed.
pub(super) enum What {
    /// A plan, from its first take.
    Anew { plan: Box<Plan>, wish: Wish },
    /// What is left of a run.
    Left(Box<Resumption>),
}

impl Which {
    /// What that is; none where nothing is left, which is said.
    pub(super) fn what(&self, given: Option<Plan>, options: &mut RunOptions) -> Result<Option<What>, Failure> {
        let wish = Wish {
            only: self.only.clone(),
            skip: self.skip.clone(),
            retry_invalid: self.retry_invalid,
            more_blocks: 0,
        };
        let Some(name) = &self.resume else {
            let plan = given
                .ok_or_else(|| Failure::usage(anyhow!("give a matrix, such as `servelab run matrix/demo.toml`")))?;
            let plan = Box::new(plan);
            return Ok(Some(What::Anew { plan, wish }));
        };
        let run_id = run_of(name, options)?;
        let open = |given, wish| Resumption::open(options, &run_id, given, wish).map_err(failure);
        let mut found = open(given, wish.clone())?;
        if let Some(n) = self.more_blocks {
            let longer = more_blocks(found.plan(), n).map_err(Failure::configuration)?;
            drop(found);
            found = open(Some(longer), wish)?;
        }
        let (taken, left) = (found.taken(), found.left());
        if found.is_done() {
            output::note(&format!(
                "nothing of run {run_id} is left to be taken: {taken} takes are there. --more-blocks N adds blocks, --retry-invalid \
                 takes again what the instrument lost"
            ));
            return Ok(None);
        }
        output::note(&format!(
            "run {run_id} goes on: {taken} takes are there, {left} are left"
        ));
        Ok(Some(What::Left(Box::new(found))))
    }
}

/// The run of that name, or in that directory.
fn run_of(name: &str, options: &mut RunOptions) -> Result<RunId, Failure> {
    let path = Path::new(name);
    let (folder, last) = (path.parent(), path.file_name().and_then(|last| last.to_str()));
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
        options.runs = folder.to_path_buf();
    }
    RunId::new(last.unwrap_or_default()).map_err(|e| Failure::usage(anyhow!("--resume {name}: {e}")))
}

impl What {
    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Anew { plan, .. } => plan,
            Self::Left(found) => found.plan(),
        }
    }

    pub(super) async fn execute(
        self,
        options: &RunOptions,
        stop: &StopFlag,
        progress: &dyn Progress,
    ) -> Result<RunOutcome, RunError> {
        match self {
            Self::Anew { plan, wish } => execute(&plan, &wish, options, stop, progress).await,
            Self::Left(found) => resume(*found, options, stop, progress).await,
        }
    }
}
