//! Rows back into the types of `schema`.

use crate::{
    Store, StoreError, decode_chunks,
    sql_value::{from_json, from_word, to_maybe_ns, to_ns},
};
use rusqlite::{OptionalExtension, Row};
use servelab_findings::{self as findings, Prompts, Trial, evaluate};
use servelab_schema::{
    Completion, EngineKind, EngineRecord, EnvironmentRecord, Failure, Outcome, Plan, RunId, RunManifest, Sha256Hex,
    TokenCounts, TokenSource, Trace, TrialRecord, V,
    findings::{Brief, Findings},
};
use std::{num::NonZeroU32, path::PathBuf};

const DOING: &str = "reading a run";

/// Answered by the index `run_list` alone: no row of `run`, which holds whole documents, is touched.
const LIST: &str = "SELECT id, fingerprint, name, engine_kind, started_utc, complete, dir, brief_json FROM run \
                    ORDER BY started_utc DESC, id DESC";

/// One ingested run, for lists.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Name of the run.
    pub id: RunId,
    /// SHA-256 of the manifest.
    pub fingerprint: Sha256Hex,
    /// Name of the matrix.
    pub name: String,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started_utc: String,
    /// False where it was stopped before its last trial.
    pub complete: bool,
    /// Where its directory was when it was read in.
    pub dir: PathBuf,
    /// The run in a line.
    pub brief: Brief,
}

/// One take: its facts. What they amount to is in the run's findings.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeRow {
    /// What happened.
    pub record: TrialRecord,
    /// What was started and what it said of itself.
    pub engine: EngineRecord,
}

/// A whole run without its traces and telemetry.
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
    /// Everything the run says.
    pub findings: Findings,
    /// The takes, in the order of the findings.
    pub takes: Vec<TakeRow>,
}

