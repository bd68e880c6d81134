//! The configured table and its columns as SQL: which names are accepted, how they are quoted, what is selected.

use super::error::SqlError;
use crate::config::{SqlConfig, is_sql_name};

/// More workers than this in one table is taken for a mistake; the rest is left out.
pub(super) const MOST_ROWS: usize = 10_000;

/// Of each cell, at most this much is read: more than any valid address or name, and no more than a log line bears.
const CELL: usize = 300;

/// A table whose names are plain, so that quoting them is all that is needed.
pub(super) struct Table {
    /// As configured, for messages.
    pub(super) shown: String,
    /// Quoted; PostgreSQL's catalogue takes it as text too.
    pub(super) quoted: String,
    schema: Option<String>,
    name: String,
    /// The column of the address, not quoted.
    pub(super) column: String,
}

/// Which of our columns the table has besides the address.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) name: bool,
    pub(super) weight: bool,
    pub(super) enabled: bool,
}

impl Table {
    /// Checks again what the configuration's check has refused already: a mistake there must not become SQL.
    pub(super) fn of(config: &SqlConfig) -> Result<Table, SqlError> {
        let (table, column) = (&config.table, &config.column);
        if !is_sql_name(table, 2) {
            return Err(SqlError::Identifier(super::error::plain(table)));
        }
        if !is_sql_name(column, 1) {
            return Err(SqlError::Identifier(super::error::plain(column)));
        }
        let (schema, name) = match table.split_once('.') {
            Some((schema, name)) => (Some(schema.to_owned()), name.to_owned()),
            None => (None, table.clone()),
        };
        Ok(Table {
            shown: table.clone(),
            quoted: format!(r#""{}""#, table.replace('.', r#"".""#)),
            schema,
            name,
            column: column.clone(),
        })
    }

    /// SQLite's name for a schema: an attached database, `main` unless the configuration says otherwise.
    pub(super) fn schema(&self) -> &str {
        self.schema.as_deref().unwrap_or("main")
    }

    /// Without its schema, not quoted.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the catalogue lists, checked: no columns mean no table.
    pub(super) fn columns(&self, listed: &[String], dialect: Dialect) -> Result<Columns, SqlError> {
        let has = |column: &str| {
            listed.iter().any(|listed| match dialect {
                Dialect::Postgres => listed == column,
                // Quoted or not, it compares names without their case.
                Dialect::Sqlite => listed.eq_ignore_ascii_case(column),
            })
        };
        if listed.is_empty() {
            return Err(SqlError::NoTable(self.shown.clone()));
        }
        if !has(&self.column) {
            return Err(self.lacks(&self.column));
        }
        Ok(Columns {
            name: has("name"),
            weight: has("weight"),
            enabled: has("enabled"),
        })
    }

    pub(super) fn lacks(&self, column: &str) -> SqlError {
        SqlError::NoColumn {
            table: self.shown.clone(),
            column: column.to_owned(),
        }
    }

    /// Four columns of text, so that the table's own types do not matter: address, name, weight, enabled. A column
    /// that is not there is its default. One row more than is used says that there are more.
    pub(super) fn select(&self, columns: &Columns, dialect: Dialect) -> String {
        let cell = |column: &str| match dialect {
            Dialect::Postgres => format!(r#"left("{column}"::text, {CELL})"#),
            Dialect::Sqlite => format!(r#"substr(CAST("{column}" AS TEXT), 1, {CELL})"#),
        };
        let or = |there: bool, column: &str, default: &str| match there {
            true => cell(column),
            false => default.to_owned(),
        };
        // By bytes, in both: which rows are the first must not depend on a database's language.
        let order = match dialect {
            Dialect::Postgres => r#"COLLATE "C""#,
            Dialect::Sqlite => "COLLATE BINARY",
        };
        format!(
            "SELECT {address}, {name}, {weight}, {enabled} FROM {table} ORDER BY {address} {order} LIMIT {limit}",
            address = cell(&self.column),
            name = or(columns.name, "name", "CAST(NULL AS text)"),
            weight = or(columns.weight, "weight", "CAST('1' AS text)"),
            enabled = or(columns.enabled, "enabled", "CAST('1' AS text)"),
            table = self.quoted,
            limit = MOST_ROWS + 1,
        )
    }
}

/// Whose SQL.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}
