//! One sealed run into rows, in one transaction.

use crate::{
    Store, StoreError, encode_chunks,
    sql_value::{json, maybe_ns, ns, word},
};
use rusqlite::{OptionalExtension, Statement, Transaction, TransactionBehavior, params};
use servelab_evidence::SealedRun;
use servelab_findings::{answer_found, metrics::trial_metrics};
use servelab_schema::{
    Completion, EngineRecord, Outcome, Plan, PromptId, PromptSetRef, RunEnd, RunId, Sha256Hex, Slo, TelemetrySample,
    Trace, TrialId, TrialRecord, Validity,
};
use std::collections::BTreeMap;

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
    /// Writes a sealed run's rows. Doing it twice is doing it once; a run that does not go in whole does not go in.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another run of that name is stored, [`StoreError::Evidence`] where a file of the
    /// run does not read, [`StoreError::Sql`] where the database refuses.
    pub fn ingest(&mut self, run: &SealedRun) -> Result<Ingested, StoreError> {
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::sql(DOING))?;
        if let Some(stored) = stored_fingerprint(&tx, &run.manifest().run_id)? {
            return if &stored == run.fingerprint() {
                Ok(Ingested::Already)
            } else {
                let (run, given) = (run.manifest().run_id.clone(), run.fingerprint().clone());
                Err(StoreError::Conflict { run, stored, given })
            };
        }
        let plan = run.plan()?;
        insert_run(&tx, run, &plan)?;
        insert_arms(&tx, run, &plan)?;
        insert_trials(&tx, run, &plan)?;
        tx.commit().map_err(StoreError::sql(DOING))?;
        Ok(Ingested::New)
    }
}

fn stored_fingerprint(tx: &Transaction<'_>, run: &RunId) -> Result<Option<Sha256Hex>, StoreError> {
    let text: Option<String> = tx
        .query_row("SELECT fingerprint FROM run WHERE id = ?1", [run.as_str()], |row| {
            row.get(0)
        })
        .optional()
        .map_err(StoreError::sql(DOING))?;
    text.map(|text| Sha256Hex::new(text).map_err(|why| StoreError::corrupt("run.fingerprint", why)))
        .transpose()
}

fn insert_run(tx: &Transaction<'_>, run: &SealedRun, plan: &Plan) -> Result<(), StoreError> {
    let m = run.manifest();
    tx.execute(
        "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
        let (set, task, bucket) = (set.id.as_str(), p.task.as_str(), p.bucket.as_str());
        let tokens = (p.prompt_tokens.get(), p.max_new_tokens.get());
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

fn insert_trials(tx: &Transaction<'_>, run: &SealedRun, plan: &Plan) -> Result<(), StoreError> {
    let mut rows = TrialRows::new(tx, run.manifest().run_id.as_str())?;
    let prompts = plan.prompts.prompts.iter().chain(&plan.fillers.prompts);
    let known: BTreeMap<&PromptId, &str> = prompts.filter_map(|p| Some((&p.id, p.answer.as_deref()?))).collect();
    for (position, summary) in (0_u32..).zip(run.trials()) {
        let id = &summary.id;
        let record = run.trial_record(id)?;
        let key = rows.trial(position, &record, &run.engine_record(id)?)?;
        let traces = run.traces(id)?;
        for (position, trace) in (0_u32..).zip(&traces) {
            check_owner(trace, &record)?;
            let answer = known.get(&trace.prompt_id);
            let text = trace.completion().and_then(Completion::text);
            let found = text.zip(answer).and_then(|(text, answer)| answer_found(text, answer));
            rows.request(key, position, trace, found)?;
        }
        for (position, sample) in (0_u32..).zip(run.telemetry(id)?) {
            rows.telemetry(key, position, &sample)?;
        }
        rows.metrics(key, &record, &plan.slo, &traces)?;
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
    metric: Statement<'t>,
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
                 ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
            )?,
            telemetry: prepare(tx, "INSERT INTO telemetry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?,
            metric: prepare(tx, "INSERT INTO trial_metric VALUES (?1, ?2, ?3, ?4, ?5)")?,
        })
    }

    fn trial(&mut self, position: u32, r: &TrialRecord, engine: &EngineRecord) -> Result<i64, StoreError> {
        let validity = match &r.validity {
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
                word("treatment", &r.treatment)?,
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
                maybe_ns("ttft_ns", done.map(|c| c.ttft()))?,
                maybe_ns("ttft_content_ns", done.and_then(|c| c.ttft_content()))?,
                done.and_then(|c| c.tpot_ns()),
                maybe_ns("e2e_ns", done.map(|c| c.e2e()))?,
                done.map(|c| c.prompt_tokens().get()),
                done.map(|c| c.completion_tokens().get()),
                done.map(|c| word("finish_reason", &c.finish_reason())).transpose()?,
                done.map(|c| c.text_sha256().as_str()),
                done.map(|c| encode_chunks(c.chunks())),
                failed.and_then(|f| f.http_status),
                failed.map(|f| f.detail.as_str()),
                maybe_ns("after_ns", failed.map(|f| f.after_ns))?,
                answer_found,
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

    fn metrics(&mut self, trial: i64, record: &TrialRecord, slo: &Slo, traces: &[Trace]) -> Result<(), StoreError> {
        // A trial that never held its load has no metric; absent is not 0.
        let Some(held) = record.held else { return Ok(()) };
        for (name, metric) in trial_metrics(held, slo, traces).values {
            self.metric
                .execute(params![trial, name.as_str(), name.unit(), metric.value, metric.n])
                .map_err(StoreError::sql("ingesting the metrics of a trial"))?;
        }
        Ok(())
    }
}

/// Names a trial of a run, for messages.
pub(crate) fn trial_name(run: &RunId, trial: &TrialId) -> String {
    format!("trial {trial} of run {run}")
}
