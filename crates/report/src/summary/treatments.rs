//! What was set, what the engine showed of it, and what changed along.

use crate::results::{OverBlocks, Results};
use serde::Serialize;
use servelab_schema::{CheckResult, PlannedVariant, Treatment, VariantRole};
use std::collections::{BTreeMap, BTreeSet};

/// One variant.
#[derive(Debug, Serialize)]
pub(crate) struct TreatmentDoc {
    pub(crate) variant: String,
    pub(crate) role: VariantRole,
    pub(crate) control: Option<String>,
    pub(crate) factor: Option<String>,
    /// The flags that differ from the control's, with the variant's values; null for one that only the control has.
    pub(crate) planned: BTreeMap<String, Option<String>>,
    /// How often each result was observed.
    pub(crate) observed: Vec<ObservedDoc>,
    /// Manipulation checks, alike ones counted.
    pub(crate) checks: Vec<CheckDoc>,
    /// What the engine said where it refused or died.
    pub(crate) engine_words: Vec<String>,
    pub(crate) engine_versions: Vec<String>,
    /// From launch to the first good answer.
    pub(crate) startup: Option<StartupDoc>,
    /// Absent for the baseline and where one of the arms shows no configuration.
    pub(crate) changed_along: Option<ChangedAlongDoc>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ObservedDoc {
    pub(crate) treatment: Treatment,
    pub(crate) trials: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct CheckDoc {
    pub(crate) expected: String,
    pub(crate) result: CheckResult,
    pub(crate) found: Option<String>,
    pub(crate) trials: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct StartupDoc {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) unit: &'static str,
    pub(crate) n: u32,
    pub(crate) n_of: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChangedAlongDoc {
    pub(crate) variant_starts: u32,
    pub(crate) control_starts: u32,
    pub(crate) fields: Vec<FieldDoc>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FieldDoc {
    pub(crate) field: String,
    pub(crate) control: Option<String>,
    pub(crate) variant: Option<String>,
    /// True for a setting that changed along; false for the room that the engine then found.
    pub(crate) confounded: bool,
}

/// Start-up times of a variant's trials, s of engine time.
pub(crate) fn startup_s(results: &Results<'_>, variant: &PlannedVariant) -> Option<OverBlocks> {
    let trials = results.run.trials.iter().filter(|t| t.record.variant == variant.id);
    OverBlocks::of(trials.filter_map(|t| t.engine.startup_ns.map(servelab_schema::Nanos::as_secs_f64)))
}

/// Every variant, in the plan's order.
pub(super) fn treatments(results: &Results<'_>) -> Vec<TreatmentDoc> {
    results
        .run
        .plan
        .variants
        .iter()
        .map(|v| treatment(results, v))
        .collect()
}

fn treatment(results: &Results<'_>, v: &PlannedVariant) -> TreatmentDoc {
    let trials = || results.run.trials.iter().filter(|t| t.record.variant == v.id);
    let mut observed: Vec<ObservedDoc> = Vec::new();
    for t in trials() {
        match observed.iter_mut().find(|o| o.treatment == t.record.treatment) {
            Some(seen) => seen.trials = seen.trials.saturating_add(1),
            None => observed.push(ObservedDoc {
                treatment: t.record.treatment,
                trials: 1,
            }),
        }
    }
    let mut checks: Vec<CheckDoc> = Vec::new();
    for c in trials().flat_map(|t| &t.engine.checks) {
        let alike = |d: &&mut CheckDoc| d.expected == c.expected && d.result == c.result && d.found == c.found;
        match checks.iter_mut().find(alike) {
            Some(seen) => seen.trials = seen.trials.saturating_add(1),
            None => checks.push(CheckDoc {
                expected: c.expected.clone(),
                result: c.result,
                found: c.found.clone(),
                trials: 1,
            }),
        }
    }
    let words: BTreeSet<String> = trials().filter_map(|t| t.engine.failure.clone()).collect();
    let versions: BTreeSet<String> = trials().filter_map(|t| t.engine.version.clone()).collect();
    let planned = |name: &String| {
        let value = match v.flags.get(name) {
            Some(flag) => Some(flag.value.to_string()),
            None if name == "model" => v.model.clone(),
            None => None,
        };
        (name.clone(), value)
    };
    TreatmentDoc {
        variant: v.id.to_string(),
        role: v.role,
        control: v.control.as_ref().map(ToString::to_string),
        factor: v.factor.clone(),
        planned: v.differs_in.iter().map(planned).collect(),
        observed,
        checks,
        engine_words: words.into_iter().collect(),
        engine_versions: versions.into_iter().collect(),
        startup: startup_s(results, v).map(|s| StartupDoc {
            mean: s.mean,
            low: s.low,
            high: s.high,
            unit: "s",
            n: s.n,
            n_of: "starts",
        }),
        changed_along: results
            .confounded(v)
            .filter(servelab_findings::Confounded::is_known)
            .map(|c| ChangedAlongDoc {
                variant_starts: c.variant_starts,
                control_starts: c.control_starts,
                fields: c
                    .fields
                    .into_iter()
                    .map(|f| FieldDoc {
                        confounded: !f.is_outcome,
                        field: f.field,
                        control: f.control,
                        variant: f.variant,
                    })
                    .collect(),
            }),
    }
}
