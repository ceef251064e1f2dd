//! Did a setting take effect? Settled over the whole run, from what every start of both arms showed.
//!
//! Parts: `of_start` concludes from one start's own checks; [`settle`] then holds every start of the variant beside every
//! start of its control. Accepting a flag proves nothing, nor does repeating it. A value is what it was planned to be, or the
//! control's (NO-OP), or another one (SUBSTITUTED); two values are one by [`same_value`]. A variant that is a server of its own
//! has no flag that could be ignored: `servers` says whether it is another server.

use crate::fields::{Beside, Starts, named_by};
use crate::servers;
use servelab_schema::{
    ArgValue, Check, CheckResult, EngineRecord, Plan, PlannedVariant, Treatment, VariantId, VariantRole, same_value,
};
use std::collections::BTreeMap;

/// What became of the setting in one start, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) treatment: Treatment,
    pub(crate) checks: Vec<Check>,
}

/// The starts of a run, one after the other.
pub(crate) fn settle(plan: &Plan, starts: &[&EngineRecord]) -> Vec<Settled> {
    let mut by_arm: BTreeMap<&VariantId, Vec<&EngineRecord>> = BTreeMap::new();
    for start in starts {
        by_arm.entry(&start.variant).or_default().push(start);
    }
    let none = Vec::new();
    let of_arm = |id: &VariantId| by_arm.get(id).unwrap_or(&none);
    let same: BTreeMap<&VariantId, Vec<Check>> = plan
        .variants
        .iter()
        .map(|v| (&v.id, same_as_control(v, of_arm(&v.id), |id| of_arm(id))))
        .collect();
    let settled = |start: &&EngineRecord| {
        let Some(variant) = plan.variant(&start.variant) else {
            return Settled {
                treatment: Treatment::Unobservable,
                checks: start.checks.clone(),
            };
        };
        let control = variant.control.as_ref().and_then(|id| plan.variant(id));
        if let Some(control) = control.filter(|_| plan.engine.has_own_server(&variant.id)) {
            return of_server((variant, of_arm(&variant.id)), (control, of_arm(&control.id)), start);
        }
        let treatment = of_start(variant, control, start);
        let same = same.get(&variant.id).filter(|same| !same.is_empty());
        match same {
            // What is as expected may be so without the flag: nothing was changed then.
            Some(same) if treatment.took_effect() => Settled {
                treatment: Treatment::NoOp,
                checks: start.checks.iter().chain(same).cloned().collect(),
            },
            _ => Settled {
                treatment,
                checks: start.checks.clone(),
            },
        }
    };
    starts.iter().map(settled).collect()
}

/// A server that stands for a variant took effect where it is another one than the control's, and shows what it must.
fn of_server(
    (variant, own): (&PlannedVariant, &[&EngineRecord]),
    (control, theirs): (&PlannedVariant, &[&EngineRecord]),
    start: &EngineRecord,
) -> Settled {
    let which = servers::which(own, theirs);
    let mut checks = start.checks.clone();
    let shows = (!checks.is_empty()).then(|| of_start(variant, Some(control), start));
    checks.push(servers::check(which, &control.id));
    Settled {
        treatment: shows
            .filter(|shows| !shows.took_effect())
            .unwrap_or_else(|| servers::treatment(which)),
        checks,
    }
}

/// What one start's own checks say.
fn of_start(variant: &PlannedVariant, control: Option<&PlannedVariant>, start: &EngineRecord) -> Treatment {
    if start.refusal.is_some() {
        return Treatment::Rejected;
    }
    let checks = &start.checks;
    if checks.is_empty() {
        return Treatment::Unobservable;
    }
    let mut differing = checks.iter().filter(|c| c.result == CheckResult::Differs).peekable();
    if differing.peek().is_some() {
        let control = ControlValues::of(variant, control);
        let as_control = differing.all(|c| c.found.as_ref().is_some_and(|f| control.has(f)));
        return if as_control {
            Treatment::NoOp
        } else {
            Treatment::Substituted
        };
    }
    let all = |result: CheckResult| checks.iter().all(|c| c.result == result);
    if all(CheckResult::Found) {
        // That a flag arrived proves no effect.
        if checks.iter().all(|c| c.told) {
            Treatment::Unobservable
        } else {
            Treatment::Confirmed
        }
    } else if checks.iter().any(|c| c.result == CheckResult::Unknown) {
        Treatment::Unobservable
    } else {
        Treatment::NoOp
    }
}

