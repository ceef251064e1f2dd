//! `servelab results rm`: a run off the disk and out of the database.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;
use servelab_evidence::{Disk, EvidenceError, SealedRun, corrections, half_removed, open_file, remove};
use servelab_schema::{RunId, Sha256Hex};
use servelab_store::Corrections;
use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind, IsTerminal},
    path::{Path, PathBuf},
};

/// Arguments of `servelab results rm`.
///
/// Refused is a run that is pinned, that a correction names as what counts, or that goes on. What an earlier removal left half done
/// is finished too.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Name of the run.
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// What of a pin says which run it is of.
#[derive(Debug, Deserialize)]
struct PinnedRun {
    run_id: RunId,
    fingerprint: Sha256Hex,
}

/// Folder of the pins under runs/.
const PINS: &str = "pinned";

/// The pin that names the run, or its bytes; a pin that does not read may name any run, and is an error.
fn pin_of(runs: &Path, run: &RunId, fingerprint: Option<&Sha256Hex>) -> Result<Option<PathBuf>, Failure> {
    let folder = runs.join(PINS);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // Whoever cannot look does not know that the run is not pinned.
        Err(e) => {
            let what = anyhow!("{}: {e}; whether the run is pinned cannot be told", folder.display());
            return Err(Failure::environment(what));
        }
    };
    for entry in listed {
        let path = entry.context("runs/pinned").map_err(Failure::environment)?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let read = || -> anyhow::Result<PinnedRun> { Ok(serde_json::from_reader(BufReader::new(open_file(&path)?))?) };
        let pinned = read()
            .with_context(|| format!("{}: the pin does not read, and may be of this run", path.display()))
            .map_err(Failure::environment)?;
        if &pinned.run_id == run || fingerprint == Some(&pinned.fingerprint) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

impl Remove {
    pub(super) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let (runs, run) = (project.runs(), &self.run);
        let dir = runs.join(run.as_str());
        let fingerprint = SealedRun::noted_fingerprint(&dir);
        if let Some(pin) = pin_of(&runs, run, fingerprint.as_ref())? {
            return Err(Failure::usage(anyhow!(
                "`{run}` is pinned by {}; `servelab rerun` holds against it. Delete the pin first",
                pin.display()
            )));
        }
        let corrections = Corrections::new(corrections(&runs).map_err(Failure::environment)?);
        if let Some(correction) = corrections.replaced_by(run) {
            return Err(Failure::usage(anyhow!(
                "`{run}` counts in place of `{}`, says {}; without it nothing would",
                correction.run.run_id,
                runs.join("corrections")
                    .join(format!("{}.json", correction.number))
                    .display()
            )));
        }
        let mut store = project.existing_store()?;
        let stored = store
            .as_ref()
            .map(servelab_store::Store::runs)
            .transpose()
            .map_err(Failure::environment)?;
        let stored = stored.into_iter().flatten().find(|known| &known.id == run);
        let half_done = half_removed(&runs).map_err(Failure::environment)?;
        // The rows may be of a directory elsewhere, which stays: then they are asked for like a run.
        if !dir.exists() && stored.is_none() && half_done.is_empty() {
            return Err(Failure::environment(anyhow!(
                "there is no run `{run}` under {}; `servelab results list` shows what there is",
                runs.display()
            )));
        }
        if !self.yes && !asked(&question(run, &dir, stored.is_some())) {
            output::note("nothing was removed");
            return Ok(Exit::Aborted);
        }
        let gone = remove(&Disk, &runs, run).map_err(|error| match error {
            EvidenceError::NotARun { .. } | EvidenceError::Running(_) => Failure::usage(error),
            error => Failure::environment(error),
        })?;
        // Last: where this is cut off, the list says that the directory is gone, and rm takes the rows.
        let forgotten = store
            .as_mut()
            .map(|store| store.forget(run))
            .transpose()
            .map_err(Failure::environment)?;
        let what = match (gone, forgotten.unwrap_or_default()) {
            (true, true) => "its directory and its rows in the database",
            (true, false) => "its directory; it was not in the database",
            (false, true) => "its rows in the database; its directory was gone",
            (false, false) => "what an earlier removal had left",
        };
        output::answer(&format!("{run}\tremoved: {what}\n"));
        Ok(Exit::Ok)
    }
}

fn question(run: &RunId, dir: &Path, stored: bool) -> String {
    let what = match (dir.exists(), stored) {
        (true, true) => format!(
            "{} with all of its evidence, and its rows in the database",
            dir.display()
        ),
        (true, false) => format!("{} with all of its evidence", dir.display()),
        (false, true) => {
            format!("the rows of `{run}` in the database; its directory is gone, they cannot be made again")
        }
        (false, false) => "what an earlier removal left half done".to_owned(),
    };
    format!("Remove {what}? [y/N] ")
}

/// Whether somebody at a terminal says yes. Where nobody can be asked the answer is no.
fn asked(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        output::warn("nobody can be asked here; --yes removes without asking");
        return false;
    }
    output::prompt(question);
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .is_ok_and(|_| matches!(answer.trim(), "y" | "Y" | "yes"))
}
