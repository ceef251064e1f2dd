//! A run that ended, or was cut off, goes on: whether it may, and what is left of it.
//!
//! Parts: [`Resumption::open`] looks, refuses what changed, and changes nothing; [`resume`](crate::resume) then executes what is left.
//! What may not change is `schema::Plan::continues` for the plan, and [`machine_changes`] for the machine.
//!
//! Traps: the certificate of the instrument is that of the first session. The machine must be the same one, and every trial's own gates
//! say whether the client kept up.

use crate::{
    RunError, RunOptions, Selection,
    evaluation::reduce,
    take_all::Before,
    takes::{Ended, Taken, outstanding},
};
use servelab_evidence::Resumable;
use servelab_findings::{Prompts, judge};
use servelab_schema::{EnvironmentRecord, METHOD_VERSION, Plan, RunId, Validity, VariantId, Wish};
use std::{collections::BTreeMap, sync::Arc};

/// A run that goes on when it is told to.
#[derive(Debug)]
pub struct Resumption {
    pub(crate) run: Resumable,
    pub(crate) run_id: RunId,
    /// What is executed from here on.
    pub(crate) plan: Plan,
    /// True where that is not the plan that the run has.
    pub(crate) plan_is_new: bool,
    pub(crate) wish: Wish,
    pub(crate) selection: Selection,
    pub(crate) before: Before,
    left: usize,
}

impl Resumption {
    /// Looks at a run in the folder of runs. `given` is the plan that somebody wants to go on with; none for the run's own.
    ///
    /// # Errors
    /// [`RunError::Changed`] naming everything that may not differ and does, [`RunError::Selection`] where a word names no trial, and
    /// whatever of the run does not read.
    pub fn open(options: &RunOptions, run_id: &RunId, given: Option<Plan>, mut wish: Wish) -> Result<Self, RunError> {
        let run = Resumable::open(Arc::clone(&options.layer), &options.runs, run_id)?;
        let stored = run.plan();
        let mut changed = Vec::new();
        if stored.method_version != METHOD_VERSION {
            let (was, now) = (stored.method_version, METHOD_VERSION);
            changed.push(format!("METHOD_VERSION: {was} when it began, {now} of this servelab"));
        }
        if let Some(given) = &given {
            changed.extend(given.continues(stored));
        }
        if !changed.is_empty() {
            return Err(RunError::Changed {
                run: run_id.clone(),
                what: changed,
            });
        }
        let plan_is_new = given.as_ref().is_some_and(|given| given != stored);
        let plan = given.unwrap_or_else(|| stored.clone());
        let more = plan.blocks.len().saturating_sub(stored.blocks.len());
        wish.more_blocks = u32::try_from(more).unwrap_or(u32::MAX);
        let selection = Selection::of(&wish, &plan)?;
        let before = before(&plan, &run)?;
        Ok(Self {
            left: outstanding(&plan, &before.taken, &selection).len(),
            run,
            run_id: run_id.clone(),
            plan,
            plan_is_new,
            wish,
            selection,
            before,
        })
    }

    /// What is executed.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes that are left, if none of them is lost to the instrument.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// True where nothing is to be done: nothing is left, and the run is sealed.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.left == 0 && self.run.is_sealed()
    }

    /// Takes that are there already.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.before.taken.len()
    }
}

/// The takes of a run as they stand, and how each ended.
pub(crate) fn before(plan: &Plan, run: &Resumable) -> Result<Before, RunError> {
    let (prompts, environment) = (Prompts::of(plan), run.environment());
    let ended = run.takes().iter().filter_map(|take| take.files.as_ref());
    let trials = ended.map(|files| reduce(plan, &prompts, environment, files));
    let trials = trials.collect::<Result<Vec<_>, _>>()?;
    let judged = judge(plan, environment, &trials);
    let ends: BTreeMap<&str, Ended> = trials
        .iter()
        .zip(&judged)
        .map(|(trial, judged)| (trial.record.id.as_str(), Ended::of(&judged.validity)))
        .collect();
    let taken = run.takes().iter().map(|take| Taken {
        block: take.block,
        order: take.order,
        take: take.take,
        ended: ends.get(take.id.as_str()).copied().unwrap_or(Ended::CutOff),
        earlier: true,
    });
    Ok(Before {
        taken: taken.collect(),
        trials,
        elapsed: run.before(),
    })
}

impl Ended {
    pub(crate) fn of(validity: &Validity) -> Self {
        match validity {
            Validity::Aborted { .. } => Self::CutOff,
            _ if validity.is_lost_to_the_instrument() => Self::LostToTheInstrument,
            Validity::Valid | Validity::Invalid { .. } => Self::Counts,
        }
    }
}

impl Before {
    /// The engine version that each variant had.
    pub(crate) fn versions(&self) -> BTreeMap<VariantId, String> {
        let had = self.trials.iter().filter(|t| t.record.instrument.is_some());
        let had = had.filter_map(|t| Some((t.record.variant.clone(), t.engine.version.clone()?)));
        had.collect()
    }
}

/// What of the machine is another one than it was, in words; each would move numbers.
pub(crate) fn machine_changes(was: &EnvironmentRecord, now: &EnvironmentRecord) -> Vec<String> {
    let mut changed = Vec::new();
    let mut check = |what: &str, was: String, now: String| {
        if was != now {
            changed.push(format!("{what}: {was} when it began, {now} now"));
        }
    };
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    check("CPU", or_none(&was.host.cpu), or_none(&now.host.cpu));
    check("CPUs", was.host.cpus.to_string(), now.host.cpus.to_string());
    let gpus = |e: &EnvironmentRecord| {
        let one = e.gpus.iter().map(|g| {
            let name = or_none(&g.name);
            format!("{name} {} driver {}", or_none(&g.uuid), or_none(&g.driver))
        });
        let all: Vec<String> = one.collect();
        if all.is_empty() {
            "none".to_owned()
        } else {
            all.join("; ")
        }
    };
    check("GPUs", gpus(was), gpus(now));
    let weights = |e: &EnvironmentRecord| {
        let own = e.model.iter().map(|m| (&m.id, &m.weights));
        let all = own.chain(e.variant_models.iter().map(|m| (&m.id, &m.weights)));
        let files = all.flat_map(|(id, files)| {
            files
                .iter()
                .map(move |f| format!("{id}/{} {}", f.name, f.sha256.short()))
        });
        let files: Vec<String> = files.collect();
        if files.is_empty() {
            "not hashed".to_owned()
        } else {
            files.join(", ")
        }
    };
    check("weights", weights(was), weights(now));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    #[test]
    fn another_machine_is_named_and_the_same_one_is_not() {
        let was = examples::environment();
        assert_eq!(machine_changes(&was, &was), Vec::<String>::new());
        let mut now = was.clone();
        now.servelab_version = "9.9.9".into();
        now.env_names.push("NEW".into());
        assert_eq!(
            machine_changes(&was, &now),
            Vec::<String>::new(),
            "what moves no number may change"
        );
        now.host.cpu = Some("another".into());
        now.host.cpus += 1;
        now.gpus.clear();
        if let Some(model) = &mut now.model {
            model.weights.clear();
        }
        let said = machine_changes(&was, &now);
        let of: Vec<&str> = said.iter().filter_map(|s| s.split(':').next()).collect();
        assert_eq!(of, ["CPU", "CPUs", "GPUs", "weights"], "{said:?}");
    }
}
