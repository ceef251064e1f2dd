//! Rows back into the types of `schema`.

use crate::{
    Store, StoreError, decode_chunks,
    ingest::trial_name,
    sql_value::{from_json, from_word, to_maybe_ns, to_ns},
};
use rusqlite::{OptionalExtension, Row, params};
use servelab_schema::{
    Completion, EngineRecord, EnvironmentRecord, Failure, MetricName, Outcome, Plan, RunId, RunManifest, Sha256Hex,
    TelemetrySample, Trace, TrialRecord, V,
};
use std::num::NonZeroU32;

const DOING: &str = "reading a run";

/// One ingested run, for lists.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// SHA-256 of the manifest.
    pub fingerprint: Sha256Hex,
    /// What the run's manifest says: name, engine kind, time scale, versions, clock readings, end.
    pub manifest: RunManifest,
    /// Number of takes.
    pub trials: u32,
    /// Number of takes that count.
    pub valid_trials: u32,
}

/// One take with everything that was kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRow {
    /// Counts, gates and validity.
    pub record: TrialRecord,
    /// What was started and what it said of itself.
    pub engine: EngineRecord,
    /// The attempts, in the order they ended, without their texts: those stay in the run directory.
    pub traces: Vec<Trace>,
    /// For each attempt whether the prompt's known answer is in its text; none where no text was kept or no answer is known.
    pub answers: Vec<Option<bool>>,
    /// The telemetry, in order of time.
    pub telemetry: Vec<TelemetrySample>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunData {
    /// SHA-256 of the manifest.
    pub fingerprint: Sha256Hex,
    /// What the run's manifest says.
    pub manifest: RunManifest,
    /// The plan that was executed.
    pub plan: Plan,
    /// The machine that executed it.
    pub environment: EnvironmentRecord,
    /// The takes, in the order they were executed.
    pub trials: Vec<TrialRow>,
}

/// One metric of one trial as it was computed while ingesting.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMetric {
    /// The trial's take.
    pub trial: servelab_schema::TrialId,
    /// The metric; its unit is the metric's own.
    pub metric: MetricName,
    /// Value in the metric's unit.
    pub value: f64,
    /// Requests (or, for throughput of tokens, tokens) that it rests on.
    pub n: u32,
}

impl Store {
    /// Every ingested run, newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        let mut query = self
            .conn
            .prepare("SELECT id FROM run ORDER BY started_utc DESC, id DESC")
            .map_err(StoreError::sql("listing runs"))?;
        let ids = query
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(StoreError::sql("listing runs"))?;
        let mut runs = Vec::new();
        for id in ids {
            let id = from_word::<RunId>("run.id", id.map_err(StoreError::sql("listing runs"))?)?;
            runs.push(self.run(&id)?);
        }
        Ok(runs)
    }

    /// One run's summary.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`] with the names there are; [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn run(&self, id: &RunId) -> Result<RunSummary, StoreError> {
        let found: Option<(String, String, u32, u32)> = self
            .conn
            .query_row(
                "SELECT fingerprint, manifest_json, count(trial.key), count(trial.key) FILTER (WHERE validity = 'valid') \
                 FROM run LEFT JOIN trial ON trial.run_id = run.id WHERE run.id = ?1 GROUP BY run.id",
                [id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()
            .map_err(StoreError::sql(DOING))?;
        let (fingerprint, manifest, trials, valid_trials) = found.ok_or_else(|| self.unknown(id))?;
        Ok(RunSummary {
            fingerprint: from_word("run.fingerprint", fingerprint)?,
            manifest: from_json("run.manifest_json", &manifest)?,
            trials,
            valid_trials,
        })
    }

    fn unknown(&self, id: &RunId) -> StoreError {
        let names = || -> rusqlite::Result<Vec<String>> {
            self.conn
                .prepare("SELECT id FROM run ORDER BY id LIMIT 20")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        let known = names().unwrap_or_default().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        StoreError::UnknownRun {
            run: id.clone(),
            path: self.path.clone(),
            known,
        }
    }

    /// A whole run as it was ingested.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`], [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn load_run(&self, id: &RunId) -> Result<RunData, StoreError> {
        let summary = self.run(id)?;
        let (plan, environment): (String, String) = self
            .conn
            .query_row(
                "SELECT plan_json, environment_json FROM run WHERE id = ?1",
                [id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(StoreError::sql(DOING))?;
        let mut query = self
            .conn
            .prepare("SELECT key, record_json, engine_json FROM trial WHERE run_id = ?1 ORDER BY position")
            .map_err(StoreError::sql(DOING))?;
        let mut rows = query.query([id.as_str()]).map_err(StoreError::sql(DOING))?;
        let mut trials = Vec::new();
        while let Some(row) = rows.next().map_err(StoreError::sql(DOING))? {
            let key: i64 = row.get(0).map_err(StoreError::sql(DOING))?;
            let record: String = row.get(1).map_err(StoreError::sql(DOING))?;
            let engine: String = row.get(2).map_err(StoreError::sql(DOING))?;
            let record: TrialRecord = from_json("trial.record_json", &record)?;
            let (traces, answers) = self.traces(id, key, &record)?;
            trials.push(TrialRow {
                engine: from_json("trial.engine_json", &engine)?,
                telemetry: self.telemetry(key)?,
                traces,
                answers,
                record,
            });
        }
        Ok(RunData {
            fingerprint: summary.fingerprint,
            manifest: summary.manifest,
            plan: from_json("run.plan_json", &plan)?,
            environment: from_json("run.environment_json", &environment)?,
            trials,
        })
    }

    fn telemetry(&self, trial: i64) -> Result<Vec<TelemetrySample>, StoreError> {
        let mut query = self
            .conn
            .prepare_cached("SELECT sample_json FROM telemetry WHERE trial = ?1 ORDER BY position")
            .map_err(StoreError::sql(DOING))?;
        let rows = query
            .query_map([trial], |row| row.get::<_, String>(0))
            .map_err(StoreError::sql(DOING))?;
        rows.map(|text| from_json("telemetry.sample_json", &text.map_err(StoreError::sql(DOING))?))
            .collect()
    }

    fn traces(
        &self,
        run: &RunId,
        key: i64,
        record: &TrialRecord,
    ) -> Result<(Vec<Trace>, Vec<Option<bool>>), StoreError> {
        let mut query = self
            .conn
            .prepare_cached("SELECT * FROM request WHERE trial = ?1 ORDER BY position")
            .map_err(StoreError::sql(DOING))?;
        let mut rows = query.query([key]).map_err(StoreError::sql(DOING))?;
        let (mut traces, mut answers) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next().map_err(StoreError::sql(DOING))? {
            let columns = Columns {
                row,
                name: || format!("a request of {}", trial_name(run, &record.id)),
            };
            traces.push(columns.trace(record)?);
            answers.push(columns.get("answer_found")?);
        }
        Ok((traces, answers))
    }

    /// Metrics of a run's trials as computed while ingesting, in the order of execution.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn trial_metrics(&self, run: &RunId) -> Result<Vec<StoredMetric>, StoreError> {
        let mut query = self
            .conn
            .prepare(
                "SELECT trial.id, metric, value, n FROM trial_metric JOIN trial ON trial.key = trial_metric.trial \
                 WHERE run_id = ?1 ORDER BY position, metric",
            )
            .map_err(StoreError::sql(DOING))?;
        let mut rows = query.query(params![run.as_str()]).map_err(StoreError::sql(DOING))?;
        let mut metrics = Vec::new();
        while let Some(row) = rows.next().map_err(StoreError::sql(DOING))? {
            let columns = Columns {
                row,
                name: || format!("a metric of run {run}"),
            };
            metrics.push(StoredMetric {
                trial: from_word("trial.id", columns.get("id")?)?,
                metric: from_word("trial_metric.metric", columns.get("metric")?)?,
                value: columns.get("value")?,
                n: columns.get("n")?,
            });
        }
        Ok(metrics)
    }
}

/// A row whose columns are read by name.
struct Columns<'r, N> {
    row: &'r Row<'r>,
    name: N,
}

