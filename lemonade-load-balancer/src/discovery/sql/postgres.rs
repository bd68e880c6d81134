//! PostgreSQL: told of changes by NOTIFY, and looking now and then besides.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::{Acquire, AssertSqlSafe, ConnectOptions, Connection, Row as _};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::database::Server;
use super::error::SqlError;
use super::rows::Row;
use super::table::{Columns, Dialect, Table};
use super::{PATIENCE, Readings, in_time};
use crate::discovery::found::Report;

/// Where the trigger of our migrations notifies.
const CHANNEL: &str = "lemonade_workers";

/// After a notification, so that a burst of statements is one reading.
const SETTLE: Duration = Duration::from_millis(20);

/// Reads after LISTEN has begun, so that no change falls between the two.
pub(super) async fn follow<F: FnMut(Report)>(
    server: &Server,
    table: &Table,
    readings: &mut Readings<F>,
) -> Result<Infallible, SqlError> {
    let mut listener = listen(server).await?;
    loop {
        let connection = in_time(&server.shown, listener.acquire()).await?;
        let columns = columns(connection, table, &server.shown).await?;
        let rows = in_time(&server.shown, rows(connection, table, &columns)).await?;
        let good_for = readings.take(rows).await;
        changed(&mut listener, good_for, &server.shown).await?;
    }
}

/// One connection, for notifications and for reading.
///
/// Where LISTEN is refused, on a standby for one, the connection still reads.
async fn listen(server: &Server) -> Result<PgListener, SqlError> {
    // The pool below waits for a server that refuses connections and forgets why; this one says it at once.
    let first = in_time(&server.shown, connect(server)).await?;
    first.close_hard().await.ok();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(server.options.clone());
    let mut listener = in_time(&server.shown, PgListener::connect_with(&pool)).await?;
    listener.ignore_pool_close_event(true);
    // A lost connection is a failure to report, not one to hide.
    listener.eager_reconnect(false);
    match in_time(&server.shown, listener.listen(CHANNEL)).await {
        Err(error @ SqlError::Database { .. }) => {
            info!(%error, "changes of the workers are seen by polling only");
        }
        other => other?,
    }
    Ok(listener)
}

/// Returns when the table may have changed or `good_for` is over; fails as soon as the connection is lost.
async fn changed(
    listener: &mut PgListener,
    good_for: Duration,
    database: &str,
) -> Result<(), SqlError> {
    let Ok(notified) = timeout(good_for, listener.try_recv()).await else {
        return Ok(());
    };
    let notified = notified.map_err(|error| SqlError::database(database, &error))?;
    if notified.is_none() {
        return Err(SqlError::Database {
            database: database.to_owned(),
            why: "the connection was lost".to_owned(),
        });
    }
    sleep(SETTLE).await;
    while listener.next_buffered().is_some() {}
    debug!("the table of workers has changed");
    Ok(())
}

pub(super) async fn connect(server: &Server) -> Result<PgConnection, sqlx::Error> {
    server.options.connect().await
}

/// What the catalogue says of the table, found as a query would find it, along the search path.
pub(super) async fn columns(
    connection: &mut PgConnection,
    table: &Table,
    database: &str,
) -> Result<Columns, SqlError> {
    let rows = in_time(database, ask(connection, catalogue(table))).await?;
    let listed: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let listed = listed.map_err(|error| SqlError::database(database, &error))?;
    table.columns(&listed, Dialect::Postgres)
}

fn catalogue(table: &Table) -> String {
    format!(
        "SELECT attname::text FROM pg_catalog.pg_attribute \
         WHERE attrelid = to_regclass('{}') AND attnum > 0 AND NOT attisdropped",
        table.quoted
    )
}

async fn rows(
    connection: &mut PgConnection,
    table: &Table,
    columns: &Columns,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = ask(connection, table.select(columns, Dialect::Postgres)).await?;
    rows.iter().map(row).collect()
}

/// In one message and not prepared: the table's columns may change under a connection that lives for weeks, and a
/// pooler such as PgBouncer may give every statement another server. `sql` is made of checked names and our own words.
async fn ask(connection: &mut PgConnection, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        address: row.try_get(0)?,
        name: row.try_get(1)?,
        weight: row.try_get(2)?,
        enabled: row.try_get(3)?,
    })
}
