//! Findings of all runs, one number a row, chosen by whatever they are about.
//!
//! The runs that are asked for are walked through from the latest on, by an index that holds all that is asked of a run; of each the
//! rows that are asked for, by an index too. Nothing is read beyond what is answered and counted.

mod sql;

use crate::{
    Store, StoreError,
    corrections::{About, Corrections},
    sql_value::from_word,
};
use rusqlite::{Row, params_from_iter};
use servelab_findings::Scope;
use servelab_schema::{EngineKind, LoadId, RunId, Sha256Hex, VariantId};

const DOING: &str = "asking for findings";

/// What is asked for. Several words of one kind mean any of them, several kinds mean all of them; nothing of a kind means everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// Names of runs.
    pub runs: Vec<RunId>,
    /// Where numbers come from.
    pub kinds: Vec<EngineKind>,
    /// Parts of the names of models, in whatever case.
    pub models: Vec<String>,
    /// Dialects of engines.
    pub engines: Vec<String>,
    /// Versions of engines; `0.32` means `0.32.1` too.
    pub engine_versions: Vec<String>,
    /// Parts of the names of GPUs, in whatever case.
    pub gpus: Vec<String>,
    /// Variants.
    pub variants: Vec<VariantId>,
    /// Factors of variants.
    pub factors: Vec<String>,
    /// Loads.
    pub loads: Vec<LoadId>,
    /// Metrics, or gates.
    pub metrics: Vec<String>,
    /// Statistics of them.
    pub statistics: Vec<String>,
    /// What rows are about.
    pub scopes: Vec<Scope>,
    /// Words of verdicts.
    pub verdicts: Vec<String>,
    /// Runs that began then or later: an RFC 3339 date or moment in UTC, or its beginning.
    pub since: Option<String>,
    /// Runs that began then or earlier; the whole day of a date.
    pub until: Option<String>,
    /// True for the numbers that a run is first asked for only: mean output throughput, and the medians of TTFT, TPOT and E2E.
    pub headline: bool,
    /// True for single tasks and buckets too.
    pub groups: bool,
    /// True for what was superseded too.
    pub superseded: bool,
    /// How many rows are wanted; all where there is none.
    pub limit: Option<u64>,
}

/// One number, with what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Name of the run.
    pub run: String,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// Its wall-clock start, RFC 3339 in UTC.
    pub started_utc: String,
    /// Name of its matrix.
    pub name: String,
    /// Where the number comes from.
    pub kind: EngineKind,
    /// Engine seconds per wall second.
    pub time_scale: u32,
    /// Version of the measuring method.
    pub method_version: u32,
    /// The model.
    pub model: Option<String>,
    /// Dialect of the engine.
    pub engine: Option<String>,
    /// Its version, as planned.
    pub engine_version: Option<String>,
    /// The GPU.
    pub gpu: Option<String>,
    /// SHA-256 of the prompts.
    pub prompts_sha256: Option<String>,
    /// The factor of the variant.
    pub factor: Option<String>,
    /// What the row is about.
    pub scope: String,
    /// The load.
    pub load: String,
    /// What that load is, as JSON.
    pub load_json: Option<String>,
    /// The variant.
    pub variant: String,
    /// What it is compared with.
    pub control: Option<String>,
    /// The take.
    pub trial: Option<String>,
    /// The task, where it is of one.
    pub task: Option<String>,
    /// The bucket, where it is of one.
    pub bucket: Option<String>,
    /// What was measured.
    pub metric: String,
    /// What of it.
    pub statistic: String,
    /// The number; none where nothing certifies it or there is nothing to compare.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// What the interval is.
    pub interval: Option<String>,
    /// What the number rests on.
    pub n: i64,
    /// Of what.
    pub n_of: String,
    /// p after correction.
    pub p_adjusted: Option<f64>,
    /// The verdict's word.
    pub verdict: Option<String>,
    /// What it rests on.
    pub reason: Option<String>,
    /// True where the word is only a hint.
    pub indicative: bool,
    /// What else must be known.
    pub note: String,
    /// Number of the correction that superseded it.
    pub superseded_by: Option<u32>,
}

