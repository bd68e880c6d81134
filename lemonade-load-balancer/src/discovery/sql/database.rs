//! Which database a url means, and what may be shown of the url.

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::error::SqlError;
use crate::config::{Secret, without_password};

/// SQLite waits this long for a writer: shorter than our patience, so that its own sentence is the one reported.
const LOCKED: Duration = Duration::from_secs(3);

/// How to connect.
pub(super) enum Database {
    Postgres(Server),
    Sqlite(File),
}

/// A PostgreSQL server and what to call it.
pub(super) struct Server {
    pub(super) options: PgConnectOptions,
    /// The url without its password.
    pub(super) shown: String,
}

/// A SQLite file and what to call it.
pub(super) struct File {
    pub(super) options: SqliteConnectOptions,
    /// The url.
    pub(super) shown: String,
}

impl Database {
    pub(super) fn of(url: &Secret) -> Result<Database, SqlError> {
        let (url, shown) = (url.expose(), without_password(url.expose()));
        let bad = |error: sqlx::Error| SqlError::database(&shown, &error);
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme {
            "postgres" | "postgresql" => {
                let options: PgConnectOptions = url.parse().map_err(bad)?;
                let options = options
                    .application_name("lemonade")
                    // Our rows hold no floats, and PgBouncer refuses connections that ask for them.
                    .extra_float_digits(None)
                    .disable_statement_logging();
                Ok(Database::Postgres(Server { options, shown }))
            }
            "sqlite" => {
                let options: SqliteConnectOptions = url.parse().map_err(bad)?;
                let options = options.busy_timeout(LOCKED).disable_statement_logging();
                Ok(Database::Sqlite(File { options, shown }))
            }
            _ => Err(SqlError::Url(shown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_databases_are_refused() {
        let error = Database::of(&Secret::new("mysql://u:secret@h/d")).err();
        assert_eq!(
            error.unwrap().to_string(),
            "expected `postgres://…` or `sqlite://…`, found `…`"
        );
    }
}
