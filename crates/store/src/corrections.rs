//! Corrections: what of the evidence no longer counts, as the files of `runs/corrections/` say.

use crate::{
    Store, StoreError,
    owned::owned,
    sql_value::{from_json, json},
};
use rusqlite::{Connection, params};
use servelab_schema::{Correction, LoadId, RunId, Sha256Hex, Superseded, TrialId, VariantId};

const DOING: &str = "reading corrections in";

/// What a finding is about, as far as a correction asks.
#[derive(Debug, Clone, Copy)]
pub struct About<'f> {
    /// Name and fingerprint of its run.
    pub run: (&'f str, &'f str),
    /// Its load.
    pub load: &'f str,
    /// Its variant.
    pub variant: &'f str,
    /// What it is compared with, where it is a comparison.
    pub control: Option<&'f str>,
    /// Its take, where it is of one.
    pub trial: Option<&'f str>,
}

/// Every correction of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Corrections(Vec<Correction>);

impl Corrections {
    /// These.
    #[must_use]
    pub const fn new(all: Vec<Correction>) -> Self {
        Self(all)
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Correction> {
        self.0.iter()
    }

    /// True where nothing was superseded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those about a run.
    pub fn of_run<'c>(&'c self, fingerprint: &'c Sha256Hex) -> impl Iterator<Item = &'c Correction> {
        self.0.iter().filter(move |c| &c.run.fingerprint == fingerprint)
    }

    /// The first correction that names a run as what counts in place of another; whoever removes it would leave nothing.
    #[must_use]
    pub fn replaced_by(&self, run: &RunId) -> Option<&Correction> {
        self.0
            .iter()
            .find(|c| c.by.as_ref().is_some_and(|by| &by.run_id == run))
    }

    /// The latest correction that supersedes a finding; none where it counts.
    #[must_use]
    pub fn of(&self, found: About<'_>) -> Option<&Correction> {
        self.0.iter().rev().find(|c| {
            let (id, fingerprint) = found.run;
            c.run.run_id.as_str() == id && c.run.fingerprint.as_str() == fingerprint && covers(&c.superseded, found)
        })
    }
}

fn covers(superseded: &Superseded, found: About<'_>) -> bool {
    match superseded {
        Superseded::Run => true,
        Superseded::Cell { variant, load } => is_of_cell(found, variant, load),
        Superseded::Trial { id, variant, load } => match found.trial {
            Some(trial) => is_trial(trial, id),
            None => is_of_cell(found, variant, load),
        },
    }
}

fn is_trial(trial: &str, id: &TrialId) -> bool {
    trial == id.as_str()
}

/// What is said of a variant under a load, and what is compared with it: its name may be one of several in the control's.
fn is_of_cell(found: About<'_>, variant: &VariantId, load: &LoadId) -> bool {
    let is_named = |control: &str| {
        let mut words = control.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
        words.any(|word| word == variant.as_str())
    };
    found.load == load.as_str() && (found.variant == variant.as_str() || found.control.is_some_and(is_named))
}

impl Store {
    /// Makes the corrections of the database those of the files: the files are the truth, the database holds a copy. Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// [`StoreError::Sql`] where the database refuses.
    pub fn set_corrections(&mut self, files: &[Correction]) -> Result<bool, StoreError> {
        if self.corrections()?.0 == files {
            return Ok(false);
        }
        owned(&mut self.conn, DOING, |tx| {
            let sql = StoreError::sql;
            tx.execute("DELETE FROM correction", []).map_err(sql(DOING))?;
            for correction in files {
                tx.execute(
                    "INSERT INTO correction VALUES (?1, ?2, ?3, ?4)",
                    params![
                        correction.number.get(),
                        correction.run.run_id.as_str(),
                        correction.run.fingerprint.as_str(),
                        json("correction", correction)?,
                    ],
                )
                .map_err(sql(DOING))?;
            }
            Ok(true)
        })
    }

    /// Every correction that was read in.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`].
    pub fn corrections(&self) -> Result<Corrections, StoreError> {
        stored(&self.conn).map(Corrections)
    }
}

fn stored(conn: &Connection) -> Result<Vec<Correction>, StoreError> {
    let mut query = conn
        .prepare_cached("SELECT correction_json FROM correction ORDER BY number")
        .map_err(StoreError::sql(DOING))?;
    let rows = query
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(StoreError::sql(DOING))?;
    rows.map(|text| from_json("correction.correction_json", &text.map_err(StoreError::sql(DOING))?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    fn correction(superseded: Superseded) -> Corrections {
        Corrections::new(vec![Correction {
            superseded,
            ..examples::correction()
        }])
    }

    fn cell(variant: &str) -> (VariantId, LoadId) {
        (VariantId::new(variant).unwrap(), LoadId::new("c8").unwrap())
    }

    #[test]
    fn what_rests_on_what_was_wrong_is_superseded_and_nothing_else_is() {
        let example = examples::correction().run;
        let run = (example.run_id.as_str(), example.fingerprint.as_str());
        let about = |variant, control, trial| About {
            run,
            load: "c8",
            variant,
            control,
            trial,
        };
        let c2 = about("C2", None, None);
        let against = about("C2", Some("C1 and C1b"), None);
        let take = about("C1", None, Some("b01-01-C1-c8-t1"));
        let other_take = about("C1", None, Some("b02-01-C1-c8-t1"));
        let check = |superseded: Superseded, expected: [bool; 4]| {
            let corrections = correction(superseded.clone());
            let found = [c2, against, take, other_take].map(|f| corrections.of(f).is_some());
            assert_eq!(found, expected, "{superseded}");
        };
        check(Superseded::Run, [true; 4]);
        let (variant, load) = cell("C1");
        let id = TrialId::new("b01-01-C1-c8-t1").unwrap();
        let trial = Superseded::Trial {
            id,
            variant: variant.clone(),
            load: load.clone(),
        };
        check(Superseded::Cell { variant, load }, [false, true, true, true]);
        check(trial, [false, true, true, false]);
        let (variant, load) = cell("C2");
        check(Superseded::Cell { variant, load }, [true, true, false, false]);
        let other_load = About { load: "c16", ..c2 };
        let (variant, load) = cell("C2");
        assert!(correction(Superseded::Cell { variant, load }).of(other_load).is_none());
        // Another run of that name is another run.
        let other_run = About {
            run: (run.0, "0000"),
            ..c2
        };
        assert!(correction(Superseded::Run).of(other_run).is_none());
    }
}