/// What was left out of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Rows beyond the limit that were looked at.
    pub more: u64,
    /// True where there may be still more: nobody looked.
    pub at_least: bool,
    /// Rows that were superseded.
    pub superseded: u64,
}

/// So many rows beyond the limit are counted.
const COUNTED: u64 = 1_000;

impl Store {
    /// Hands over each row that is asked for, those of the latest run first; says what was left out.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`]; what `each` refuses with.
    pub fn query<E: From<StoreError>>(
        &self,
        question: &Question,
        mut each: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<LeftOut, E> {
        let corrections = self.corrections()?;
        let (sql, words) = sql::of(question);
        let mut query = self.conn.prepare(&sql).map_err(StoreError::sql(DOING))?;
        let mut rows = query.query(params_from_iter(words)).map_err(StoreError::sql(DOING))?;
        let mut left_out = LeftOut::default();
        let mut given = 0_u64;
        while let Some(row) = rows.next().map_err(StoreError::sql(DOING))? {
            let superseded = superseded(row, &corrections).map_err(corrupt)?;
            if superseded.is_some() && !question.superseded {
                left_out.superseded += 1;
            } else if question.limit.is_some_and(|limit| given >= limit) {
                left_out.more += 1;
                if left_out.more >= COUNTED {
                    left_out.at_least = true;
                    break;
                }
            } else {
                given += 1;
                each(found(row, superseded)?)?;
            }
        }
        Ok(left_out)
    }
}

fn corrupt(why: rusqlite::Error) -> StoreError {
    StoreError::corrupt("a finding", why)
}

/// The correction that supersedes a row.
fn superseded(row: &Row<'_>, corrections: &Corrections) -> rusqlite::Result<Option<u32>> {
    if corrections.is_empty() {
        return Ok(None);
    }
    let text = |column: &str| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let maybe = |column: &str| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
    let about = About {
        run: (text("id")?, text("fingerprint")?),
        load: text("load")?,
        variant: text("variant")?,
        control: maybe("control")?,
        trial: maybe("trial")?,
    };
    Ok(corrections.of(about).map(|c| c.number.get()))
}

fn found(row: &Row<'_>, superseded_by: Option<u32>) -> Result<Found, StoreError> {
    let kind: String = row.get("engine_kind").map_err(corrupt)?;
    let fingerprint: String = row.get("fingerprint").map_err(corrupt)?;
    let (kind, fingerprint) = (
        from_word("run.engine_kind", kind)?,
        from_word("run.fingerprint", fingerprint)?,
    );
    let read = || -> rusqlite::Result<Found> {
        Ok(Found {
            run: row.get("id")?,
            fingerprint,
            started_utc: row.get("started_utc")?,
            name: row.get("name")?,
            kind,
            time_scale: row.get("time_scale")?,
            method_version: row.get("method_version")?,
            model: row.get("model")?,
            engine: row.get("engine")?,
            engine_version: row.get("engine_version")?,
            gpu: row.get("gpu")?,
            prompts_sha256: row.get("prompts_sha256")?,
            factor: row.get("factor")?,
            scope: row.get("scope")?,
            load: row.get("load")?,
            load_json: row.get("load_json")?,
            variant: row.get("variant")?,
            control: row.get("control")?,
            trial: row.get("trial")?,
            task: row.get("task")?,
            bucket: row.get("bucket")?,
            metric: row.get("metric")?,
            statistic: row.get("statistic")?,
            value: row.get("value")?,
            unit: row.get("unit")?,
            low: row.get("low")?,
            high: row.get("high")?,
            interval: row.get("interval")?,
            n: row.get("n")?,
            n_of: row.get("n_of")?,
            p_adjusted: row.get("p_adjusted")?,
            verdict: row.get("verdict")?,
            reason: row.get("reason")?,
            indicative: row.get("indicative")?,
            note: row.get("note")?,
            superseded_by,
        })
    };
    read().map_err(corrupt)
}
