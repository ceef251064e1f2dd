//! The one way past the triggers that keep evidence as it is.
//!
//! The triggers are taken away, and put back as they were, inside the transaction that needs it: nobody else ever sees the file
//! without them, and a transaction that ends early brings them back with everything else.

use crate::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Does it in one transaction that may insert and delete rows of evidence.
pub(crate) fn owned<T>(
    conn: &mut Connection,
    doing: &'static str,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(StoreError::sql(doing))?;
    let guards = guards(&tx).map_err(StoreError::sql(doing))?;
    for (name, _) in &guards {
        tx.execute_batch(&format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\"")))
            .map_err(StoreError::sql(doing))?;
    }
    let done = work(&tx)?;
    for (_, sql) in &guards {
        tx.execute_batch(sql).map_err(StoreError::sql(doing))?;
    }
    tx.commit().map_err(StoreError::sql(doing))?;
    Ok(done)
}

/// Name and text of every trigger.
pub(crate) fn guards(tx: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    tx.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
