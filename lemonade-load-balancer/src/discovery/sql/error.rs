//! Why a table cannot be read or changed, in sentences that may be logged: no url with its password, no secret.

use std::time::Duration;

use lemonade_config::AddressError;
use sqlx::migrate::MigrateError;
use thiserror::Error;

/// Why a table of workers cannot be read or changed.
#[derive(Debug, Error)]
pub enum SqlError {
    /// Neither PostgreSQL's nor SQLite's.
    #[error("expected `postgres://…` or `sqlite://…`, found `{0}`")]
    Url(String),
    /// Not a plain SQL name.
    #[error("expected a plain SQL name of letters, digits and `_`, found `{0}`")]
    Identifier(String),
    /// No connection, or the query failed. `why` is the database's own sentence.
    #[error("{database}: {why}")]
    Database {
        /// The url without its password.
        database: String,
        /// What went wrong.
        why: String,
    },
    /// It is stuck, or the way to it is.
    #[error("{database}: no answer within {after:?}")]
    Timeout {
        /// The url without its password.
        database: String,
        /// How long it had.
        after: Duration,
    },
    /// The watcher does not create a database: a typing error in its path would go unnoticed.
    #[error("no database at `{0}`: `lemonade db migrate` creates it")]
    NoFile(String),
    /// Or this user may not see it.
    #[error("no table `{0}`: `lemonade db migrate` creates `workers`")]
    NoTable(String),
    /// The table is older than what was asked of it.
    #[error(
        "table `{table}` has no column `{column}`: `lemonade db migrate` adds what `workers` lacks"
    )]
    NoColumn {
        /// As configured.
        table: String,
        /// As configured, or one of ours.
        column: String,
    },
    /// Nothing to remove or to change.
    #[error("no worker `{address}` in table `{table}`")]
    NoWorker {
        /// As given.
        address: String,
        /// As configured.
        table: String,
    },
    /// Not a worker's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nothing a worker can weigh.
    #[error("expected a weight from 1 to 65535, found `{0}`")]
    Weight(String),
    /// Longer than 100 characters, or with control characters.
    #[error("expected a name of at most 100 characters, none of them a control character")]
    Name,
}

impl SqlError {
    pub(super) fn database(database: &str, error: &sqlx::Error) -> SqlError {
        SqlError::Database {
            database: database.to_owned(),
            why: why(error),
        }
    }

    pub(super) fn migration(database: &str, error: &MigrateError) -> SqlError {
        let why = match error {
            MigrateError::Execute(error) => why(error),
            MigrateError::ExecuteMigration(error, version) => {
                format!("migration {version}: {}", why(error))
            }
            other => plain(&other.to_string()),
        };
        SqlError::Database {
            database: database.to_owned(),
            why,
        }
    }
}

/// The cause without the library's words around it.
fn why(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => plain(error.message()),
        sqlx::Error::Io(error) => plain(&error.to_string()),
        other => plain(&other.to_string()),
    }
}

/// One line without control characters: rows and servers write what they like, and logs are read in terminals.
pub(super) fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}
