//! SQLite: a file that is looked at twice a second.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};
use tokio::time::{Instant, sleep};

use super::database::File;
use super::error::SqlError;
use super::rows::Row;
use super::table::{Columns, Dialect, Table};
use super::{Readings, in_time};
use crate::discovery::found::Report;

/// How often the file's counter of changes is looked at. It costs one read of a page in the page cache.
const LOOK: Duration = Duration::from_millis(500);

/// Looks before it reads, so that no change falls between the two.
pub(super) async fn follow<F: FnMut(Report)>(
    file: &File,
    table: &Table,
    readings: &mut Readings<F>,
) -> Result<Infallible, SqlError> {
    let identity = identity(file)?;
    let options = file
        .options
        .clone()
        .read_only(true)
        .create_if_missing(false);
    let mut connection = in_time(&file.shown, options.connect()).await?;
    loop {
        let version = in_time(&file.shown, version(&mut connection)).await?;
        let columns = columns(&mut connection, table, &file.shown).await?;
        let rows = in_time(&file.shown, rows(&mut connection, table, &columns)).await?;
        let good_for = readings.take(rows).await;
        let read = Instant::now();
        loop {
            sleep(LOOK).await;
            if self::identity(file)? != identity {
                return Err(replaced(file));
            }
            let now = in_time(&file.shown, self::version(&mut connection)).await?;
            if now != version || read.elapsed() >= good_for {
                break;
            }
        }
    }
}

fn replaced(file: &File) -> SqlError {
    SqlError::Database {
        database: file.shown.clone(),
        why: "another file has taken its place".to_owned(),
    }
}

/// Which file the path leads to now: an open connection would go on reading one that was renamed or removed.
///
/// Blocks for a look into the kernel's cache; a database that others write is on no slow disk.
pub(super) fn identity(file: &File) -> Result<(u64, u64), SqlError> {
    let path: &Path = file.options.get_filename();
    let metadata = std::fs::metadata(path).map_err(|_| SqlError::NoFile(file.shown.clone()))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Changes when another connection has committed: <https://www.sqlite.org/pragma.html#pragma_data_version>.
async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
}

/// What the catalogue says of the table.
pub(super) async fn columns(
    connection: &mut SqliteConnection,
    table: &Table,
    database: &str,
) -> Result<Columns, SqlError> {
    let listed = names(connection, table.name(), table.schema());
    table.columns(&in_time(database, listed).await?, Dialect::Sqlite)
}

/// The columns of a table; none if there is no such table.
pub(super) async fn names(
    connection: &mut SqliteConnection,
    table: &str,
    schema: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info(?1, ?2)")
        .bind(table)
        .bind(schema)
        .fetch_all(connection)
        .await
}

async fn rows(
    connection: &mut SqliteConnection,
    table: &Table,
    columns: &Columns,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(table.select(columns, Dialect::Sqlite)))
        .persistent(false)
        .fetch_all(connection)
        .await?;
    rows.iter().map(row).collect()
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        address: text(row, 0)?,
        name: text(row, 1)?,
        weight: text(row, 2)?,
        enabled: text(row, 3)?,
    })
}

/// SQLite lets any bytes be text; what is not UTF-8 becomes an invalid row, not a failure of the whole table.
fn text(row: &SqliteRow, column: usize) -> Result<Option<String>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
