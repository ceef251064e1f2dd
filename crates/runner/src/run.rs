//! The run loop: blocks in order, trials in their block's order, one seal at the end.

use crate::{
    Progress, RunError, StopFlag,
    bring_up::EngineAccess,
    environment,
    requests::Requests,
    trial::{Observed, Trial, execute_trial},
};
use servelab_evidence::{Disk, FileLayer, RunWriter};
use servelab_load::clock::{WallAnchor, monotonic_ns, utc_now};
use servelab_schema::{ClockAnchor, InstrumentCertificate, Nanos, Plan, RunEnd, RunId, Sha256Hex, Validity};
use servelab_telemetry::CloudBases;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Where and how a plan is executed.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The project: paths in the plan are relative to it.
    pub project: PathBuf,
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// Name of the run; by default the matrix's name and the time.
    pub run_id: Option<RunId>,
    /// The program that holds the simulated engine: servelab itself.
    pub servelab: PathBuf,
    /// What the load generator was found able to do on this machine just before; none where it was not measured.
    pub instrument: Option<InstrumentCertificate>,
    /// NVIDIA's library; none for the driver's own, wherever it is installed.
    pub nvml: Option<PathBuf>,
    /// Where clouds are asked about the machine.
    pub cloud: CloudBases,
    /// The disk.
    pub layer: Arc<dyn FileLayer>,
}

impl RunOptions {
    /// Options with the real disk and a run id made from the time.
    #[must_use]
    pub fn new(project: PathBuf, runs: PathBuf, servelab: PathBuf) -> Self {
        Self {
            project,
            runs,
            run_id: None,
            servelab,
            instrument: None,
            nvml: None,
            cloud: CloudBases::default(),
            layer: Arc::new(Disk),
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// Name of the run.
    pub run_id: RunId,
    /// Its directory.
    pub dir: PathBuf,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// How it ended.
    pub end: RunEnd,
    /// Trials that are Valid.
    pub valid: usize,
    /// Trials that are Invalid.
    pub invalid: usize,
    /// Trials that were executed or begun.
    pub trials: usize,
    /// Cells (variant and load) of which no trial is Valid: the run says nothing of them.
    pub cells_without_valid_trial: Vec<String>,
}

/// `matrix-20261122-101500` from `2026-11-22T10:15:00.123Z`.
fn default_run_id(name: &str, utc: &str) -> Result<RunId, RunError> {
    let digits: String = utc.chars().take(19).filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    RunId::new(format!("{name}-{date}-{time}")).map_err(|e| RunError::Plan(e.to_string()))
}

/// Executes a plan and seals the run.
///
/// # Errors
/// [`RunError`] where going on is pointless; the run directory then stays unsealed, with everything written so far.
pub async fn execute(
    plan: &Plan,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<RunOutcome, RunError> {
    let requests = Requests::load(&options.project, plan)?;
    let access = EngineAccess::check(plan, options, stop).await?;
    let started = monotonic_ns();
    let utc = utc_now();
    let run_id = match &options.run_id {
        Some(id) => id.clone(),
        None => default_run_id(&plan.name, &utc)?,
    };
    let place = access.place();
    let gpus = environment::gpus(plan, &place, options).await;
    let environment = environment::capture(plan, &place, options, gpus.as_ref(), utc).await;
    let mut run = RunWriter::create(Arc::clone(&options.layer), &options.runs, &run_id, plan, &environment)?;
    let dir = run.dir().to_path_buf();
    let total = plan.trial_count();
    let (mut begun, mut valid, mut invalid) = (0_usize, 0_usize, 0_usize);
    let mut end = RunEnd::Complete;
    let observed = Observed::default();
    let mut cells: BTreeMap<String, usize> = BTreeMap::new();
    'blocks: for block in &plan.blocks {
        for planned in &block.trials {
            if stop.is_stopped() {
                end = RunEnd::Aborted {
                    why: format!("interrupted after {begun} of {total} trials"),
                };
                break 'blocks;
            }
            begun = begun.saturating_add(1);
            let trial = Trial::new(plan, block, planned, &requests, &access, gpus.as_ref().ok(), &observed)?;
            progress.trial_begins(begun, total, trial.id.as_str());
            let record = execute_trial(&trial, &run, options, stop, progress).await?;
            run.note_trial(&record);
            let cell = cells.entry(format!("{} {}", record.variant, record.load)).or_default();
            *cell = cell.saturating_add(usize::from(record.validity.is_valid()));
            progress.trial_ends(&record);
            match record.validity {
                Validity::Valid => valid = valid.saturating_add(1),
                Validity::Invalid { .. } => invalid = invalid.saturating_add(1),
                Validity::Aborted { .. } => {
                    end = RunEnd::Aborted {
                        why: format!("interrupted in trial {begun} of {total}"),
                    };
                    break 'blocks;
                }
            }
        }
    }
    let anchor = WallAnchor::now();
    let finished = ClockAnchor {
        utc: anchor.utc,
        monotonic_ns: Nanos(anchor.monotonic_ns.saturating_sub(started)),
    };
    let fingerprint = run.seal(end.clone(), finished)?;
    let empty = cells.into_iter().filter(|(_, valid)| *valid == 0);
    let cells_without_valid_trial = empty.map(|(cell, _)| cell).collect();
    Ok(RunOutcome {
        run_id,
        dir,
        fingerprint,
        end,
        valid,
        invalid,
        trials: begun,
        cells_without_valid_trial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_time() {
        let id = default_run_id("c1-c8", "2026-11-22T10:15:07.123456789Z").unwrap();
        assert_eq!(id.as_str(), "c1-c8-20261122-101507");
        assert!(default_run_id("../x", "2026-11-22T10:15:07Z").is_err());
    }
}
