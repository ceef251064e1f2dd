//! One sealed run into rows, in one transaction.

use crate::{
    Store, StoreError, encode_chunks,
    sql_value::{json, maybe_ns, ns, word},
};
use rusqlite::{OptionalExtension, Statement, Transaction, TransactionBehavior, params};
use servelab_evidence::SealedRun;
use servelab_findings::{Prompts, rows};
use servelab_schema::{
    Bucket, EngineRecord, Outcome, Plan, PromptSetRef, RunEnd, RunId, Sha256Hex, Task, TelemetrySample, TokenSource,
    Trace, TrialId, TrialRecord, Validity,
    findings::{Findings, TrialFindings},
};

use std::{num::NonZeroU32, path::PathBuf};

const DOING: &str = "ingesting a run";

/// What an ingest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    /// The run is in the database now.
    New,
    /// The very same run was there already; nothing was changed.
    Already,
}

impl Store {
    /// Writes a sealed run's rows. Doing it twice is doing it once; a run that does not go in whole does not go in. A run of
    /// the same name whose directory is gone, or holds another run by now, makes room.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another run of that name is stored and still lies where it was read, [`StoreError::Evidence`]
    /// where a file of the run does not read, [`StoreError::Sql`] where the database refuses.
    pub fn ingest(&mut self, run: &SealedRun) -> Result<Ingested, StoreError> {
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::sql(DOING))?;
        let id = &run.manifest().run_id;
        if let Some((stored, dir)) = stored(&tx, id)? {
            if &stored == run.fingerprint() {
                tx.execute(
                    "UPDATE run SET dir = ?2 WHERE id = ?1",
                    params![id.as_str(), dir_text(run)],
                )
                .map_err(StoreError::sql(DOING))?;
                tx.commit().map_err(StoreError::sql(DOING))?;
                return Ok(Ingested::Already);
            }
            if SealedRun::noted_fingerprint(&dir).as_ref() == Some(&stored) {
                let (run, given) = (id.clone(), run.fingerprint().clone());
                return Err(StoreError::Conflict {
                    run,
                    stored,
                    given,
                    dir,
                });
            }
            tx.execute("DELETE FROM run WHERE id = ?1", [id.as_str()])
                .map_err(StoreError::sql(DOING))?;
        }
        let (plan, findings) = (run.plan()?, run.findings()?);
        insert_run(&tx, run, &plan, &findings)?;
        insert_arms(&tx, run, &plan)?;
        insert_trials(&tx, run, &plan, &findings)?;
        insert_findings(&tx, id, &findings)?;
        tx.commit().map_err(StoreError::sql(DOING))?;
        Ok(Ingested::New)
    }
}

fn dir_text(run: &SealedRun) -> String {
    let dir = run.dir();
    dir.canonicalize()
        .unwrap_or_else(|_| dir.to_owned())
        .display()
        .to_string()
}

