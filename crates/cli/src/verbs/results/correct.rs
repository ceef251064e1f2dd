//! `servelab results correct`: what of a run no longer counts, and why. Evidence is superseded, never changed.

use crate::{
    exit::Failure,
    output::{self, Format},
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
use servelab_evidence::{Disk, SealedRun, correct, corrections};
use servelab_load::clock::utc_now;
use servelab_schema::{Correction, LoadId, Plan, RunId, RunRef, Superseded, TrialId, V, VariantId};
use std::{env, num::NonZeroU32, path::Path};

/// Arguments of `servelab results correct`.
///
/// Writes runs/corrections/N.json and reads it into the database. Without --trial or --variant the whole run is superseded. A
/// correction is taken back by deleting its file; `servelab ingest` then reads the others in.
#[derive(Debug, Args)]
pub(crate) struct Correct {
    /// Name of the run, which must be sealed.
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Why, in words for people.
    #[arg(long, value_name = "WORDS")]
    reason: String,
    /// The run that counts in its place.
    #[arg(long, value_name = "RUN")]
    by: Option<RunId>,
    /// Only this take, and what rests on it.
    #[arg(long, value_name = "TRIAL", conflicts_with = "variant")]
    trial: Option<TrialId>,
    /// Only this variant, under --load.
    #[arg(long, value_name = "VARIANT", requires = "load")]
    variant: Option<VariantId>,
    /// The load of --variant.
    #[arg(long, value_name = "LOAD", requires = "variant")]
    load: Option<LoadId>,
    /// Who says so; by default the user's name, from USER.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A sealed run under runs/, by its name alone. Every file of it is hashed.
fn sealed(runs: &Path, run: &RunId) -> Result<SealedRun, Failure> {
    let dir = runs.join(run.as_str());
    if !dir.is_dir() || dir.is_symlink() {
        return Err(Failure::environment(anyhow!(
            "there is no run `{run}` under {}; `servelab results list` shows what there is",
            runs.display()
        )));
    }
    SealedRun::open(&dir).map_err(Failure::environment)
}

fn reference(run: &SealedRun) -> RunRef {
    RunRef {
        run_id: run.manifest().run_id.clone(),
        fingerprint: run.fingerprint().clone(),
    }
}

impl Correct {
    pub(super) fn execute(&self, project: &Project) -> Result<(), Failure> {
        let runs = project.runs();
        let reason = self.reason.trim();
        if reason.is_empty() {
            return Err(Failure::usage(anyhow!(
                "--reason is empty; say why, whoever reads it wants to know"
            )));
        }
        let who = self.who.clone().or_else(|| env::var("USER").ok());
        let who = who.filter(|who| !who.trim().is_empty()).ok_or_else(|| {
            Failure::usage(anyhow!(
                "nobody's name is known here (USER is not set); say who you are with --who NAME"
            ))
        })?;
        if self.by.as_ref() == Some(&self.run) {
            return Err(Failure::usage(anyhow!("--by {} names the run itself", self.run)));
        }
        let run = sealed(&runs, &self.run)?;
        let by = self.by.as_ref().map(|by| sealed(&runs, by)).transpose()?;
        let correction = Correction {
            v: V,
            // The next one that is free; settled where the file is written.
            number: NonZeroU32::MIN,
            run: reference(&run),
            superseded: self.superseded(&run)?,
            by: by.as_ref().map(reference),
            reason: reason.to_owned(),
            who,
            utc: utc_now(),
        };
        let (correction, path) = correct(&Disk, &runs, &correction).map_err(Failure::environment)?;
        let all = corrections(&runs).map_err(Failure::environment)?;
        project.store()?.set_corrections(&all).map_err(Failure::environment)?;
        if self.format == Format::Json {
            return output::json(&correction).map_err(Failure::environment);
        }
        output::answer(&format!("{}\n", path.display()));
        output::note(&format!(
            "{} of `{}` is superseded from now on",
            correction.superseded, self.run
        ));
        Ok(())
    }

    /// What is superseded, which the run must have.
    fn superseded(&self, run: &SealedRun) -> Result<Superseded, Failure> {
        if let Some(id) = &self.trial {
            if !run.trials().any(|trial| &trial.id == id) {
                return Err(Failure::usage(anyhow!(
                    "run `{}` has no trial `{id}`; its trials are the folders under {}",
                    self.run,
                    run.dir().join("trials").display()
                )));
            }
            let record = run.take(id).record().map_err(Failure::environment)?;
            return Ok(Superseded::Trial {
                id: id.clone(),
                variant: record.variant,
                load: record.load,
            });
        }
        let Some((variant, load)) = self.variant.clone().zip(self.load.clone()) else {
            return Ok(Superseded::Run);
        };
        let plan: Plan = run.plan().map_err(Failure::environment)?;
        if plan.variant(&variant).is_none() || plan.load(&load).is_none() {
            let variants: Vec<&str> = plan.variants.iter().map(|v| v.id.as_str()).collect();
            let loads: Vec<&str> = plan.loads.iter().map(|l| l.id.as_str()).collect();
            return Err(Failure::usage(anyhow!(
                "run `{}` has no {variant} under {load}; it has the variants {} and the loads {}",
                self.run,
                variants.join(", "),
                loads.join(", ")
            )));
        }
        Ok(Superseded::Cell { variant, load })
    }
}
