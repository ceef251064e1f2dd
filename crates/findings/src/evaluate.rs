//! A plan and its trials in, everything the run says out.

use crate::{
    CellMetrics, Trial,
    cells::{Take, cell},
    compare::study,
    confounded::confounded,
    headline::{Material, brief, headlines},
    num::len_u32,
    pairing::Cells,
    quality::{QualityTrial, quality},
    reduce::Prompts,
    request::UNKNOWN_PROMPT,
    servers::server,
    validity::{Judged, judge},
};
use servelab_schema::{
    Check, EngineRecord, EnvironmentRecord, METHOD_VERSION, Nanos, Plan, PlannedVariant, RunEnd, RunId, Treatment,
    TrialEnd, V, VariantId,
    findings::{
        CheckCount, Findings, Note, ObservedTreatment, OverBlocks, RunIdentity, TrialFindings, VariantFindings,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// Everything that a run says. Pure: the same plan, environment and trials, in any order, give the same findings.
#[must_use]
pub fn evaluate(
    plan: &Plan,
    environment: &EnvironmentRecord,
    (run_id, end): (&RunId, &RunEnd),
    mut trials: Vec<Trial>,
) -> Findings {
    // The order of execution: takes of a block that were taken again come at its end.
    trials.sort_by(|a, b| execution(a).cmp(&execution(b)));
    let prompts = Prompts::of(plan);
    let judged = judge(plan, environment, &trials);
    let cells: Vec<CellMetrics> = trials
        .iter()
        .zip(&judged)
        .map(|(t, j)| CellMetrics::new(t, j))
        .collect();
    let takes = takes(&trials, &judged, &Cells::new(plan, &cells).standing(&cells));
    let mut study = study(plan, end, &cells);
    drop(cells);
    study.notes.extend(stale_connections(&trials));
    study.notes.extend(went_on(&takes));
    let arms = quality(plan, &quality_trials(&takes));
    let cells: Vec<_> = arms
        .into_iter()
        .filter_map(|arm| {
            let (load, variant) = (arm.load.clone(), arm.variant.clone());
            cell(plan, &prompts, (&load, &variant), &takes, arm)
        })
        .collect();
    let variants: Vec<VariantFindings> = plan.variants.iter().map(|v| variant(plan, v, &takes)).collect();
    let material = Material {
        plan,
        study: &study,
        variants: &variants,
        cells: &cells,
    };
    let headlines = headlines(&material);
    let run = RunIdentity {
        run_id: run_id.clone(),
        name: plan.name.clone(),
        engine_kind: plan.engine_kind,
        method_version: METHOD_VERSION,
        end: end.clone(),
        prompts_served: served(&takes),
        prompts_planned: len_u32(plan.prompts.prompts.len()),
        trials_executed: executed(&takes),
        trials_planned: len_u32(plan.trial_count()),
    };
    let trials_found: Vec<TrialFindings> = takes.iter().map(trial).collect();
    let brief = brief(&material, &trials_found);
    Findings {
        v: V,
        run,
        brief,
        headlines,
        variants,
        cells,
        trials: trials_found,
        study,
    }
}

/// Said where it concerns more than one request in a hundred.
fn stale_connections(trials: &[Trial]) -> Option<Note> {
    let stale = |t: &Trial| t.record.instrument.as_ref().map_or(0, |i| i.stale_connections);
    let requests: u32 = trials.iter().map(stale).sum();
    let of: u32 = trials.iter().map(|t| t.record.counts.planned).sum();
    let many = u64::from(requests) * 100 > u64::from(of);
    many.then_some(Note::StaleConnections { requests, of })
}

/// Said where the run was resumed. A block whose arms that stand were taken in several sessions is named.
fn went_on(takes: &[Take<'_>]) -> Option<Note> {
    let mut of_block: BTreeMap<u32, BTreeSet<NonZeroU32>> = BTreeMap::new();
    for take in takes.iter().filter(|t| t.stands) {
        let record = &take.trial.record;
        of_block.entry(record.block).or_default().insert(record.session);
    }
    let sessions = takes.iter().map(|t| t.trial.record.session).max()?.get();
    let blocks = of_block.into_iter().filter(|(_, sessions)| sessions.len() > 1);
    (sessions > 1).then(|| Note::WentOn {
        sessions,
        blocks: blocks.map(|(block, _)| block).collect(),
    })
}

fn execution(t: &Trial) -> (u32, u32, u32, &str) {
    (t.record.block, t.record.take, t.record.order, t.record.id.as_str())
}

fn takes<'t>(trials: &'t [Trial], judged: &'t [Judged], standing: &[bool]) -> Vec<Take<'t>> {
    let settled = trials.iter().zip(judged).zip(standing);
    settled
        .map(|((trial, judged), stands)| Take {
            trial,
            judged,
            stands: *stands,
        })
        .collect()
}

fn quality_trials<'t>(takes: &[Take<'t>]) -> Vec<QualityTrial<'t>> {
    let counted = takes.iter().filter(|t| t.counts());
    counted
        .map(|t| QualityTrial {
            block: t.trial.record.block,
            variant: &t.trial.record.variant,
            load: &t.trial.record.load,
            requests: &t.trial.requests,
        })
        .collect()
}

