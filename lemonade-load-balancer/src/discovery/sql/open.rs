//! One connection to the table, in either database, for one change.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};

use super::database::Database;
use super::error::SqlError;
use super::table::{Columns, Table};
use super::{in_time, postgres, sqlite};
use crate::config::SqlConfig;

/// A table that is there, and what columns it has.
pub(super) struct Open {
    connection: Connection,
    /// The url without its password.
    shown: String,
    pub(super) table: Table,
    pub(super) columns: Columns,
}

enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// What a statement is given for `$1`, `$2`, …
#[derive(Clone, Copy)]
pub(super) enum Value<'v> {
    Text(Option<&'v str>),
    Number(i64),
    Truth(bool),
}

impl Open {
    pub(super) async fn of(config: &SqlConfig) -> Result<Open, SqlError> {
        let table = Table::of(config)?;
        match Database::of(&config.url)? {
            Database::Postgres(server) => {
                let mut connection = in_time(&server.shown, postgres::connect(&server)).await?;
                let columns = postgres::columns(&mut connection, &table, &server.shown).await?;
                Ok(Open {
                    connection: Connection::Postgres(connection),
                    shown: server.shown,
                    table,
                    columns,
                })
            }
            Database::Sqlite(file) => {
                sqlite::identity(&file)?;
                let mut connection = in_time(&file.shown, file.options.connect()).await?;
                let columns = sqlite::columns(&mut connection, &table, &file.shown).await?;
                Ok(Open {
                    connection: Connection::Sqlite(connection),
                    shown: file.shown,
                    table,
                    columns,
                })
            }
        }
    }

    /// Runs one statement; gives how many rows it changed. Its text is made of checked names and our own words.
    pub(super) async fn run(&mut self, sql: String, values: &[Value<'_>]) -> Result<u64, SqlError> {
        match &mut self.connection {
            Connection::Postgres(connection) => {
                let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
                for value in values {
                    query = match *value {
                        Value::Text(text) => query.bind(text),
                        Value::Number(number) => query.bind(number),
                        Value::Truth(truth) => query.bind(truth),
                    };
                }
                let done = in_time(&self.shown, query.execute(connection)).await?;
                Ok(done.rows_affected())
            }
            Connection::Sqlite(connection) => {
                let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
                for value in values {
                    query = match *value {
                        Value::Text(text) => query.bind(text),
                        Value::Number(number) => query.bind(number),
                        Value::Truth(truth) => query.bind(truth),
                    };
                }
                let done = in_time(&self.shown, query.execute(connection)).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Says good-bye; the change is made, so a failure here is nobody's concern.
    pub(super) async fn close(self) {
        let closed = async {
            match self.connection {
                Connection::Postgres(connection) => connection.close().await,
                Connection::Sqlite(connection) => connection.close().await,
            }
        };
        in_time(&self.shown, closed).await.ok();
    }
}
