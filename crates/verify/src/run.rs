//! One run from its seal to its numbers. Every file is read once; takes in parallel.

use crate::{
    agree,
    context::Context,
    elsewhere::{self, Summary},
    inventory::{self, Hashed},
    report::{Amount, Break, Breaks, Kind, Level, Outside, Report, Standing, State},
    rows::Rows,
    seal::{self, Seal},
    sessions::{self, Part, Sessions},
    sign::{self, PublicKey, Signed},
    take::{self, Checked, stranger},
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use servelab_evidence::{Digested, Listing, Once, names, sha256_file};
use servelab_findings::{Trial, evaluate};
use servelab_schema::{
    EnvironmentRecord, METHOD_VERSION, Plan, RunEvent, RunManifest, SealedFile, Sha256Hex, TrialId, WallNanos,
    findings::Findings,
};
use servelab_store::{RunData, Store, TakeRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What is held against a run from outside.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// Fingerprints that reached us by another way: one of them must be the run's.
    pub fingerprints: Vec<Sha256Hex>,
    /// Public keys that reached us by another way: one of them must have signed the run.
    pub keys: Vec<PublicKey>,
    /// A database that may hold the run.
    pub store: Option<&'a Store>,
    /// The summary of a report.
    pub summary: Option<&'a Summary<'a>>,
}

/// What is said of a run, and what follows from its traces.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What is said of it.
    pub report: Report,
    /// None where something is missing, changed or contradicts itself: no number is worth anything then.
    pub derived: Option<RunData>,
}

/// Verifies a run directory, which need not lie in a project: whoever was given a copy has all that is needed.
#[must_use]
pub fn verify(dir: &Path, asked: &Asked<'_>) -> Verified {
    let mut breaks = Breaks::default();
    let seal = seal::read(dir, &asked.fingerprints, &mut breaks);
    let (mut doubtful, mut amount, mut derived, mut unknown) = (Vec::new(), Amount::default(), None, None);
    let mut notes: Vec<String> = Vec::new();
    if let Some(Seal {
        fingerprint,
        manifest: Some(manifest),
        is_trusted,
    }) = &seal
    {
        let read = read_all(dir, manifest);
        amount = read.amount;
        if *is_trusted {
            let (found, why) = read.settle(manifest, fingerprint, &mut breaks);
            (derived, unknown) = (found, why);
        } else {
            doubtful = read.doubtful();
        }
        let name = dir.canonicalize().ok();
        let name = name.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
        if name.is_some_and(|name| name != manifest.run_id.as_str()) {
            notes.push(format!(
                "the folder has another name than the run, which is {}",
                manifest.run_id
            ));
        }
    }
    if let Some(derived) = &derived {
        let others = asked
            .store
            .map(|store| elsewhere::database(store, derived, &mut breaks));
        let summary = asked
            .summary
            .map(|summary| elsewhere::summary(summary, derived, &mut breaks));
        notes.extend(others.into_iter().chain(summary));
    } else if asked.store.is_some() || asked.summary.is_some() {
        notes.push("database and summary were not looked at: no number of the run could be derived again".to_owned());
    }
    let fingerprint = seal.as_ref().map(|s| s.fingerprint.clone());
    let outside = outside(fingerprint.as_ref(), asked, &mut breaks);
    let (mut signatures, mut signed_by) = (Vec::new(), None);
    if let Some(fingerprint) = &fingerprint {
        let run = derived.as_ref().map(|run| (&run.manifest, &run.plan, &run.environment));
        let signed = Signed { dir, fingerprint, run };
        (signatures, signed_by) = sign::look(signed, &asked.keys, &mut breaks);
    }
    let signed = match signed_by {
        Some(by) => Ok(by),
        None => Err(match signatures.as_slice() {
            [] => "no signature is beside the run".to_owned(),
            some => {
                let ids: Vec<&str> = some.iter().map(|s| sign::short(&s.keyid)).collect();
                format!(
                    "claimed by key {}, and not proven: give its public key with --key",
                    ids.join(", ")
                )
            }
        }),
    };
    let levels = levels(seal.as_ref(), &breaks, &outside, (unknown, signed));
    let reached = levels
        .iter()
        .take_while(|l| l.state == State::Holds)
        .last()
        .map(|l| l.level);
    breaks.kept.sort();
    let report = Report {
        v: 1,
        dir: dir.to_path_buf(),
        run_id: seal.and_then(|s| s.manifest).map(|m| m.run_id),
        fingerprint,
        reached,
        levels,
        breaks: breaks.kept,
        more_breaks: breaks.more,
        doubtful,
        signatures,
        outside,
        notes,
        read: amount,
    };
    Verified { report, derived }
}