/// Distinct measured prompts that were sent in takes that stand.
fn served(takes: &[Take<'_>]) -> u32 {
    let sent = takes.iter().filter(|t| t.stands).flat_map(|t| &t.trial.requests);
    let places: BTreeSet<u32> = sent.map(|r| r.prompt).filter(|p| *p != UNKNOWN_PROMPT).collect();
    len_u32(places.len())
}

/// Trials of which some take was not cut off.
fn executed(takes: &[Take<'_>]) -> u32 {
    let records = takes.iter().map(|t| &t.trial.record);
    let finished = records.filter(|r| r.end == TrialEnd::Finished);
    let trials: BTreeSet<_> = finished.map(|r| (r.block, &r.variant, &r.load)).collect();
    len_u32(trials.len())
}

fn trial(take: &Take<'_>) -> TrialFindings {
    let (t, r) = (take.trial, &take.trial.record);
    TrialFindings {
        id: r.id.clone(),
        block: r.block,
        order: r.order,
        variant: r.variant.clone(),
        load: r.load.clone(),
        take: r.take,
        stands: take.stands,
        validity: take.judged.validity.clone(),
        gates: take.judged.gates.clone(),
        treatment: take.judged.treatment,
        checks: take.judged.checks.clone(),
        counts: r.counts.clone(),
        metrics: t.metrics.clone(),
        groups: t.groups.clone(),
        outside: t.outside,
        gpus: t.gpus.clone(),
        gpu_note: t.gpu_note.clone(),
        failure_words: t.failure_words.clone(),
        timeline: t.timeline.clone(),
    }
}

fn of_arm<'s, 't>(takes: &'s [Take<'t>], id: &VariantId) -> Vec<&'s Take<'t>> {
    takes.iter().filter(|t| &t.trial.record.variant == id).collect()
}

fn engines<'t>(takes: &[&Take<'t>]) -> Vec<&'t EngineRecord> {
    takes.iter().map(|t| &t.trial.engine).collect()
}

/// One variant over all its takes.
fn variant(plan: &Plan, v: &PlannedVariant, takes: &[Take<'_>]) -> VariantFindings {
    let own = of_arm(takes, &v.id);
    let mut by_treatment: BTreeMap<Treatment, Vec<&Take<'_>>> = BTreeMap::new();
    for take in &own {
        by_treatment.entry(take.judged.treatment).or_default().push(take);
    }
    let tested = v.role == servelab_schema::VariantRole::Treatment;
    // What never served shows nothing of the setting, unless it was the setting that the engine refused.
    let shows = |t: &&&Take<'_>| t.trial.served() || !t.judged.treatment.took_effect();
    let shown: Vec<Treatment> = own.iter().filter(shows).map(|t| t.judged.treatment).collect();
    let none_took_effect = shown.iter().all(|t| !t.took_effect());
    let starts = own.iter().filter_map(|t| t.trial.engine.startup_ns);
    let control = v.control.as_ref().filter(|_| plan.engine.has_own_server(&v.id));
    let beside = control.map(|control| engines(&of_arm(takes, control)));
    VariantFindings {
        variant: v.id.clone(),
        void: shown.first().copied().filter(|_| tested && none_took_effect),
        unobserved: tested
            && own
                .iter()
                .any(|t| t.counts() && t.judged.treatment == Treatment::Unobservable),
        observed: by_treatment
            .into_iter()
            .map(|(treatment, takes)| observed(treatment, &takes))
            .collect(),
        server: server(&engines(&own), beside.as_deref()),
        startup_s: OverBlocks::of(starts.map(Nanos::as_secs_f64)),
        changed_along: v
            .control
            .as_ref()
            .filter(|id| plan.variant(id).is_some())
            .map(|control| confounded(v, &engines(&own), &engines(&of_arm(takes, control)))),
    }
}

fn observed(treatment: Treatment, takes: &[&Take<'_>]) -> ObservedTreatment {
    let mut checks: Vec<CheckCount> = Vec::new();
    for check in takes.iter().flat_map(|t| &t.judged.checks) {
        match checks.iter_mut().find(|c| &c.check == check) {
            Some(seen) => seen.trials += 1,
            None => checks.push(CheckCount {
                check: Check::clone(check),
                trials: 1,
            }),
        }
    }
    let engines = || takes.iter().map(|t| &t.trial.engine);
    let words: BTreeSet<String> = engines().filter_map(|e| e.failure.clone()).collect();
    let versions: BTreeSet<String> = engines().filter_map(|e| e.version.clone()).collect();
    ObservedTreatment {
        treatment,
        trials: len_u32(takes.len()),
        checks,
        engine_words: words.into_iter().collect(),
        engine_versions: versions.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
