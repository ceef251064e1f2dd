//! The takes of a run, sealed or not, each with its place in the plan.

use crate::{exit::Failure, output};
use anyhow::{Context, anyhow};
use servelab_evidence::{SealedRun, TakeFiles, is_held, names};
use servelab_schema::{LoadId, Plan, TrialId, VariantId};
use servelab_store::TakeOf;
use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

/// One take.
#[derive(Debug)]
pub(super) struct Take {
    /// Which one it is.
    pub(super) of: TakeOf,
    /// Its block.
    block: u32,
    /// Its variant.
    variant: VariantId,
    /// Its files.
    pub(super) files: TakeFiles,
    /// False where rows may still come, or one may be half a row.
    pub(super) sealed: bool,
}

/// Every take of a run, in the order of execution.
#[derive(Debug)]
pub(super) struct Takes {
    plan: Plan,
    takes: Vec<Take>,
}

type Refused = Option<Failure>;

fn environment(error: impl Into<anyhow::Error>) -> Refused {
    Some(Failure::environment(error))
}

impl Takes {
    /// Those of a sealed run, every file of which is hashed first, or of one that is not sealed, which is said.
    pub(super) fn open(dir: &Path) -> Result<Self, Refused> {
        if dir.join(names::MANIFEST).exists() {
            let run = SealedRun::open(dir).map_err(environment)?;
            let plan = run.plan().map_err(environment)?;
            let takes = run
                .trials()
                .map(|trial| Take::new(&plan, &trial.id, run.take(&trial.id), true))
                .collect::<Result<_, _>>()?;
            return Ok(Self { plan, takes });
        }
        let path = dir.join(names::PLAN);
        let text = fs::read_to_string(&path).with_context(|| format!("{} is no run: no plan.json", dir.display()));
        let plan = serde_json::from_str(&text.map_err(environment)?).with_context(|| path.display().to_string());
        let plan: Plan = plan.map_err(environment)?;
        let state = if is_held(dir) { "goes on" } else { "was not sealed" };
        output::note(&format!("this run {state}: the rows that it has so far"));
        let takes = unsealed(&dir.join(names::TRIALS))?
            .into_iter()
            .map(|(id, files)| Take::new(&plan, &id, files, false))
            .collect::<Result<_, _>>()?;
        Ok(Self { plan, takes })
    }

    /// Those that are asked for; a variant, load or block that the plan has not is refused with those that it has.
    pub(super) fn asked(self, variants: &[VariantId], loads: &[LoadId], blocks: &[u32]) -> Result<Vec<Take>, Refused> {
        let plan = &self.plan;
        known("variant", variants, plan.variants.iter().map(|v| &v.id))?;
        known("load", loads, plan.loads.iter().map(|l| &l.id))?;
        let own: BTreeSet<u32> = self.takes.iter().map(|take| take.block).collect();
        known("block", blocks, plan.blocks.iter().map(|b| &b.block).chain(&own))?;
        let is_asked = |take: &Take| {
            (variants.is_empty() || variants.contains(&take.variant))
                && (loads.is_empty() || loads.contains(&take.of.load))
                && (blocks.is_empty() || blocks.contains(&take.block))
        };
        Ok(self.takes.into_iter().filter(is_asked).collect())
    }
}

fn known<'p, T: Display + Ord + 'p>(
    what: &str,
    asked: &[T],
    planned: impl Iterator<Item = &'p T>,
) -> Result<(), Refused> {
    let planned: BTreeSet<&T> = planned.collect();
    let Some(unknown) = asked.iter().find(|name| !planned.contains(name)) else {
        return Ok(());
    };
    let names: Vec<String> = planned.iter().map(ToString::to_string).collect();
    Err(Some(Failure::usage(anyhow!(
        "this run has no {what} `{unknown}`; it has {}",
        names.join(", ")
    ))))
}

impl Take {
    /// The take in its place: that of its `trial.json`, or, where it has none yet, of the plan.
    fn new(plan: &Plan, id: &TrialId, files: TakeFiles, sealed: bool) -> Result<Self, Refused> {
        if files.dir().join(names::TRIAL).is_file() {
            let record = files.record().map_err(environment)?;
            let of = TakeOf {
                trial: record.id,
                take: record.take,
                load: record.load,
            };
            return Ok(Self {
                of,
                block: record.block,
                variant: record.variant,
                files,
                sealed,
            });
        }
        // `…-t2` is the second take.
        let take = id
            .as_str()
            .rsplit_once("-t")
            .and_then(|(_, number)| number.parse().ok());
        let planned = plan
            .blocks
            .iter()
            .flat_map(|b| b.trials.iter().map(move |trial| (b.block, trial)));
        let place = take.and_then(|take| {
            let mut planned = planned;
            let found = planned.find(|(block, trial)| trial.take_id(*block, take).is_ok_and(|name| &name == id));
            found.map(|(block, trial)| (take, block, trial))
        });
        let (take, block, trial) = place
            .ok_or_else(|| environment(anyhow!("{}: a take that the plan does not have", files.dir().display())))?;
        Ok(Self {
            of: TakeOf {
                trial: id.clone(),
                take,
                load: trial.load.clone(),
            },
            block,
            variant: trial.variant.clone(),
            files,
            sealed,
        })
    }
}

/// The folders of takes in the order of their names, which is that of execution. A link among them, or among their files, is refused:
/// it could lead out of the run.
fn unsealed(trials: &Path) -> Result<Vec<(TrialId, TakeFiles)>, Refused> {
    let mut found = Vec::new();
    for (name, path) in entries(trials)? {
        for (_, file) in entries(&path)? {
            refuse_link(&file)?;
        }
        let id = TrialId::new(name).map_err(environment)?;
        found.push((id, TakeFiles::new(path)));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Refused> {
    refuse_link(folder)?;
    let listed = fs::read_dir(folder).with_context(|| folder.display().to_string());
    let entries = listed.map_err(environment)?.map(|entry| {
        let entry = entry
            .with_context(|| folder.display().to_string())
            .map_err(environment)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    entries.collect()
}

fn refuse_link(path: &Path) -> Result<(), Refused> {
    if path.is_symlink() {
        let why = "a link; a run holds none, and it could lead out of it";
        return Err(environment(anyhow!("{}: {why}", path.display())));
    }
    Ok(())
}
