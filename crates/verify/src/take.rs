//! One take: its files are read once each, hashed, parsed, held against the rules, and reduced to what its figures are made of.

use crate::{
    context::Context,
    documents,
    inventory::{Hashed, PACKED},
    report::{Amount, Break, Breaks, Kind},
    rows::Rows,
    rules::{TakeNames, TakeRules, TelemetryRules},
};
use serde::de::DeserializeOwned;
use servelab_evidence::{EvidenceError, Once, ReadOnce, names};
use servelab_findings::{Trial, reduce};
use servelab_schema::{EngineRecord, Format, SealedFile, Sha256Hex, TelemetrySample, Trace, TrialId, TrialRecord};
use std::path::Path;

/// What was read of some files.
#[derive(Debug, Default)]
pub(crate) struct Checked<'m> {
    pub(crate) hashed: Vec<Hashed<'m>>,
    pub(crate) breaks: Breaks,
    pub(crate) amount: Amount,
    /// The take, where everything of it reads.
    pub(crate) trial: Option<Trial>,
}

/// The files of a take, by what they are.
#[derive(Debug, Default)]
struct Parts<'m> {
    record: Option<&'m SealedFile>,
    engine: Option<&'m SealedFile>,
    traces: Option<&'m SealedFile>,
    telemetry: Option<&'m SealedFile>,
}

impl<'m> Checked<'m> {
    /// Notes what was read of a file.
    fn read(&mut self, file: &'m SealedFile, read: Result<ReadOnce, EvidenceError>) {
        let read = read.ok();
        self.unpacked(file, read.as_ref());
        self.amount.files = self.amount.files.saturating_add(1);
        let bytes = read.as_ref().map_or(0, |r| r.on_disk.bytes);
        self.amount.bytes = self.amount.bytes.saturating_add(bytes);
        self.hashed.push((file, read.map(|r| r.on_disk)));
    }

    /// What the manifest says that a compressed file holds must be what it holds.
    fn unpacked(&mut self, file: &SealedFile, read: Option<&ReadOnce>) {
        let told = file.unpacked.as_ref().map(|u| (u.bytes.0, &u.sha256));
        let is_unread = read.is_none_or(|r| r.unpacked.is_none());
        let holds = read.and_then(|r| r.unpacked.as_ref()).map(|u| (u.bytes, &u.sha256));
        let is_packed = file.path.ends_with(PACKED);
        if (is_packed && is_unread && told.is_some()) || told == holds {
            return;
        }
        let words = |of: Option<(u64, &Sha256Hex)>| {
            of.map_or("nothing".to_owned(), |(n, sha256)| format!("{n} bytes, {sha256}"))
        };
        let what = format!("what it says that {} holds is not what it holds", file.path);
        let found = Break::inconsistent(Kind::Contradiction, names::MANIFEST, what).at("/files");
        self.breaks.add(found.but(words(holds), words(told)));
    }

    /// Reads a file whose bytes are only hashed.
    pub(crate) fn bytes(&mut self, run: &Path, file: &'m SealedFile) {
        let read = Once::open(&run.join(&file.path), false).and_then(Once::finish);
        self.read(file, read);
    }

    /// Reads a document; none where it does not parse.
    pub(crate) fn document<T: DeserializeOwned + Format>(&mut self, run: &Path, file: &'m SealedFile) -> Option<T> {
        self.read_document(run, file).map(|(value, _)| value)
    }

    /// Reads a document that must parse as this, and gives its bytes.
    pub(crate) fn kept<T: DeserializeOwned + Format>(&mut self, run: &Path, file: &'m SealedFile) -> Option<Vec<u8>> {
        self.read_document::<T>(run, file).map(|(_, bytes)| bytes)
    }

    fn read_document<T: DeserializeOwned + Format>(
        &mut self,
        run: &Path,
        file: &'m SealedFile,
    ) -> Option<(T, Vec<u8>)> {
        let document = match documents::read(&run.join(&file.path)) {
            Ok(document) => document,
            Err(error) => {
                self.read(file, Err(error));
                return None;
            }
        };
        let bytes = document.bytes;
        self.read(file, Ok(document.read));
        match documents::parse(&file.path, bytes.as_deref()) {
            Ok(value) => {
                let bytes = bytes.unwrap_or_default();
                let misspelt = documents::misspelt(&file.path, &bytes);
                misspelt.into_iter().for_each(|found| self.breaks.add(found));
                Some((value, bytes))
            }
            Err(found) => {
                self.breaks.add(*found);
                None
            }
        }
    }