/// Everything that was read of a run.
struct ReadAll<'m> {
    root: Root<'m>,
    takes: Vec<(&'m str, Checked<'m>)>,
    unlisted: Vec<(String, Option<Digested>)>,
    inventory: inventory::Inventory<'m>,
    complete: Breaks,
    amount: Amount,
}

/// The files that are of no take.
#[derive(Default)]
struct Root<'m> {
    checked: Checked<'m>,
    sessions: Sessions<'m>,
    plan: Option<(&'m SealedFile, Plan)>,
    environment: Option<EnvironmentRecord>,
    findings: Option<Vec<u8>>,
}

/// The folder of the take that a path lies in.
fn take_of(path: &str) -> Option<&str> {
    let (take, _) = path.strip_prefix(names::TRIALS)?.strip_prefix('/')?.split_once('/')?;
    Some(take)
}

fn read_all<'m>(dir: &Path, manifest: &'m RunManifest) -> ReadAll<'m> {
    let mut complete = Breaks::default();
    let inventory = inventory::compare(&manifest.files, &Listing::of(dir), &mut complete);
    let mut takes: BTreeMap<&str, Vec<&SealedFile>> = BTreeMap::new();
    let mut others = Vec::new();
    for file in &inventory.present {
        match take_of(&file.path) {
            Some(take) => takes.entry(take).or_default().push(file),
            None => others.push(*file),
        }
    }
    let same_method = manifest.method_version == METHOD_VERSION;
    let root = read_root(dir, &others, same_method);
    let context = root.executed().zip(root.environment.as_ref());
    let context = context.map(|((_, plan), environment)| Context::new(plan, environment, &manifest.sessions));
    let takes: Vec<(&str, Vec<&SealedFile>)> = takes.into_iter().collect();
    let takes: Vec<(&str, Checked<'m>)> = takes
        .into_par_iter()
        .map(|(id, files)| {
            let checked = if same_method {
                take::check(context.as_ref(), dir, id, &files)
            } else {
                hashed(dir, &files)
            };
            (id, checked)
        })
        .collect();
    let unlisted = inventory.unlisted.clone().into_par_iter().map(|path| {
        let digested = sha256_file(&dir.join(&path)).ok();
        (path, digested.map(|(bytes, sha256)| Digested { bytes, sha256 }))
    });
    let mut amount = root.checked.amount;
    for (_, take) in &takes {
        amount.files = amount.files.saturating_add(take.amount.files);
        amount.bytes = amount.bytes.saturating_add(take.amount.bytes);
        amount.row_bytes = amount.row_bytes.saturating_add(take.amount.row_bytes);
        amount.traces = amount.traces.saturating_add(take.amount.traces);
    }
    ReadAll {
        unlisted: unlisted.collect(),
        root,
        takes,
        inventory,
        complete,
        amount,
    }
}

fn hashed<'m>(dir: &Path, files: &[&'m SealedFile]) -> Checked<'m> {
    let mut checked = Checked::default();
    for file in files {
        checked.bytes(dir, file);
    }
    checked
}

fn read_root<'m>(dir: &Path, files: &[&'m SealedFile], same_method: bool) -> Root<'m> {
    if !same_method {
        return Root {
            checked: hashed(dir, files),
            ..Root::default()
        };
    }
    let mut root = Root::default();
    for file in files {
        let checked = &mut root.checked;
        match file.path.as_str() {
            names::PLAN => root.plan = checked.document(dir, file).map(|plan| (*file, plan)),
            names::ENVIRONMENT => root.environment = checked.document(dir, file),
            names::FINDINGS => root.findings = checked.kept::<Findings>(dir, file),
            names::EVENTS => {
                checked.rows::<RunEvent, ()>(dir, file, |rows| ascending(rows, &file.path));
            }
            path if path.ends_with(names::TORN) && !path.contains('/') => checked.bytes(dir, file),
            path => match sessions::part(path) {
                Some((number, part)) => root.session(dir, file, (number, part)),
                None => {
                    checked.bytes(dir, file);
                    checked.breaks.add(stranger(path));
                }
            },
        }
    }
    root
}

