//! The tables of an embedded store.
//!
//! ```text
//! "store":     format, wrapped master key
//! "resources": place ──▶ sealed envelope
//! ```

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::migration::{Format, Step, bring_forward};
use crate::rows::{RowError, Rows, unreadable};

const RESOURCES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("resources");
const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");
/// Key of the format in table "store".
const FORMAT_KEY: &str = "format";
/// Key of the wrapped master key in table "store".
const MASTER_KEY: &str = "master-key";

/// What makes a file a store.
#[derive(Clone, Debug)]
pub struct Head {
    /// The format, as text.
    pub format: Vec<u8>,
    /// The wrapped master key.
    pub master_key: Vec<u8>,
}

/// What came of work on rows: what the database says to it, and within that what the rows say.
pub type Worked<T> = Result<Result<T, RowError>, redb::Error>;

/// The head of a store that is not empty.
pub fn head(database: &Database) -> Result<Option<Head>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(STORE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = |key: &str| -> Result<Vec<u8>, redb::Error> {
        Ok(table.get(key)?.map(|value| value.value().to_vec()).unwrap_or_default())
    };
    Ok(Some(Head { format: value(FORMAT_KEY)?, master_key: value(MASTER_KEY)? }))
}

/// Makes an empty file a store.
pub fn write_head(database: &Database, master_key: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(STORE)?;
        table.insert(FORMAT_KEY, Format::newest().text().as_bytes())?;
        table.insert(MASTER_KEY, master_key)?;
        transaction.open_table(RESOURCES)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Makes something of every row, in the order of the places.
pub fn each_row<T>(
    database: &Database,
    make: impl Fn(&[u8], &[u8]) -> Result<T, RowError>,
) -> Worked<Vec<T>> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RESOURCES)?;
    let mut all = Vec::new();
    for row in table.iter()? {
        let (place, value) = row?;
        match make(place.value(), value.value()) {
            Ok(made) => all.push(made),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(all))
}

/// A row to write, or to remove.
pub type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// Keeps all rows in one transaction, or none.
pub fn put<'a>(database: &Database, rows: impl Iterator<Item = Row<'a>>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RESOURCES)?;
        for (place, value) in rows {
            match value {
                Some(value) => table.insert(place, value).map(drop)?,
                None => table.remove(place).map(drop)?,
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Brings all rows through these steps and notes the newest format, in one transaction.
pub fn migrate(database: &Database, steps: &[Step], rows: &Rows) -> Worked<()> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RESOURCES)?;
        let mut changed = Vec::new();
        for row in table.iter()? {
            let (place, value) = row?;
            let (place, value) = (place.value(), value.value());
            match bring_forward(steps, rows, place, value) {
                Ok(Some(newer)) => changed.push((place.to_vec(), newer)),
                Ok(None) => {}
                Err(error) => return Ok(Err(unreadable(place, error))),
            }
        }
        for (old, newer) in &changed {
            table.remove(old.as_slice())?;
            table.insert(newer.place.as_slice(), newer.value.as_slice())?;
        }
        transaction.open_table(STORE)?.insert(FORMAT_KEY, Format::newest().text().as_bytes())?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

#[cfg(test)]
pub mod testing {
    //! Stores as others left them.

    use super::*;

    /// Writes what a store of the first programs has: a format, a wrapped key, rows.
    pub fn old_store(database: &Database, format: &str, master_key: &[u8], rows: &[(Vec<u8>, Vec<u8>)]) {
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(STORE).expect("a table");
            table.insert(FORMAT_KEY, format.as_bytes()).expect("written");
            table.insert(MASTER_KEY, master_key).expect("written");
            let mut table = transaction.open_table(RESOURCES).expect("a table");
            for (place, value) in rows {
                table.insert(place.as_slice(), value.as_slice()).expect("written");
            }
        }
        transaction.commit().expect("kept");
    }
}