impl<N: Fn() -> String> Columns<'_, N> {
    fn get<T: rusqlite::types::FromSql>(&self, column: &str) -> Result<T, StoreError> {
        self.row.get(column).map_err(|why| self.bad(column, why))
    }

    fn bad(&self, column: &str, why: impl ToString) -> StoreError {
        StoreError::corrupt(format!("column {column} of {}", (self.name)()), why)
    }

    fn positive(&self, column: &str) -> Result<NonZeroU32, StoreError> {
        NonZeroU32::new(self.get(column)?).ok_or_else(|| self.bad(column, "it is 0"))
    }

    fn trace(&self, record: &TrialRecord) -> Result<Trace, StoreError> {
        let outcome: String = self.get("outcome")?;
        let outcome = if outcome == "completed" {
            Outcome::Completed(self.completion()?)
        } else {
            Outcome::Failed(Failure {
                reason: from_word("request.outcome", outcome)?,
                http_status: self.get("http_status")?,
                detail: self.get("detail")?,
                after_ns: to_ns("request.failed_after_ns", self.get("failed_after_ns")?)?,
            })
        };
        let expected: Option<u32> = self.get("expected_prompt_tokens")?;
        Ok(Trace {
            v: V,
            request_id: from_word("request.request_id", self.get("request_id")?)?,
            prompt_id: from_word("request.prompt_id", self.get("prompt_id")?)?,
            block: record.block,
            variant: record.variant.clone(),
            seq: self.get("seq")?,
            attempt: self.get("attempt")?,
            measured: self.get("measured")?,
            scheduled_ns: to_ns("request.scheduled_ns", self.get("scheduled_ns")?)?,
            sent_ns: to_maybe_ns("request.sent_ns", self.get("sent_ns")?)?,
            connect_ns: to_ns("request.connect_ns", self.get("connect_ns")?)?,
            headers_ns: to_maybe_ns("request.headers_ns", self.get("headers_ns")?)?,
            finished_ns: to_ns("request.finished_ns", self.get("finished_ns")?)?,
            expected_prompt_tokens: expected.and_then(NonZeroU32::new),
            outcome,
        })
    }

    fn completion(&self) -> Result<Completion, StoreError> {
        let blob: Vec<u8> = self.get("chunks")?;
        Completion::new(
            from_word("request.ttft_kind", self.get("ttft_kind")?)?,
            to_ns("request.ttft_ns", self.get("ttft_ns")?)?,
            to_maybe_ns("request.ttft_content_ns", self.get("ttft_content_ns")?)?,
            decode_chunks(&blob).map_err(|why| self.bad("chunks", why))?,
            self.positive("prompt_tokens")?,
            self.positive("completion_tokens")?,
            from_word("request.finish_reason", self.get("finish_reason")?)?,
            from_word("request.text_sha256", self.get("text_sha256")?)?,
        )
        .map_err(|why| self.bad("chunks", why))
    }
}