impl<'m> Root<'m> {
    /// The plan that was executed, with the blocks that sessions added to it.
    fn executed(&self) -> Option<(&'m SealedFile, &Plan)> {
        let last = self.sessions.plans.values().next_back();
        last.or(self.plan.as_ref()).map(|(file, plan)| (*file, plan))
    }

    fn session(&mut self, dir: &Path, file: &'m SealedFile, (number, part): (u32, Part)) {
        let (checked, sessions) = (&mut self.checked, &mut self.sessions);
        match part {
            Part::Record => {
                let read = checked.document(dir, file).map(|record| (file, record));
                sessions.records.extend(read.map(|read| (number, read)));
            }
            Part::Plan => {
                let read = checked.document(dir, file).map(|plan| (file, plan));
                sessions.plans.extend(read.map(|read| (number, read)));
            }
            Part::EarlierManifest => {
                let read = checked.document(dir, file).map(|manifest| (file, manifest));
                sessions.earlier.extend(read.map(|read| (number, read)));
            }
            Part::Environment => drop(checked.document::<EnvironmentRecord>(dir, file)),
            Part::EarlierFindings => drop(checked.document::<Findings>(dir, file)),
            Part::Events => {
                checked.rows::<RunEvent, ()>(dir, file, |rows| ascending(rows, &file.path));
            }
            Part::EarlierFingerprint | Part::Torn => checked.bytes(dir, file),
        }
    }
}

fn ascending(rows: &mut Rows<'_, Once, RunEvent>, file: &str) -> Result<(), Box<Break>> {
    let mut last = WallNanos(0);
    for row in rows {
        let (line, event) = row?;
        if event.at_ns < last {
            let found = Break::inconsistent(Kind::Row, file, "it is earlier than the event before");
            return Err(Box::new(found.line(line)));
        }
        last = event.at_ns;
    }
    Ok(())
}

impl<'m> ReadAll<'m> {
    fn hashed(&self) -> Vec<Hashed<'m>> {
        let takes = self.takes.iter().flat_map(|(_, take)| &take.hashed);
        self.root.checked.hashed.iter().chain(takes).cloned().collect()
    }

    /// Every file that is not as a manifest says which is itself damaged.
    fn doubtful(self) -> Vec<String> {
        let mut files: BTreeSet<String> = inventory::changed(&self.hashed()).into_keys().collect();
        files.extend(self.complete.kept.into_iter().map(|b| b.file));
        let mut misplaced = Breaks::default();
        self.inventory.misplaced(&self.unlisted, &mut misplaced);
        files.extend(misplaced.kept.into_iter().map(|b| b.file));
        files.remove(names::MANIFEST);
        files.into_iter().collect()
    }

    /// Decides which breaks count, and derives the numbers again where nothing hinders it. Gives what follows from the traces, or why
    /// nobody looked.
    fn settle(
        self,
        manifest: &RunManifest,
        fingerprint: &Sha256Hex,
        breaks: &mut Breaks,
    ) -> (Option<RunData>, Option<String>) {
        let executed = self.root.executed().map(|(file, plan)| (file, plan.clone()));
        let changed = inventory::changed(&self.hashed());
        breaks.extend(self.complete);
        let before = breaks.kept.len();
        self.inventory.misplaced(&self.unlisted, breaks);
        let added = breaks.kept.get(before..).unwrap_or_default();
        let is_whole =
            changed.is_empty() && added.iter().all(|b| b.kind == Kind::Unlisted) && self.inventory.is_whole();
        let mut inside = self.root.checked.breaks;
        let (mut trials, mut folders): (Vec<Trial>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
        for (id, take) in self.takes {
            folders.insert(id);
            inside.extend(take.breaks);
            trials.extend(take.trial);
        }
        name_lines(changed, &inside, breaks);
        if manifest.method_version != METHOD_VERSION {
            let why = format!(
                "made by METHOD_VERSION {}, and this servelab decides by {METHOD_VERSION}: only a servelab of that method can derive \
                 its numbers",
                manifest.method_version
            );
            return (None, Some(why));
        }
        if !is_whole {
            let why = "files are missing or changed: nothing that follows from them was derived".to_owned();
            return (None, Some(why));
        }
        let (Some((plan_file, plan)), Some(environment), Some(stored)) =
            (executed, self.root.environment, self.root.findings)
        else {
            breaks.extend(inside);
            for name in [names::PLAN, names::ENVIRONMENT, names::FINDINGS] {
                if !manifest.files.iter().any(|f| f.path == name) {
                    let what = "the manifest does not list it, and every run has it";
                    breaks.add(Break::inconsistent(Kind::Missing, name, what));
                }
            }
            return (None, None);
        };
        agree::manifest(manifest, (plan_file, &plan), &environment, &mut inside);
        self.root.sessions.check(manifest, &mut inside);
        agree::takes(manifest, &folders, &mut inside);
        let is_sound = inside.is_empty();
        breaks.extend(inside);
        if !is_sound {
            return (None, None);
        }
        let mut rows: BTreeMap<TrialId, TakeRow> = BTreeMap::new();
        for trial in &trials {
            let (record, engine) = (trial.record.clone(), trial.engine.clone());
            rows.insert(record.id.clone(), TakeRow { record, engine });
        }
        let findings = evaluate(&plan, &environment, (&manifest.run_id, &manifest.end), trials);
        agree::findings(&stored, &findings, breaks);
        agree::validities(manifest, &findings, breaks);
        let derived = RunData {
            fingerprint: fingerprint.clone(),
            manifest: manifest.clone(),
            takes: findings.trials.iter().filter_map(|t| rows.remove(&t.id)).collect(),
            plan,
            environment,
            findings,
        };
        (Some(derived), None)
    }
}