/// Fingerprint and directory of the stored run of that name.
fn stored(tx: &Transaction<'_>, run: &RunId) -> Result<Option<(Sha256Hex, PathBuf)>, StoreError> {
    let found: Option<(String, String)> = tx
        .query_row(
            "SELECT fingerprint, dir FROM run WHERE id = ?1",
            [run.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(StoreError::sql(DOING))?;
    let read = |(text, dir): (String, String)| {
        let fingerprint = Sha256Hex::new(text).map_err(|why| StoreError::corrupt("run.fingerprint", why))?;
        Ok((fingerprint, PathBuf::from(dir)))
    };
    found.map(read).transpose()
}

fn insert_run(tx: &Transaction<'_>, run: &SealedRun, plan: &Plan, findings: &Findings) -> Result<(), StoreError> {
    let m = run.manifest();
    tx.execute(
        "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            m.run_id.as_str(),
            run.fingerprint().as_str(),
            m.name,
            word("engine kind", &m.engine_kind)?,
            m.time_scale.get(),
            m.method_version,
            m.servelab_version,
            m.started.utc,
            m.finished.utc,
            m.end == RunEnd::Complete,
            json("manifest", m)?,
            json("plan", plan)?,
            json("environment", &run.environment()?)?,
            dir_text(run),
            json("findings", findings)?,
            json("brief", &findings.brief)?,
        ],
    )
    .map_err(StoreError::sql(DOING))?;
    Ok(())
}

fn insert_arms(tx: &Transaction<'_>, run: &SealedRun, plan: &Plan) -> Result<(), StoreError> {
    let id = run.manifest().run_id.as_str();
    let mut variant = prepare(tx, "INSERT INTO variant VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (position, v) in (0_u32..).zip(&plan.variants) {
        let control = v.control.as_ref().map(|c| c.as_str());
        let role = word("variant role", &v.role)?;
        variant
            .execute(params![
                id,
                v.id.as_str(),
                position,
                role,
                control,
                v.factor,
                v.hypothesis
            ])
            .map_err(StoreError::sql(DOING))?;
    }
    let mut load = prepare(tx, "INSERT INTO load VALUES (?1, ?2, ?3, ?4)")?;
    for (position, l) in (0_u32..).zip(&plan.loads) {
        load.execute(params![id, l.id.as_str(), position, json("load", &l.load)?])
            .map_err(StoreError::sql(DOING))?;
    }
    insert_prompts(tx, id, &plan.prompts, false)?;
    insert_prompts(tx, id, &plan.fillers, true)
}

fn insert_prompts(tx: &Transaction<'_>, run: &str, set: &PromptSetRef, filler: bool) -> Result<(), StoreError> {
    // A prompt that is measured and a filler as well stays listed as measured.
    let mut insert = prepare(
        tx,
        "INSERT OR IGNORE INTO prompt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for p in &set.prompts {
        let (set, task, bucket) = (set.id.as_str(), p.task.map(Task::as_str), p.bucket.map(Bucket::as_str));
        let tokens = (p.prompt_tokens.map(NonZeroU32::get), p.max_new_tokens.get());
        insert
            .execute(params![
                run,
                p.id.as_str(),
                set,
                filler,
                task,
                bucket,
                tokens.0,
                tokens.1
            ])
            .map_err(StoreError::sql(DOING))?;
    }
    Ok(())
}

fn prepare<'t>(tx: &'t Transaction<'_>, sql: &str) -> Result<Statement<'t>, StoreError> {
    tx.prepare(sql).map_err(StoreError::sql(DOING))
}

fn insert_trials(tx: &Transaction<'_>, run: &SealedRun, plan: &Plan, findings: &Findings) -> Result<(), StoreError> {
    let mut rows = TrialRows::new(tx, run.manifest().run_id.as_str())?;
    let prompts = Prompts::of(plan);
    for (position, found) in (0_u32..).zip(&findings.trials) {
        let take = run.take(&found.id);
        let record = take.record()?;
        let key = rows.trial(position, &record, &take.engine()?, found)?;
        for (position, trace) in (0_u32..).zip(take.traces()?) {
            let trace = trace?;
            check_owner(&trace, &record)?;
            rows.request(key, position, &trace, prompts.answer_found(&trace))?;
        }
        for (position, sample) in (0_u32..).zip(take.telemetry()?) {
            rows.telemetry(key, position, &sample?)?;
        }
    }
    Ok(())
}

fn insert_findings(tx: &Transaction<'_>, run: &RunId, findings: &Findings) -> Result<(), StoreError> {
    let mut insert = prepare(
        tx,
        "INSERT INTO finding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
         ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)",
    )?;
    for (position, row) in (0_u32..).zip(rows(findings)) {
        let n = i64::try_from(row.n).map_err(|_| StoreError::TooLarge {
            what: "n of a finding",
            value: row.n,
        })?;
        insert
            .execute(params![
                run.as_str(),
                position,
                row.scope.as_str(),
                row.load.as_str(),
                row.variant.as_str(),
                row.control,
                row.trial.as_ref().map(TrialId::as_str),
                row.task,
                row.bucket,
                row.metric,
                row.statistic,
                row.value,
                row.unit,
                n,
                row.n_of,
                row.interval.map(|i| i.low),
                row.interval.map(|i| i.high),
                row.interval.map(|i| i.kind),
                row.at_least,
                row.at_most,
                row.certified_bound,
                row.with_failures,
                row.with_failures_infinite,
                row.p,
                row.p_adjusted,
                row.p_sign_flip,
                row.verdict,
                row.reason,
                row.indicative,
                row.primary,
                row.note,
            ])
            .map_err(StoreError::sql("ingesting the findings"))?;
    }
    Ok(())
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

/// The prepared statements of a run's trials.
struct TrialRows<'t> {
    run: &'t str,
    tx: &'t Transaction<'t>,
    trial: Statement<'t>,
    request: Statement<'t>,
    telemetry: Statement<'t>,
}

