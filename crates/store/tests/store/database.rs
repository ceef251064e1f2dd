//! The database as a stranger sees it.
#![allow(dead_code, reason = "each test program uses a part")]

use rusqlite::{Connection, types::Value};
use std::collections::BTreeMap;

/// Takes the triggers away that keep evidence as it is: what a stranger would have to do first.
pub(crate) fn unguard(conn: &Connection) {
    let names: Vec<String> = texts(conn, "SELECT name FROM sqlite_schema WHERE type = 'trigger'");
    assert!(!names.is_empty(), "there are guards");
    for name in names {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
}

/// The tables of a database.
pub(crate) fn tables(conn: &Connection) -> Vec<String> {
    texts(
        conn,
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
    )
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut query = conn.prepare(sql).unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Every row of every table, sorted. A trial's key is a number of the file alone: it is replaced by the trial's name.
pub(crate) fn dump(conn: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut query = conn.prepare("SELECT key, run_id || '/' || id FROM trial").unwrap();
    let names = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let names: BTreeMap<i64, String> = names.map(Result::unwrap).collect();
    let of = |table: String| {
        let mut query = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = query.column_names().map(str::to_owned).collect();
        let rows = query.query_map([], |row| {
            let cells = columns.iter().enumerate().map(|(i, column)| {
                let value: Value = row.get(i).unwrap();
                match (table.as_str(), column.as_str(), &value) {
                    ("trial", "key", _) => String::new(),
                    ("request" | "telemetry", "trial", Value::Integer(key)) => names[key].clone(),
                    _ => format!("{value:?}"),
                }
            });
            Ok(cells.collect::<Vec<_>>().join("|"))
        });
        let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        rows.sort();
        (table, rows)
    };
    tables(conn).into_iter().map(of).collect()
}