/// The breaks of changed files, each with the line at which it does not read, where there is one. What else breaks in a run with
/// changed files may be their fault, and is not said.
fn name_lines(changed: BTreeMap<String, Break>, inside: &Breaks, breaks: &mut Breaks) {
    for (path, found) in changed {
        let first = inside.kept.iter().find(|b| b.file == path && b.pointer.is_none());
        let found = match first.filter(|_| found.kind == Kind::Changed) {
            Some(first) => Break {
                line: first.line,
                what: format!("{}: {}", found.what, first.what),
                ..found
            },
            None => found,
        };
        breaks.add(found);
    }
}

fn outside(fingerprint: Option<&Sha256Hex>, asked: &Asked<'_>, breaks: &mut Breaks) -> Outside {
    if asked.fingerprints.is_empty() {
        return Outside::NotGiven;
    }
    if fingerprint.is_some_and(|own| asked.fingerprints.contains(own)) {
        return Outside::Same;
    }
    let expected: Vec<&str> = asked.fingerprints.iter().map(Sha256Hex::as_str).collect();
    let what = "none of the fingerprints that were given is the run's: it is another run, or was written anew";
    let found = Break::new(Level::Unchanged, Kind::Fingerprint, names::MANIFEST, what);
    breaks.add(found.but(
        expected.join(" or "),
        fingerprint.map_or("no manifest", Sha256Hex::as_str),
    ));
    Outside::Other
}

fn levels(
    seal: Option<&Seal>,
    breaks: &Breaks,
    outside: &Outside,
    (unknown, signed): (Option<String>, Result<String, String>),
) -> Vec<Standing> {
    let n = |level| {
        let n = breaks.kept.iter().filter(|b| b.level == level).count();
        if n == 1 {
            "1 break".to_owned()
        } else {
            format!("{n} breaks")
        }
    };
    let reads = seal.is_some_and(|s| s.manifest.is_some());
    let is_trusted = seal.is_some_and(|s| s.is_trusted);
    let of = |level: Level| {
        let (state, says) = match level {
            _ if breaks.breaks(level) => (State::Broken, n(level)),
            _ if !reads => (State::Unknown, "there is no manifest to tell".to_owned()),
            _ if !is_trusted => (State::Unknown, "the manifest itself was changed".to_owned()),
            Level::Complete => (
                State::Holds,
                "sealed; nothing is missing, and nothing else is there".to_owned(),
            ),
            Level::Unchanged if *outside == Outside::Same => (
                State::Holds,
                "every byte is as sealed, by the fingerprint that was given".to_owned(),
            ),
            Level::Unchanged => (State::Holds, "every byte is as its own manifest says".to_owned()),
            Level::Consistent => match &unknown {
                Some(why) => (State::Unknown, why.clone()),
                None => (State::Holds, "every number follows from the traces".to_owned()),
            },
            Level::Signed => match &signed {
                Ok(by) => (State::Holds, by.clone()),
                Err(why) => (State::Unknown, why.clone()),
            },
        };
        Standing { level, state, says }
    };
    Level::ALL.map(of).into()
}
