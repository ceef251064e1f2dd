//! The history of a cell: one number of it over the runs that have it, in the order of time, with the places where its level changed.
//!
//! A change is named as history and never as a verdict: the runs of a history were not interleaved, so whatever else changed between
//! them (machine, driver, neighbours, season) changed along.

use crate::{Found, Question, Store, StoreError};
use servelab_schema::EngineKind;
use servelab_stats::{ChangePoint, change_points};
use std::collections::BTreeMap;

/// What must be the same for two numbers to be one cell's at two times. The version of the engine is not in it: that is what a history
/// goes over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// Where the numbers come from: `measured`, `simulated` or `imported`.
    pub kind: String,
    /// Engine seconds per wall second.
    pub time_scale: u32,
    /// Version of the measuring method: what it changed is no change of the engine.
    pub method_version: u32,
    /// Name of the matrix.
    pub name: String,
    /// The model.
    pub model: Option<String>,
    /// Dialect of the engine.
    pub engine: Option<String>,
    /// The GPU.
    pub gpu: Option<String>,
    /// SHA-256 of the prompts.
    pub prompts_sha256: Option<String>,
    /// The variant.
    pub variant: String,
    /// The load, and what it is as JSON.
    pub load: (String, Option<String>),
    /// Scope, control, task and bucket.
    pub about: (String, Option<String>, Option<String>, Option<String>),
    /// Metric, statistic and unit.
    pub number: (String, String, String),
}

impl SeriesKey {
    fn of(found: &Found) -> Self {
        let f = found.clone();
        let kind = match f.kind {
            EngineKind::Measured => "measured",
            EngineKind::Simulated => "simulated",
            EngineKind::Imported => "imported",
        };
        Self {
            kind: kind.to_owned(),
            time_scale: f.time_scale,
            method_version: f.method_version,
            name: f.name,
            model: f.model,
            engine: f.engine,
            gpu: f.gpu,
            prompts_sha256: f.prompts_sha256,
            variant: f.variant,
            load: (f.load, f.load_json),
            about: (f.scope, f.control, f.task, f.bucket),
            number: (f.metric, f.statistic, f.unit),
        }
    }
}

/// One number of one cell over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What is the same in all of its points.
    pub key: SeriesKey,
    /// The rows that have a value, the earliest first.
    pub points: Vec<Found>,
    /// Where the level changed: the point at `at` is the first of the new level. None where the values are too few, or are not all
    /// above 0.
    pub changes: Vec<ChangePoint>,
}

impl Store {
    /// The history of every number that is asked for, in the order of what they are about. The limit of the question is not kept:
    /// half a history is none.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn history(&self, question: &Question) -> Result<Vec<Series>, StoreError> {
        let all = Question {
            limit: None,
            ..question.clone()
        };
        let mut series: BTreeMap<SeriesKey, Vec<Found>> = BTreeMap::new();
        self.query(&all, |found| {
            if found.value.is_some() && found.trial.is_none() {
                series.entry(SeriesKey::of(&found)).or_default().push(found);
            }
            Ok::<(), StoreError>(())
        })?;
        let of = |(key, mut points): (SeriesKey, Vec<Found>)| {
            // The latest come first.
            points.reverse();
            let values: Vec<f64> = points.iter().filter_map(|found| found.value).collect();
            let changes = change_points(&values);
            Series { key, points, changes }
        };
        Ok(series.into_iter().map(of).collect())
    }
}