    /// Reads rows through `with`, which may stop early; the file is hashed to its end all the same.
    pub(crate) fn rows<T: DeserializeOwned + Format, O>(
        &mut self,
        run: &Path,
        file: &'m SealedFile,
        with: impl FnOnce(&mut Rows<'_, Once, T>) -> Result<O, Box<Break>>,
    ) -> Option<O> {
        let mut once = match Once::open(&run.join(&file.path), file.path.ends_with(PACKED)) {
            Ok(once) => once,
            Err(error) => {
                self.read(file, Err(error));
                return None;
            }
        };
        let mut rows = Rows::of(&mut once, &file.path);
        let done = with(&mut rows);
        self.amount.row_bytes = self.amount.row_bytes.saturating_add(rows.bytes());
        self.read(file, once.finish());
        done.map_err(|found| self.breaks.add(*found)).ok()
    }
}

fn parts<'m>(folder: &str, files: &[&'m SealedFile], run: &Path, checked: &mut Checked<'m>) -> Parts<'m> {
    let mut parts = Parts::default();
    for file in files {
        let name = file.path.strip_prefix(folder).unwrap_or(&file.path);
        let name = name.strip_prefix('/').unwrap_or(name);
        let slot = match name.strip_suffix(PACKED).unwrap_or(name) {
            names::TRACES => &mut parts.traces,
            names::TELEMETRY => &mut parts.telemetry,
            _ if name == names::TRIAL => &mut parts.record,
            _ if name == names::ENGINE => &mut parts.engine,
            _ => {
                checked.bytes(run, file);
                if !is_only_kept(name) {
                    checked.breaks.add(stranger(&file.path));
                }
                continue;
            }
        };
        if slot.is_some() {
            // Plain and compressed: said already, and only one of them is read.
            checked.bytes(run, file);
        } else {
            *slot = Some(file);
        }
    }
    parts
}

/// True for files of a take of which nothing is learnt but that they are unchanged.
fn is_only_kept(name: &str) -> bool {
    [names::SERVER_LOG, names::METRICS_BEFORE, names::METRICS_AFTER].contains(&name) || name.ends_with(names::TORN)
}

/// A file that no servelab writes.
pub(crate) fn stranger(path: &str) -> Break {
    Break::inconsistent(
        Kind::Stranger,
        path,
        "no servelab writes such a file: it was added, or renamed",
    )
}

/// Reads and checks one take; `id` is the name of its folder. Without a context its rows are only hashed and parsed.
pub(crate) fn check<'m>(context: Option<&Context<'_>>, run: &Path, id: &str, files: &[&'m SealedFile]) -> Checked<'m> {
    let mut checked = Checked::default();
    let folder = format!("{}/{id}", names::TRIALS);
    let parts = parts(&folder, files, run, &mut checked);
    let record: Option<TrialRecord> = parts.record.and_then(|file| checked.document(run, file));
    let engine: Option<EngineRecord> = parts.engine.and_then(|file| checked.document(run, file));
    for (part, name) in [(parts.record, names::TRIAL), (parts.engine, names::ENGINE)] {
        if part.is_none() {
            let what = format!("the take has no {name}, which every take of a sealed run has");
            checked
                .breaks
                .add(Break::inconsistent(Kind::Missing, format!("{folder}/{name}"), what));
        }
    }
    let telemetry = telemetry(context, run, parts.telemetry, &mut checked);
    let Some((context, records)) = context.zip(record.zip(engine)) else {
        if let Some(file) = parts.traces {
            checked.rows::<Trace, ()>(run, file, |rows| rows.try_for_each(|row| row.map(|_| ())));
        }
        return checked;
    };
    let names = TakeNames {
        traces: parts
            .traces
            .map_or_else(|| format!("{folder}/{}", names::TRACES), |f| f.path.clone()),
        folder,
    };
    records_agree(context, id, &names, &records, &mut checked.breaks);
    let mut rules = TakeRules::new(context, (&records.0, &records.1), &names);
    let of = (context.plan, context.environment);
    let kept = records.clone();
    let samples = telemetry.unwrap_or_default().into_iter().map(Ok::<_, Box<Break>>);
    let mut traces = 0_u64;
    let trial = match parts.traces {
        None => reduce(&context.prompts, of, kept, samples, []).ok(),
        Some(file) => checked.rows::<Trace, Trial>(run, file, |rows| {
            let rows = rows.map(|row| {
                let (line, trace) = row?;
                traces = traces.saturating_add(1);
                rules.trace(line, &trace);
                let answer_found = context.prompts.answer_found(&trace);
                Ok((trace, answer_found))
            });
            reduce(&context.prompts, of, kept, samples, rows)
        }),
    };
    checked.amount.traces = traces;
    if trial.is_some() {
        checked.breaks.extend(rules.finish());
    }
    checked.trial = trial;
    checked
}

fn telemetry<'m>(
    context: Option<&Context<'_>>,
    run: &Path,
    file: Option<&'m SealedFile>,
    checked: &mut Checked<'m>,
) -> Option<Vec<TelemetrySample>> {
    let (file, mut rules) = (file?, TelemetryRules::default());
    checked.rows(run, file, |rows| {
        let mut samples = Vec::new();
        for row in rows {
            let (line, sample) = row?;
            let wrong = context.and_then(|context| rules.sample(context, &sample));
            if let Some(what) = wrong {
                return Err(Box::new(Break::inconsistent(Kind::Row, &file.path, what).line(line)));
            }
            samples.push(sample);
        }
        Ok(samples)
    })
}