/// What the control has of the flags in which the variant differs from it.
struct ControlValues {
    given: Vec<String>,
    /// It leaves a switch, or what has no value by default, as the engine ships it.
    unset: bool,
}

impl ControlValues {
    fn of(variant: &PlannedVariant, control: Option<&PlannedVariant>) -> Self {
        let flags = control.map(|c| &c.flags);
        let of = |flag: &String| flags?.get(flag);
        let given = variant.differs_in.iter().filter_map(of);
        let given = given.map(|field| match &field.value {
            ArgValue::Text(text) => text.clone(),
            value => value.to_string(),
        });
        Self {
            given: given.collect(),
            unset: control.is_some() && variant.differs_in.iter().any(|flag| of(flag).is_none()),
        }
    }

    /// True where `found` is just what the control has: then nothing was changed.
    fn has(&self, found: &str) -> bool {
        let off = ["false", "none"].iter().any(|word| same_value(found, word));
        self.given.iter().any(|value| same_value(value, found)) || (self.unset && off)
    }
}

/// The checks that show that every field by which the setting would be seen has the control's value in every start of both
/// arms; empty where one has another, is not shown by both, or where there is no such field.
fn same_as_control<'r>(
    variant: &PlannedVariant,
    own: &[&'r EngineRecord],
    of_arm: impl Fn(&VariantId) -> &'r [&'r EngineRecord],
) -> Vec<Check> {
    // A baseline's copy is meant to be as its control is, and a counter that moved shows an effect that no field need show.
    let tested = variant.role == VariantRole::Treatment && variant.expect.counters_move.is_empty();
    let Some(control) = variant.control.as_ref().filter(|_| tested) else {
        return Vec::new();
    };
    let (own, theirs) = (Starts::of(own), Starts::of(of_arm(control)));
    let check = |(field, value): (&str, &str)| Check {
        expected: format!("effective {field} differs from that of {control}"),
        found: Some(format!("{value} in every start of both")),
        result: CheckResult::Differs,
        field: Some(field.to_owned()),
        told: false,
    };
    // What the plan says it would be seen by comes first; where that is not shown, the fields that the flags name.
    let same = match all_same(&own, &theirs, &own.checked_fields()) {
        Alike::NotShown => match all_same(&own, &theirs, &named_by(variant, &own, &theirs)) {
            Alike::Same(fields) => fields,
            Alike::Differ | Alike::NotShown => Vec::new(),
        },
        Alike::Same(fields) => fields,
        Alike::Differ => Vec::new(),
    };
    same.into_iter().map(check).collect()
}

/// Several fields in every start of two arms.
enum Alike<'r> {
    /// All have the same value everywhere.
    Same(Vec<(&'r str, &'r str)>),
    /// One of them has not.
    Differ,
    /// There is none, or one that an arm never shows.
    NotShown,
}

fn all_same<'r>(own: &Starts<'r>, theirs: &Starts<'r>, fields: &[&'r str]) -> Alike<'r> {
    let mut same = Vec::new();
    let mut hidden = fields.is_empty();
    for field in fields {
        match own.beside(theirs, field) {
            Beside::Same(value) => same.push((*field, value)),
            Beside::Differs => return Alike::Differ,
            Beside::NotShown => hidden = true,
        }
    }
    if hidden { Alike::NotShown } else { Alike::Same(same) }
}

#[cfg(test)]
mod tests;
