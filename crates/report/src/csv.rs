//! `summary.csv`: the same numbers as `summary.json`, one row each, for spreadsheets.

use crate::{
    ReportError,
    number::bare,
    summary::{ComparisonDoc, Document, IntervalDoc, RowDoc, RunDoc},
};
use servelab_schema::{EngineKind, foreign::cell};

const HEAD: [&str; 25] = [
    "engine_kind",
    "run",
    "fingerprint",
    "row",
    "load",
    "variant",
    "control",
    "task",
    "bucket",
    "metric",
    "statistic",
    "value",
    "unit",
    "n",
    "n_of",
    "low",
    "high",
    "interval",
    "p_t",
    "p_adjusted",
    "p_sign_flip",
    "verdict",
    "treatment",
    "exploratory",
    "note",
];

/// The text of `summary.csv`.
pub(crate) fn summary(document: &Document) -> Result<String, ReportError> {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    let failed = |why: ::csv::Error| ReportError::Csv(why.to_string());
    out.write_record(HEAD).map_err(failed)?;
    for run in &document.runs {
        let (id, fingerprint) = (run.run.id.to_string(), run.run.fingerprint.to_string());
        let base = [kind(run).to_owned(), id, fingerprint];
        let rows = run
            .comparisons
            .iter()
            .map(|c| comparison("comparison", c))
            .chain(run.aa.iter().map(|a| comparison("a/a", a)))
            .chain(run.metrics.iter().map(|m| value("value", m)))
            .chain(run.failures.iter().map(|f| value("failures", f)));
        for row in rows {
            out.write_record(base.iter().chain(&row).map(|text| cell(text).into_owned()))
                .map_err(failed)?;
        }
    }
    let bytes = out.into_inner().map_err(|why| ReportError::Csv(why.to_string()))?;
    String::from_utf8(bytes).map_err(|why| ReportError::Csv(why.to_string()))
}

const fn kind(run: &RunDoc) -> &'static str {
    match run.engine_kind {
        EngineKind::Measured => "MEASURED",
        EngineKind::Simulated => "SIMULATED",
        EngineKind::Imported => "IMPORTED",
    }
}

fn number(value: Option<f64>) -> String {
    value.map(bare).unwrap_or_default()
}

fn interval(i: Option<&IntervalDoc>) -> [String; 3] {
    [
        number(i.map(|i| i.low)),
        number(i.map(|i| i.high)),
        i.map(|i| i.kind.clone()).unwrap_or_default(),
    ]
}

type Cells = [String; 22];

fn comparison(row: &str, c: &ComparisonDoc) -> Cells {
    let [low, high, kind] = interval(c.interval.as_ref());
    [
        row.to_owned(),
        c.load.clone(),
        c.variant.clone(),
        c.control.clone(),
        String::new(),
        String::new(),
        c.metric.to_owned(),
        "effect".to_owned(),
        number(c.effect_percent),
        c.unit.to_owned(),
        c.n.to_string(),
        c.n_of.to_owned(),
        low,
        high,
        kind,
        number(c.p_t),
        number(c.p_adjusted),
        number(c.p_sign_flip),
        c.verdict.to_owned(),
        c.treatment.map(|t| t.to_string()).unwrap_or_default(),
        c.exploratory.to_string(),
        c.note.clone(),
    ]
}

fn value(row: &str, m: &RowDoc) -> Cells {
    let [low, high, kind] = interval(m.interval.as_ref());
    let none = String::new;
    [
        row.to_owned(),
        m.load.clone(),
        m.variant.clone(),
        m.control.clone().unwrap_or_default(),
        m.task.unwrap_or_default().to_owned(),
        m.bucket.unwrap_or_default().to_owned(),
        m.metric.clone(),
        m.statistic.to_owned(),
        number(m.value),
        m.unit.to_owned(),
        m.n.to_string(),
        m.n_of.to_owned(),
        low,
        high,
        kind,
        none(),
        number(m.p_adjusted),
        none(),
        none(),
        none(),
        m.p.map(|_| "true".to_owned()).unwrap_or_default(),
        m.note.clone(),
    ]
}