/// The records of a take are of its folder, of the plan's trial, and of one another.
fn records_agree(
    context: &Context<'_>,
    id: &str,
    names: &TakeNames,
    (record, engine): &(TrialRecord, EngineRecord),
    breaks: &mut Breaks,
) {
    let plan = context.plan;
    let mut differs = |name: &str, pointer: &str, expected: String, found: String| {
        if expected != found {
            let file = format!("{}/{name}", names.folder);
            let what = "it is not what its folder and the plan say";
            breaks.add(
                Break::inconsistent(Kind::Contradiction, file, what)
                    .at(pointer)
                    .but(expected, found),
            );
        }
    };
    let planned = context.planned(record.block, record.order);
    let own = planned.and_then(|(block, trial)| trial.take_id(block.block, record.take).ok());
    let own = own.as_ref().map_or("no trial of the plan", TrialId::as_str);
    differs(names::TRIAL, "/id", id.to_owned(), record.id.to_string());
    differs(names::TRIAL, "/block", id.to_owned(), own.to_owned());
    if let Some((_, trial)) = planned {
        differs(
            names::TRIAL,
            "/variant",
            trial.variant.to_string(),
            record.variant.to_string(),
        );
        differs(names::TRIAL, "/load", trial.load.to_string(), record.load.to_string());
        let flags = plan.variant(&trial.variant).map(|v| {
            let flags = v.flags.iter().map(|(name, field)| (name, &field.value));
            flags.collect::<Vec<_>>()
        });
        let told: Vec<_> = engine.flags.iter().collect();
        if flags.as_ref().is_some_and(|flags| *flags != told) {
            differs(names::ENGINE, "/flags", format!("{flags:?}"), format!("{told:?}"));
        }
    }
    let (kind, scale) = (plan.engine_kind.to_string(), plan.engine.time_scale().get().to_string());
    differs(
        names::TRIAL,
        "/engine_kind",
        kind.clone(),
        record.engine_kind.to_string(),
    );
    differs(names::TRIAL, "/time_scale", scale, record.time_scale.to_string());
    let is_session = record.session.get() == 1 || context.sessions.contains(&record.session);
    if !is_session {
        let told = record.session.to_string();
        differs(names::TRIAL, "/session", "a session of the run".to_owned(), told);
    }
    differs(names::ENGINE, "/trial", id.to_owned(), engine.trial.to_string());
    differs(
        names::ENGINE,
        "/variant",
        record.variant.to_string(),
        engine.variant.to_string(),
    );
    differs(names::ENGINE, "/engine_kind", kind, engine.engine_kind.to_string());
    let gave_up = |n: Option<std::num::NonZeroU32>| format!("{n:?}");
    if record.counts.gave_up_after.is_some() {
        let (planned, told) = (gave_up(plan.give_up_after), gave_up(record.counts.gave_up_after));
        differs(names::TRIAL, "/counts/gave_up_after", planned, told);
    }
}
