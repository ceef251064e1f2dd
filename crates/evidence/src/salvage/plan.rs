//! What has to be done before a directory that was left open can be sealed. Pure: names and lengths in, steps out.

use crate::{names, packed::ENDING};
use servelab_schema::{Plan, PlannedBlock, PlannedTrial, TrialId};
use std::collections::{BTreeMap, BTreeSet};

/// Length of a file, and how much of it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its bytes.
    pub(super) bytes: u64,
    /// Its bytes up to the end of its last whole row; of a file that has no rows, all.
    pub(super) whole: u64,
}

/// One change to a directory. None of them loses a byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A document that was never finished gets a name that says so.
    SetAside {
        /// Path relative to the run.
        from: String,
        /// Path relative to the run; free.
        to: String,
    },
    /// Half a row at a file's end goes to a file of its own.
    CutTail {
        /// Path relative to the run.
        file: String,
        /// What stays of it, bytes.
        whole: u64,
        /// Path relative to the run; free.
        to: String,
    },
}

impl Step {
    /// Where the torn bytes are afterwards.
    pub(super) fn to(&self) -> &str {
        match self {
            Self::SetAside { to, .. } | Self::CutTail { to, .. } => to,
        }
    }
}

/// The steps for these files, in order.
pub(super) fn steps(files: &BTreeMap<String, Extent>) -> Vec<Step> {
    let mut taken: BTreeSet<String> = files.keys().cloned().collect();
    let mut free = |name: &str| {
        let numbered = (2_u32..).map(|n| format!("{name}.{n}{}", names::TORN));
        let mut candidates = std::iter::once(format!("{name}{}", names::TORN)).chain(numbered);
        let found = candidates.find(|c| !taken.contains(c)).unwrap_or_default();
        taken.insert(found.clone());
        found
    };
    // A fingerprint without its manifest is one of nothing. What was half compressed is still there whole, and is compressed again.
    let half_packed = format!("{ENDING}{}", names::UNFINISHED);
    let is_unfinished =
        |name: &str| (name.ends_with(names::UNFINISHED) && !name.ends_with(&half_packed)) || name == names::FINGERPRINT;
    let mut steps = Vec::new();
    // First what was never finished: its names are needed again.
    for name in files.keys().filter(|name| is_unfinished(name)) {
        let (from, to) = (name.clone(), free(name));
        steps.push(Step::SetAside { from, to });
    }
    for (name, extent) in files.iter().filter(|(name, _)| !is_unfinished(name)) {
        if extent.whole < extent.bytes {
            steps.push(Step::CutTail {
                file: name.clone(),
                whole: extent.whole,
                to: free(name),
            });
        }
    }
    steps
}

/// A take whose folder is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'p> {
    pub(crate) id: TrialId,
    pub(crate) block: &'p PlannedBlock,
    pub(crate) trial: &'p PlannedTrial,
    /// From 1.
    pub(crate) take: u32,
}

/// The takes of these folders, in the order they were executed: what was taken again came at the end of its block.
///
/// # Errors
/// The first folder that is no take of the plan.
pub(super) fn takes<'p>(plan: &'p Plan, folders: &[String]) -> Result<Vec<Found<'p>>, String> {
    let mut known = BTreeMap::new();
    for block in &plan.blocks {
        for trial in &block.trials {
            // A name that is too long was never made into a folder.
            if let Ok(id) = trial.take_id(block.block, 1) {
                let stem = id.as_str().strip_suffix("-t1").unwrap_or_default().to_owned();
                known.insert(stem, (block, trial));
            }
        }
    }
    let found = |folder: &String| {
        let (stem, take) = folder.rsplit_once("-t")?;
        let (block, trial) = known.get(stem).copied()?;
        let take = take.parse().ok().filter(|take| *take > 0)?;
        // Of the ways to write a number only ours is a name of ours.
        let id = trial.take_id(block.block, take).ok()?;
        (id.as_str() == folder).then_some(Found { id, block, trial, take })
    };
    let mut all = Vec::new();
    for folder in folders {
        all.push(found(folder).ok_or_else(|| folder.clone())?);
    }
    all.sort_by_key(|t| (t.block.block, t.take, t.trial.order));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_of(files: &[(&str, u64, u64)]) -> Vec<(String, Option<u64>)> {
        let files = files
            .iter()
            .map(|(name, bytes, whole)| {
                (
                    (*name).to_owned(),
                    Extent {
                        bytes: *bytes,
                        whole: *whole,
                    },
                )
            })
            .collect();
        let say = |step: &Step| match step {
            Step::SetAside { from, to } => (format!("{from} > {to}"), None),
            Step::CutTail { file, whole, to } => (format!("{file} > {to}"), Some(*whole)),
        };
        steps(&files).iter().map(say).collect()
    }

    #[test]
    fn only_what_is_torn_is_touched() {
        assert_eq!(steps_of(&[("plan.json", 9, 9), ("trials/a/traces.jsonl", 9, 9)]), []);
        assert_eq!(
            steps_of(&[("trials/a/traces.jsonl", 9, 5)]),
            [("trials/a/traces.jsonl > trials/a/traces.jsonl.torn".to_owned(), Some(5))]
        );
        assert_eq!(
            steps_of(&[("events.jsonl", 3, 0), ("events.jsonl.torn", 2, 2)]),
            [("events.jsonl > events.jsonl.2.torn".to_owned(), Some(0))],
            "what an earlier try set aside stays"
        );
        assert_eq!(
            steps_of(&[("a.jsonl", 9, 5), ("a.jsonl.torn.tmp", 2, 2)]),
            [
                ("a.jsonl.torn.tmp > a.jsonl.torn.tmp.torn".to_owned(), None),
                ("a.jsonl > a.jsonl.torn".to_owned(), Some(5))
            ],
            "what was cut off while it was closed does not stand in the way"
        );
        assert_eq!(
            steps_of(&[("run_manifest.json.tmp", 3, 3), ("run_manifest.sha256", 2, 2)]),
            [
                ("run_manifest.json.tmp > run_manifest.json.tmp.torn".to_owned(), None),
                ("run_manifest.sha256 > run_manifest.sha256.torn".to_owned(), None)
            ]
        );
    }

    #[test]
    fn takes_come_in_the_order_of_their_execution() {
        let plan = servelab_schema::examples::plan();
        let check = |folders: &[&str], expected: Result<&[&str], &str>| {
            let folders: Vec<String> = folders.iter().map(|f| (*f).to_owned()).collect();
            let found = takes(&plan, &folders);
            let names = found
                .as_ref()
                .map(|all| all.iter().map(|t| t.id.as_str()).collect::<Vec<_>>());
            assert_eq!(names.map_err(String::as_str), expected.map(<[&str]>::to_vec));
        };
        check(
            &[
                "b01-01-C1-c8-t1",
                "b01-01-C1-c8-t2",
                "b01-02-C1b-c8-t1",
                "b02-01-C1-c8-t1",
            ],
            Ok(&[
                "b01-01-C1-c8-t1",
                "b01-02-C1b-c8-t1",
                "b01-01-C1-c8-t2",
                "b02-01-C1-c8-t1",
            ]),
        );
        for stranger in [
            "b01-01-C1-c8-t0",
            "b01-01-C1-c8-t01",
            "b01-01-C1-c8",
            "b09-01-C1-c8-t1",
            "notes",
        ] {
            check(&[stranger], Err(stranger));
        }
    }
}
