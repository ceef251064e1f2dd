//! A run as it is stored, with what only the whole run can tell of its treatments.
//!
//! While a run goes on, a trial is judged by what its own engine shows and by what its control has shown so far. Here the
//! starts of both arms are all there: a setting whose every field is as in the control changed nothing, whatever its own
//! engine shows.

use servelab_findings::unchanged;
use servelab_schema::{Check, CheckResult, EngineRecord, RunId, Treatment, VariantId, VariantRole};
use servelab_store::{RunData, Store, StoreError};

/// Reads a run.
///
/// # Errors
/// [`StoreError`] where it is not in the database.
pub(crate) fn load(store: &Store, id: &RunId) -> Result<RunData, StoreError> {
    let mut run = store.load_run(id)?;
    settle_treatments(&mut run);
    Ok(run)
}

fn settle_treatments(run: &mut RunData) {
    let treated = run.plan.variants.iter().filter(|v| v.role == VariantRole::Treatment);
    // Counters that moved prove more than a field that looks the same.
    for variant in treated.filter(|v| v.expect.counters_move.is_empty()) {
        let Some(control) = &variant.control else { continue };
        let starts = |id: &VariantId| -> Vec<&EngineRecord> {
            let of_arm = run.trials.iter().filter(|t| &t.record.variant == id);
            of_arm.map(|t| &t.engine).collect()
        };
        let same = unchanged(variant, &starts(&variant.id), &starts(control));
        if same.is_empty() {
            continue;
        }
        let checks = same.into_iter().map(|(field, value)| Check {
            expected: format!("effective {field} differs from that of {control}"),
            found: Some(format!("{value} in every start of both")),
            result: CheckResult::Differs,
        });
        let checks: Vec<Check> = checks.collect();
        let own = run.trials.iter_mut().filter(|t| t.record.variant == variant.id);
        for trial in own.filter(|t| matches!(t.record.treatment, Treatment::Confirmed | Treatment::Unobservable)) {
            trial.record.treatment = Treatment::NoOp;
            trial.engine.treatment = Treatment::NoOp;
            trial.engine.checks.extend(checks.iter().cloned());
        }
    }
}
