//! Changes of the table that an operator keeps: what is written here, every load balancer on the table then reads.

use lemonade_config::Address;

use super::error::SqlError;
use super::open::{Open, Value};
use super::rows;
use crate::config::SqlConfig;

/// The table of workers, for writing. Each change opens a connection and closes it.
///
/// An address is looked for as it was given and in its one form, so that a row that is no address can be removed.
pub(crate) struct Store {
    config: SqlConfig,
}

impl Store {
    /// Connects to nothing yet.
    pub(crate) fn new(config: SqlConfig) -> Store {
        Store { config }
    }

    /// Adds a worker, or gives the one that is there this name (None clears it) and weight, and enables it. A name, or a weight other than 1, needs the table to have that column.
    pub(crate) async fn put(
        &self,
        address: &str,
        name: Option<&str>,
        weight: u32,
    ) -> Result<(), SqlError> {
        let canonical = address.parse::<Address>()?.to_string();
        rows::valid_weight(&weight.to_string())?;
        rows::valid_name(name.unwrap_or_default())?;
        let mut open = Open::of(&self.config).await?;
        let mut columns = vec![open.table.column.as_str()];
        let mut values = vec![Value::Text(Some(&canonical))];
        match open.columns.name {
            true => {
                columns.push("name");
                values.push(Value::Text(name));
            }
            false if name.is_some() => return Err(open.table.lacks("name")),
            false => {}
        }
        match open.columns.weight {
            true => {
                columns.push("weight");
                values.push(Value::Number(weight.into()));
            }
            false if weight != 1 => return Err(open.table.lacks("weight")),
            false => {}
        }
        if open.columns.enabled {
            columns.push("enabled");
            values.push(Value::Truth(true));
        }
        let (update, insert) = (update(&open, &columns), insert(&open, &columns));
        let given = [&values[..], &[Value::Text(Some(address))]].concat();
        // Not ON CONFLICT: an operator's table need not have the constraint that it relies on.
        if open.run(update, &given).await? == 0 {
            open.run(insert, &values).await?;
        }
        open.close().await;
        Ok(())
    }

    /// Removes the worker's row.
    pub(crate) async fn remove(&self, address: &str) -> Result<(), SqlError> {
        let open = Open::of(&self.config).await?;
        let sql = format!(
            "DELETE FROM {} WHERE {}",
            open.table.quoted,
            at(&open, 1, 2)
        );
        change(open, sql, address, &[]).await
    }

    /// From 1 to 65535.
    pub(crate) async fn set_weight(&self, address: &str, weight: u32) -> Result<(), SqlError> {
        rows::valid_weight(&weight.to_string())?;
        let open = Open::of(&self.config).await?;
        if !open.columns.weight {
            return Err(open.table.lacks("weight"));
        }
        set(open, "weight", Value::Number(weight.into()), address).await
    }

    /// A disabled worker stays in the table and is in no load balancer's set.
    pub(crate) async fn set_enabled(&self, address: &str, enabled: bool) -> Result<(), SqlError> {
        let open = Open::of(&self.config).await?;
        if !open.columns.enabled {
            return Err(open.table.lacks("enabled"));
        }
        set(open, "enabled", Value::Truth(enabled), address).await
    }
}

async fn set(open: Open, column: &str, value: Value<'_>, address: &str) -> Result<(), SqlError> {
    let (table, at) = (&open.table.quoted, at(&open, 1, 2));
    let sql = format!(r#"UPDATE {table} SET "{column}" = $3 WHERE {at}"#);
    change(open, sql, address, &[value]).await
}

/// Runs a statement whose first two values are the forms of the address; no row at it is an error.
async fn change(
    mut open: Open,
    sql: String,
    address: &str,
    rest: &[Value<'_>],
) -> Result<(), SqlError> {
    let canonical = canonical(address);
    let mut values = vec![Value::Text(Some(address)), Value::Text(Some(&canonical))];
    values.extend(rest);
    let changed = open.run(sql, &values).await?;
    let missing = SqlError::NoWorker {
        address: address.to_owned(),
        table: open.table.shown.clone(),
    };
    open.close().await;
    match changed {
        0 => Err(missing),
        _ => Ok(()),
    }
}

/// The first value is the address in its one form; the one after those of the columns is the address as given.
fn update(open: &Open, columns: &[&str]) -> String {
    let set = columns.iter().enumerate();
    let set = set.map(|(index, column)| format!(r#""{column}" = ${}"#, index + 1));
    let set = set.collect::<Vec<_>>().join(", ");
    let at = at(open, 1, columns.len() + 1);
    format!("UPDATE {} SET {set} WHERE {at}", open.table.quoted)
}

fn insert(open: &Open, columns: &[&str]) -> String {
    let values = (1..=columns.len()).map(|index| format!("${index}"));
    format!(
        r#"INSERT INTO {}("{}") VALUES ({})"#,
        open.table.quoted,
        columns.join(r#"", ""#),
        values.collect::<Vec<_>>().join(", ")
    )
}

/// The row's address is one of two values.
fn at(open: &Open, one: usize, other: usize) -> String {
    let column = &open.table.column;
    format!(r#"CAST("{column}" AS TEXT) IN (${one}, ${other})"#)
}

/// A text that is no address stays what it is: only an exact match finds it.
fn canonical(address: &str) -> String {
    match address.parse::<Address>() {
        Ok(address) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}
