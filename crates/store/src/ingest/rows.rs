//! What each row holds, in the order of the columns of its table, without the key of its run or take.

use super::Row;
use crate::{
    StoreError, encode_chunks,
    flat::{finish_word, ttft_word},
    sql_value::{json, maybe_ns, ns, word},
};
use rusqlite::types::Value;
use servelab_evidence::SealedRun;
use servelab_schema::{
    Bucket, EngineRecord, Outcome, Plan, RunEnd, Task, TelemetrySample, TokenSource, Trace, TrialId, TrialRecord,
    Validity,
    findings::{Findings, TrialFindings},
};
use std::{collections::BTreeMap, num::NonZeroU32};

fn text(words: &str) -> Value {
    Value::Text(words.to_owned())
}

fn maybe_text(words: Option<&str>) -> Value {
    words.map_or(Value::Null, text)
}

fn maybe<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}

/// The run without the place of its directory.
pub(super) fn run(run: &SealedRun, plan: &Plan, findings: &Findings) -> Result<Row, StoreError> {
    let m = run.manifest();
    Ok(vec![
        text(m.run_id.as_str()),
        text(run.fingerprint().as_str()),
        text(&m.name),
        word("engine kind", &m.engine_kind)?.into(),
        m.time_scale.get().into(),
        m.method_version.into(),
        text(&m.servelab_version),
        text(&m.started.utc),
        text(&m.finished.utc),
        (m.end == RunEnd::Complete).into(),
        json("manifest", m)?.into(),
        json("plan", plan)?.into(),
        json("environment", &run.environment()?)?.into(),
        json("findings", findings)?.into(),
        json("brief", &findings.brief)?.into(),
    ])
}

pub(super) fn variants(plan: &Plan) -> Result<Vec<Row>, StoreError> {
    let row = |(position, v): (u32, &servelab_schema::PlannedVariant)| -> Result<Row, StoreError> {
        Ok(vec![
            text(v.id.as_str()),
            position.into(),
            word("variant role", &v.role)?.into(),
            maybe_text(v.control.as_ref().map(|c| c.as_str())),
            maybe_text(v.factor.as_deref()),
            text(&v.hypothesis),
        ])
    };
    (0..).zip(&plan.variants).map(row).collect()
}

pub(super) fn loads(plan: &Plan) -> Result<Vec<Row>, StoreError> {
    let row = |(position, l): (u32, &servelab_schema::NamedLoad)| -> Result<Row, StoreError> {
        Ok(vec![
            text(l.id.as_str()),
            position.into(),
            json("load", &l.load)?.into(),
        ])
    };
    (0..).zip(&plan.loads).map(row).collect()
}

/// By their names. A prompt that is measured and a filler as well is listed as measured.
pub(super) fn prompts(plan: &Plan) -> BTreeMap<&str, Row> {
    let mut rows = BTreeMap::new();
    for (set, filler) in [(&plan.prompts, false), (&plan.fillers, true)] {
        for p in &set.prompts {
            let row = || {
                vec![
                    text(p.id.as_str()),
                    text(set.id.as_str()),
                    filler.into(),
                    maybe_text(p.task.map(Task::as_str)),
                    maybe_text(p.bucket.map(Bucket::as_str)),
                    maybe(p.prompt_tokens.map(NonZeroU32::get)),
                    p.max_new_tokens.get().into(),
                ]
            };
            rows.entry(p.id.as_str()).or_insert_with(row);
        }
    }
    rows
}

pub(super) fn trial(
    position: u32,
    r: &TrialRecord,
    engine: &EngineRecord,
    found: &TrialFindings,
) -> Result<Row, StoreError> {
    let validity = match &found.validity {
        Validity::Valid => "valid",
        Validity::Invalid { .. } => "invalid",
        Validity::Aborted { .. } => "aborted",
    };
    Ok(vec![
        text(r.id.as_str()),
        position.into(),
        r.block.into(),
        r.order.into(),
        text(r.variant.as_str()),
        text(r.load.as_str()),
        r.take.into(),
        text(validity),
        word("treatment", &found.treatment)?.into(),
        text(&r.started_utc),
        maybe(maybe_ns("span.start_ns", r.span.map(|w| w.start_ns))?),
        maybe(maybe_ns("span.end_ns", r.span.map(|w| w.end_ns))?),
        maybe(maybe_ns("held.start_ns", r.held.map(|w| w.start_ns))?),
        maybe(maybe_ns("held.end_ns", r.held.map(|w| w.end_ns))?),
        r.counts.planned.into(),
        r.counts.completed.into(),
        r.counts.failures().into(),
        json("trial record", r)?.into(),
        json("engine record", engine)?.into(),
    ])
}

