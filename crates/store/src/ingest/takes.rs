//! The rows of the takes: one thread reads and parses the files and hashes what it makes of them, this one writes. A run of a
//! million requests is never in memory: some batches of rows wait between the two.

use super::{Insert, Row, rows};
use crate::{StoreError, digest::WrittenTakes};
use rusqlite::{Transaction, types::Value};
use servelab_evidence::{EvidenceError, SealedRun};
use servelab_findings::Prompts;
use servelab_schema::{Plan, Trace, TrialRecord, findings::Findings};
use std::{
    panic::resume_unwind,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

/// Rows that are handed over together, and batches that wait.
const BATCH: usize = 256;
const WAITING: usize = 8;

/// What one thread hands to the other: a take, then its rows.
enum Part {
    Trial(Row),
    Requests(Vec<Row>),
    Telemetry(Vec<Row>),
}

type Handed = Result<Part, StoreError>;

/// Writes the rows of every take; returns what was written.
pub(super) fn insert(
    tx: &Transaction<'_>,
    run: &SealedRun,
    plan: &Plan,
    findings: &Findings,
) -> Result<WrittenTakes, StoreError> {
    thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING);
        let reader = scope.spawn(move || read(run, plan, findings, &send));
        let mut tables = Tables::new(tx, run.manifest().run_id.as_str())?;
        for part in receive {
            tables.write(part?)?;
        }
        Ok(reader.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Reads every take, until the last or until nobody listens.
fn read(run: &SealedRun, plan: &Plan, findings: &Findings, send: &SyncSender<Handed>) -> WrittenTakes {
    let mut reading = Reading {
        run,
        prompts: Prompts::of(plan),
        written: WrittenTakes::default(),
        send,
    };
    match reading.takes(findings) {
        Err(Ended::Wrong(error)) => {
            // Nobody listens where the writer had an error of its own.
            let _ = send.send(Err(error));
        }
        Err(Ended::Unheard) | Ok(()) => {}
    }
    reading.written
}

/// Why reading ended early.
enum Ended {
    Wrong(StoreError),
    Unheard,
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Wrong(error)
    }
}

impl From<EvidenceError> for Ended {
    fn from(error: EvidenceError) -> Self {
        Self::Wrong(error.into())
    }
}

struct Reading<'r> {
    run: &'r SealedRun,
    prompts: Prompts<'r>,
    written: WrittenTakes,
    send: &'r SyncSender<Handed>,
}

impl Reading<'_> {
    fn hand(&self, part: Part) -> Result<(), Ended> {
        self.send.send(Ok(part)).map_err(|_| Ended::Unheard)
    }

    fn takes(&mut self, findings: &Findings) -> Result<(), Ended> {
        for (position, found) in (0_u32..).zip(&findings.trials) {
            let take = self.run.take(&found.id);
            let record = take.record()?;
            let row = rows::trial(position, &record, &take.engine()?, found)?;
            self.written.trial.written(&row);
            self.hand(Part::Trial(row))?;
            let mut batch = Vec::with_capacity(BATCH);
            for (position, trace) in (0_u32..).zip(take.traces()?) {
                let trace = trace?;
                check_owner(&trace, &record)?;
                let row = rows::request(position, &trace, self.prompts.answer_found(&trace))?;
                self.written.request.written(&row);
                batch.push(row);
                if batch.len() == BATCH {
                    self.hand(Part::Requests(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))))?;
                }
            }
            self.hand(Part::Requests(batch))?;
            let mut samples = Vec::new();
            for (position, sample) in (0_u32..).zip(take.telemetry()?) {
                let row = rows::telemetry(position, &sample?)?;
                self.written.telemetry.written(&row);
                samples.push(row);
                if samples.len() == BATCH {
                    self.hand(Part::Telemetry(std::mem::take(&mut samples)))?;
                }
            }
            self.hand(Part::Telemetry(samples))?;
        }
        Ok(())
    }
}

/// A trace's variant and block are those of its trial; only the trial's are stored.
fn check_owner(trace: &Trace, record: &TrialRecord) -> Result<(), StoreError> {
    if trace.variant == record.variant && trace.block == record.block {
        return Ok(());
    }
    let why = format!("it says variant {} and block {}", trace.variant, trace.block);
    Err(StoreError::corrupt(
        format!("request {} of trial {}", trace.request_id, record.id),
        why,
    ))
}

/// The prepared statements of a run's takes, and the key of the take that is being written.
struct Tables<'t> {
    tx: &'t Transaction<'t>,
    run: Value,
    key: Value,
    trial: Insert<'t>,
    request: Insert<'t>,
    telemetry: Insert<'t>,
}

impl<'t> Tables<'t> {
    fn new(tx: &'t Transaction<'t>, run: &str) -> Result<Self, StoreError> {
        Ok(Self {
            tx,
            run: run.to_owned().into(),
            key: Value::Null,
            trial: Insert::prepared(
                tx,
                "INSERT INTO trial (run_id, id, position, block, trial_order, variant, load, take, validity, treatment, \
                 started_utc, span_start_ns, span_end_ns, held_start_ns, held_end_ns, planned, completed, failed, \
                 record_json, engine_json) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
            )?,
            request: Insert::new(tx, "request", 29)?,
            telemetry: Insert::new(tx, "telemetry", 8)?,
        })
    }

    fn write(&mut self, part: Part) -> Result<(), StoreError> {
        match part {
            Part::Trial(row) => {
                self.trial.keyed(Some(&self.run), &row)?;
                self.key = self.tx.last_insert_rowid().into();
                Ok(())
            }
            Part::Requests(rows) => rows.iter().try_for_each(|row| self.request.keyed(Some(&self.key), row)),
            Part::Telemetry(rows) => rows
                .iter()
                .try_for_each(|row| self.telemetry.keyed(Some(&self.key), row)),
        }
    }
}
