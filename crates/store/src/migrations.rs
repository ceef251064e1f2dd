//! The tables, as ordered steps. `user_version` counts the steps a file has had; each step is one transaction.

use crate::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// "svlb": marks the file as servelab's.
const APPLICATION_ID: i32 = 0x7376_6c62;

/// Steps in order. A step that was released is never edited; a change is a new step.
const STEPS: &[&str] = &[
    include_str!("sql/001_runs.sql"),
    include_str!("sql/002_answers.sql"),
    include_str!("sql/003_findings.sql"),
    include_str!("sql/004_token_source.sql"),
    include_str!("sql/005_made_prompts.sql"),
    include_str!("sql/006_evidence_stays.sql"),
];

/// Refuses a file that another program made, before anything in it is changed.
pub(crate) fn check_owner(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let open = StoreError::opening(path);
    // Both from one moment: another process may be making the file.
    let conn = conn.unchecked_transaction().map_err(&open)?;
    let id: i32 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(&open)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&open)?;
    let ours = id == APPLICATION_ID || (id == 0 && tables == 0);
    if ours {
        Ok(())
    } else {
        Err(StoreError::NotOurs { path: path.to_owned() })
    }
}

fn version(conn: &Connection) -> Result<u32, StoreError> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(StoreError::sql("reading user_version"))
}

/// Takes the steps that the file has not had.
pub(crate) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    let found = version(conn)?;
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (step, number) in STEPS.iter().zip(1_u32..) {
        if version(conn)? >= number {
            continue;
        }
        let doing = "bringing the tables up to date";
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::sql(doing))?;
        // Another process may have taken the step while this one waited for the lock.
        if version(&tx)? < number {
            tx.execute_batch(step).map_err(StoreError::sql(doing))?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)
                .map_err(StoreError::sql(doing))?;
            tx.pragma_update(None, "user_version", number)
                .map_err(StoreError::sql(doing))?;
        }
        tx.commit().map_err(StoreError::sql(doing))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_every_step_and_a_second_start_changes_nothing() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, Path::new("x")).unwrap();
        assert_eq!(usize::try_from(version(&conn).unwrap()).unwrap(), STEPS.len());
        migrate(&mut conn, Path::new("x")).unwrap();
        check_owner(&conn, Path::new("x")).unwrap();
    }

    #[test]
    fn rows_of_the_first_step_live_through_the_second() {
        let conn = Connection::open_in_memory().unwrap();
        let rows = "INSERT INTO run VALUES ('r','f','n','simulated',1,1,'0','a','b',1,'{}','{}','{}');
            INSERT INTO variant VALUES ('r','C1',0,'baseline',NULL,NULL,'h');
            INSERT INTO load VALUES ('r','c8',0,'{}');
            INSERT INTO trial (key,run_id,id,position,block,trial_order,variant,load,take,validity,treatment,started_utc,\
            planned,completed,failed,record_json,engine_json)
            VALUES (1,'r','t',0,1,1,'C1','c8',1,'valid','CONFIRMED','a',1,1,0,'{}','{}');
            INSERT INTO request (trial,position,request_id,prompt_id,seq,attempt,measured,scheduled_ns,connect_ns,\
            finished_ns,outcome,e2e_ns) VALUES (1,0,'q','p',0,1,1,0,0,5,'completed',5);";
        conn.execute_batch(STEPS[0]).unwrap();
        conn.execute_batch(rows).unwrap();
        conn.execute_batch(STEPS[1]).unwrap();
        let found: (i64, Option<bool>) = conn
            .query_row("SELECT e2e_ns, answer_found FROM request", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(found, (5, None));
    }

    #[test]
    fn a_newer_file_is_refused_by_number() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "user_version", 999).unwrap();
        let err = migrate(&mut conn, Path::new("x.db")).unwrap_err();
        assert!(err.to_string().contains("version 999"), "{err}");
    }

    #[test]
    fn another_programs_file_is_left_alone() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(
            check_owner(&conn, Path::new("x")),
            Err(StoreError::NotOurs { .. })
        ));
    }

    #[test]
    fn the_step_is_undone_where_it_fails() {
        let mut conn = Connection::open_in_memory().unwrap();
        // A table in the way makes the step fail after its first statements.
        conn.execute_batch("CREATE TABLE trial_metric (x)").unwrap();
        assert!(migrate(&mut conn, Path::new("x")).is_err());
        assert_eq!(version(&conn).unwrap(), 0);
        let runs: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'run'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(runs, 0);
    }
}