impl<'t> TrialRows<'t> {
    fn new(tx: &'t Transaction<'t>, run: &'t str) -> Result<Self, StoreError> {
        Ok(Self {
            run,
            tx,
            trial: prepare(
                tx,
                "INSERT INTO trial (run_id, id, position, block, trial_order, variant, load, take, validity, treatment, \
                 started_utc, span_start_ns, span_end_ns, held_start_ns, held_end_ns, planned, completed, failed, \
                 record_json, engine_json) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
            )?,
            request: prepare(
                tx,
                "INSERT INTO request VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
                 ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
            )?,
            telemetry: prepare(tx, "INSERT INTO telemetry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?,
        })
    }

    fn trial(
        &mut self,
        position: u32,
        r: &TrialRecord,
        engine: &EngineRecord,
        found: &TrialFindings,
    ) -> Result<i64, StoreError> {
        let validity = match &found.validity {
            Validity::Valid => "valid",
            Validity::Invalid { .. } => "invalid",
            Validity::Aborted { .. } => "aborted",
        };
        self.trial
            .execute(params![
                self.run,
                r.id.as_str(),
                position,
                r.block,
                r.order,
                r.variant.as_str(),
                r.load.as_str(),
                r.take,
                validity,
                word("treatment", &found.treatment)?,
                r.started_utc,
                maybe_ns("span.start_ns", r.span.map(|w| w.start_ns))?,
                maybe_ns("span.end_ns", r.span.map(|w| w.end_ns))?,
                maybe_ns("held.start_ns", r.held.map(|w| w.start_ns))?,
                maybe_ns("held.end_ns", r.held.map(|w| w.end_ns))?,
                r.counts.planned,
                r.counts.completed,
                r.counts.failures(),
                json("trial record", r)?,
                json("engine record", engine)?,
            ])
            .map_err(StoreError::sql("ingesting a trial"))?;
        Ok(self.tx.last_insert_rowid())
    }

    fn request(&mut self, trial: i64, position: u32, t: &Trace, answer_found: Option<bool>) -> Result<(), StoreError> {
        let (done, failed) = match &t.outcome {
            Outcome::Completed(c) => (Some(c), None),
            Outcome::Failed(f) => (None, Some(f)),
        };
        self.request
            .execute(params![
                trial,
                position,
                t.request_id.as_str(),
                t.prompt_id.as_str(),
                t.seq,
                t.attempt,
                t.measured,
                ns("scheduled_ns", t.scheduled_ns)?,
                maybe_ns("sent_ns", t.sent_ns)?,
                ns("connect_ns", t.connect_ns)?,
                maybe_ns("headers_ns", t.headers_ns)?,
                ns("finished_ns", t.finished_ns)?,
                t.expected_prompt_tokens.map(|n| n.get()),
                failed.map_or("completed", |f| f.reason.as_str()),
                done.map(|c| word("ttft_kind", &c.ttft_kind())).transpose()?,
                maybe_ns("ttft_ns", done.map(|c| c.first_chunk()))?,
                maybe_ns("ttft_content_ns", done.and_then(|c| c.ttft_content()))?,
                done.and_then(|c| Some(c.tpot_s()? * 1e9)),
                maybe_ns("e2e_ns", done.map(|c| c.e2e()))?,
                done.and_then(|c| c.prompt_tokens()).map(NonZeroU32::get),
                done.and_then(|c| c.completion_tokens()).map(NonZeroU32::get),
                done.map(|c| word("finish_reason", &c.finish_reason())).transpose()?,
                done.map(|c| c.text_sha256().as_str()),
                done.map(|c| encode_chunks(c.chunks())),
                failed.and_then(|f| f.http_status),
                failed.map(|f| f.detail.as_str()),
                maybe_ns("after_ns", failed.map(|f| f.after_ns))?,
                answer_found,
                done.and_then(|c| c.token_source()).map(TokenSource::as_str),
            ])
            .map_err(StoreError::sql("ingesting a request"))?;
        Ok(())
    }

    fn telemetry(&mut self, trial: i64, position: u32, s: &TelemetrySample) -> Result<(), StoreError> {
        self.telemetry
            .execute(params![
                trial,
                position,
                ns("t_ns", s.t_ns)?,
                s.engine_running,
                s.engine_waiting,
                s.kv_cache_used_ratio.map(servelab_schema::Ratio::get),
                s.host.cpu_busy_ratio.map(servelab_schema::Ratio::get),
                json("telemetry sample", s)?,
            ])
            .map_err(StoreError::sql("ingesting telemetry"))?;
        Ok(())
    }
}

/// Names a trial of a run, for messages.
pub(crate) fn trial_name(run: &RunId, trial: &TrialId) -> String {
    format!("trial {trial} of run {run}")
}
