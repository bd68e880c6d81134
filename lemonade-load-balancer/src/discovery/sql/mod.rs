//! A table of workers: read, watched, changed and created here.
//!
//! An operator's table of one column works as it stands; columns `name`, `weight` and `enabled` are used where they
//! exist, others are ignored. PostgreSQL says when the table has changed, if the trigger of our migrations is there;
//! without it, and for SQLite, we look. Messages never hold a password.

mod database;
mod error;
mod migrations;
mod open;
mod postgres;
mod resolve;
mod rows;
mod sqlite;
mod store;
mod table;

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use super::backoff::Backoff;
use super::found::Report;
use super::reporter::Reporter;
use crate::config::SqlConfig;

pub(super) use store::Store;

pub use error::SqlError;
pub use migrations::migrate;

use database::Database;
use rows::Row;
use table::Table;

/// For one connect and for one query. A server that is alive but stuck counts as away after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// When some host did not resolve, the table is read again this soon: the name may be about to appear.
const UNRESOLVED: Duration = Duration::from_secs(5);

/// Whatever the configuration says: polling every 0 s must not make a busy loop.
const SHORTEST: Duration = Duration::from_millis(50);

/// Reads the table now and whenever it changes, for ever; dropping the future ends it.
///
/// Every failure is one [`Report::Away`], then it connects again after 250 ms, doubling to 10 s. Must be polled and
/// dropped within a tokio runtime: connections say good-bye in the background.
pub(super) async fn watch(config: SqlConfig, report: impl FnMut(Report)) {
    let mut readings = Readings {
        reporter: Reporter::new(report),
        backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(10)),
        poll: config.poll.max(SHORTEST),
    };
    loop {
        let Err(error) = follow(&config, &mut readings).await;
        let again_in = readings.backoff.next();
        debug!(%error, ?again_in, "the table of workers cannot be read");
        readings.reporter.away(error.to_string(), again_in);
        tokio::time::sleep(again_in).await;
    }
}

/// One connection's life. It ends only when the database cannot be asked any more.
async fn follow<F: FnMut(Report)>(
    config: &SqlConfig,
    readings: &mut Readings<F>,
) -> Result<Infallible, SqlError> {
    let table = Table::of(config)?;
    match Database::of(&config.url)? {
        Database::Postgres(server) => postgres::follow(&server, &table, readings).await,
        Database::Sqlite(file) => sqlite::follow(&file, &table, readings).await,
    }
}

/// What the connections of one watch have read so far.
struct Readings<F> {
    reporter: Reporter<F>,
    backoff: Backoff,
    poll: Duration,
}

impl<F: FnMut(Report)> Readings<F> {
    /// Makes a set of the rows and reports it; gives how long it is good for if nothing changes.
    async fn take(&mut self, rows: Vec<Row>) -> Duration {
        self.backoff.reset();
        let (workers, mut left_out) = rows::workers(rows);
        let (found, unresolved) = resolve::resolve(workers, self.reporter.found()).await;
        let good_for = match unresolved.is_empty() {
            true => self.poll,
            false => self.poll.min(UNRESOLVED),
        };
        left_out.extend(unresolved);
        self.reporter.set(found, left_out);
        good_for
    }
}

/// A failure of the database and a server that does not answer, told apart.
async fn in_time<T>(
    database: &str,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, SqlError> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| SqlError::database(database, &error)),
        Err(_) => Err(SqlError::Timeout {
            database: database.to_owned(),
            after: PATIENCE,
        }),
    }
}