pub(super) fn request(position: u32, t: &Trace, answer_found: Option<bool>) -> Result<Row, StoreError> {
    let (done, failed) = match &t.outcome {
        Outcome::Completed(c) => (Some(c), None),
        Outcome::Failed(f) => (None, Some(f)),
    };
    Ok(vec![
        position.into(),
        text(t.request_id.as_str()),
        text(t.prompt_id.as_str()),
        t.seq.into(),
        t.attempt.into(),
        t.measured.into(),
        ns("scheduled_ns", t.scheduled_ns)?.into(),
        maybe(maybe_ns("sent_ns", t.sent_ns)?),
        ns("connect_ns", t.connect_ns)?.into(),
        maybe(maybe_ns("headers_ns", t.headers_ns)?),
        ns("finished_ns", t.finished_ns)?.into(),
        maybe(t.expected_prompt_tokens.map(NonZeroU32::get)),
        text(failed.map_or("completed", |f| f.reason.as_str())),
        maybe_text(done.map(|c| ttft_word(c.ttft_kind()))),
        maybe(maybe_ns("ttft_ns", done.map(|c| c.first_chunk()))?),
        maybe(maybe_ns("ttft_content_ns", done.and_then(|c| c.ttft_content()))?),
        maybe(done.and_then(|c| Some(c.tpot_s()? * 1e9))),
        maybe(maybe_ns("e2e_ns", done.map(|c| c.e2e()))?),
        maybe(done.and_then(|c| c.prompt_tokens()).map(NonZeroU32::get)),
        maybe(done.and_then(|c| c.completion_tokens()).map(NonZeroU32::get)),
        maybe_text(done.map(|c| finish_word(c.finish_reason()))),
        maybe_text(done.map(|c| c.text_sha256().as_str())),
        maybe(done.map(|c| encode_chunks(c.chunks()))),
        maybe(failed.and_then(|f| f.http_status)),
        maybe_text(failed.map(|f| f.detail.as_str())),
        maybe(maybe_ns("after_ns", failed.map(|f| f.after_ns))?),
        maybe(answer_found),
        maybe_text(done.and_then(|c| c.token_source()).map(TokenSource::as_str)),
    ])
}

pub(super) fn telemetry(position: u32, s: &TelemetrySample) -> Result<Row, StoreError> {
    Ok(vec![
        position.into(),
        ns("t_ns", s.t_ns)?.into(),
        maybe(s.engine_running),
        maybe(s.engine_waiting),
        maybe(s.kv_cache_used_ratio.map(servelab_schema::Ratio::get)),
        maybe(s.host.cpu_busy_ratio.map(servelab_schema::Ratio::get)),
        json("telemetry sample", s)?.into(),
    ])
}

pub(crate) fn finding(position: u32, row: &servelab_findings::Row) -> Result<Row, StoreError> {
    let n = i64::try_from(row.n).map_err(|_| StoreError::TooLarge {
        what: "n of a finding",
        value: row.n,
    })?;
    Ok(vec![
        position.into(),
        text(row.scope.as_str()),
        text(row.load.as_str()),
        text(row.variant.as_str()),
        maybe_text(row.control.as_deref()),
        maybe_text(row.trial.as_ref().map(TrialId::as_str)),
        maybe_text(row.task),
        maybe_text(row.bucket),
        text(&row.metric),
        text(row.statistic),
        maybe(row.value),
        text(row.unit),
        n.into(),
        text(row.n_of),
        maybe(row.interval.map(|i| i.low)),
        maybe(row.interval.map(|i| i.high)),
        maybe_text(row.interval.map(|i| i.kind)),
        maybe(row.at_least),
        maybe(row.at_most),
        maybe(row.certified_bound),
        maybe(row.with_failures),
        row.with_failures_infinite.into(),
        maybe(row.p),
        maybe(row.p_adjusted),
        maybe(row.p_sign_flip),
        maybe_text(row.verdict),
        maybe_text(row.reason),
        row.indicative.into(),
        row.primary.into(),
        text(&row.note),
    ])
}