impl Store {
    /// Every ingested run, newest first. No trace, plan or findings are read.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        let doing = "listing runs";
        let mut query = self.conn.prepare(LIST).map_err(StoreError::sql(doing))?;
        let mut rows = query.query([]).map_err(StoreError::sql(doing))?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
            let columns = Columns {
                row,
                name: || "a run".to_owned(),
            };
            let dir: String = columns.get("dir")?;
            let brief: String = columns.get("brief_json")?;
            runs.push(RunSummary {
                id: from_word("run.id", columns.get("id")?)?,
                fingerprint: from_word("run.fingerprint", columns.get("fingerprint")?)?,
                name: columns.get("name")?,
                engine_kind: from_word("run.engine_kind", columns.get("engine_kind")?)?,
                started_utc: columns.get("started_utc")?,
                complete: columns.get("complete")?,
                dir: PathBuf::from(dir),
                brief: from_json("run.brief_json", &brief)?,
            });
        }
        Ok(runs)
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

    /// A whole run as it was ingested, without its traces and telemetry.
    ///
    /// # Errors
    /// [`StoreError::UnknownRun`], [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn load_run(&self, id: &RunId) -> Result<RunData, StoreError> {
        let found: Option<[String; 5]> = self
            .conn
            .query_row(
                "SELECT fingerprint, manifest_json, plan_json, environment_json, findings_json FROM run WHERE id = ?1",
                [id.as_str()],
                |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]),
            )
            .optional()
            .map_err(StoreError::sql(DOING))?;
        let [fingerprint, manifest, plan, environment, findings] = found.ok_or_else(|| self.unknown(id))?;
        let takes = self.takes(id)?;
        Ok(RunData {
            fingerprint: from_word("run.fingerprint", fingerprint)?,
            manifest: from_json("run.manifest_json", &manifest)?,
            plan: from_json("run.plan_json", &plan)?,
            environment: from_json("run.environment_json", &environment)?,
            findings: from_json("run.findings_json", &findings)?,
            takes: takes.into_iter().map(|(_, take)| take).collect(),
        })
    }

    fn takes(&self, id: &RunId) -> Result<Vec<(i64, TakeRow)>, StoreError> {
        let mut query = self
            .conn
            .prepare("SELECT key, record_json, engine_json FROM trial WHERE run_id = ?1 ORDER BY position")
            .map_err(StoreError::sql(DOING))?;
        let mut rows = query.query([id.as_str()]).map_err(StoreError::sql(DOING))?;
        let mut takes = Vec::new();
        while let Some(row) = rows.next().map_err(StoreError::sql(DOING))? {
            let columns = Columns {
                row,
                name: || format!("a trial of run {id}"),
            };
            let (record, engine): (String, String) = (columns.get("record_json")?, columns.get("engine_json")?);
            let take = TakeRow {
                record: from_json("trial.record_json", &record)?,
                engine: from_json("trial.engine_json", &engine)?,
            };
            takes.push((columns.get("key")?, take));
        }
        Ok(takes)
    }

    /// Decides again what a run says, from its stored requests and telemetry: the same bytes as at its seal.
    ///
    /// # Errors
    /// As [`load_run`](Self::load_run).
    pub fn evaluate_again(&self, id: &RunId) -> Result<Findings, StoreError> {
        let run = self.load_run(id)?;
        let prompts = Prompts::of(&run.plan);
        let mut trials = Vec::new();
        for (key, take) in self.takes(id)? {
            trials.push(self.reduce(&run, &prompts, (key, take))?);
        }
        let identity = (&run.manifest.run_id, &run.manifest.end);
        Ok(evaluate(&run.plan, &run.environment, identity, trials))
    }

    /// One take, from its stored rows: the attempts in the order they ended, without their texts, each with whether its known
    /// answer was found.
    fn reduce(&self, run: &RunData, prompts: &Prompts<'_>, (key, take): (i64, TakeRow)) -> Result<Trial, StoreError> {
        let prepare = |sql| self.conn.prepare_cached(sql).map_err(StoreError::sql(DOING));
        let mut samples = prepare("SELECT sample_json FROM telemetry WHERE trial = ?1 ORDER BY position")?;
        let samples = samples
            .query_map([key], |row| row.get::<_, String>(0))
            .map_err(StoreError::sql(DOING))?
            .map(|text| from_json("telemetry.sample_json", &text.map_err(StoreError::sql(DOING))?));
        let record = take.record.clone();
        let id = &run.manifest.run_id;
        let request = |row: &Row<'_>| {
            let columns = Columns {
                row,
                name: || format!("a request of trial {} of run {id}", record.id),
            };
            Ok::<_, StoreError>((columns.trace(&record)?, columns.get("answer_found")?))
        };
        let mut requests = prepare("SELECT * FROM request WHERE trial = ?1 ORDER BY position")?;
        let requests = requests
            .query_map([key], |row| Ok(request(row)))
            .map_err(StoreError::sql(DOING))?
            .map(|row| row.map_err(StoreError::sql(DOING))?);
        let of = (&run.plan, &run.environment);
        findings::reduce(prompts, of, (take.record, take.engine), samples, requests)
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

    /// A count, where there is one.
    fn tokens(&self, column: &str) -> Result<Option<NonZeroU32>, StoreError> {
        let count: Option<u32> = self.get(column)?;
        let checked = |n| NonZeroU32::new(n).ok_or_else(|| self.bad(column, "it is 0"));
        count.map(checked).transpose()
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
            TokenCounts {
                prompt: self.tokens("prompt_tokens")?,
                completion: self.tokens("completion_tokens")?,
                source: match self.get::<Option<String>>("token_source")? {
                    Some(word) => from_word("request.token_source", word)?,
                    None => TokenSource::default(),
                },
            },
            from_word("request.finish_reason", self.get("finish_reason")?)?,
            from_word("request.text_sha256", self.get("text_sha256")?)?,
        )
        .map_err(|why| self.bad("chunks", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_one_index_and_no_row() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("servelab.db")).unwrap();
        let mut query = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {LIST}")).unwrap();
        let steps = query.query_map([], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert_eq!(steps, ["SCAN run USING COVERING INDEX run_list"]);
    }
}
