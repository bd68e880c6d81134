//! Creates the table `workers` and brings an older one up to date. What is there stays: rows, columns, other tables.
//!
//! The files are those of the repository's `migrations/`, so `sqlx migrate run` and this do the same and recognize
//! each other's work. Migrations of the operator's own in the same database are left alone.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, SqlSafeStr};
use tokio::time::timeout;

use super::database::{Database, File, Server};
use super::error::SqlError;
use super::{in_time, postgres, sqlite};
use crate::config::Secret;

/// Where sqlx notes what was applied.
const JOURNAL: &str = "_sqlx_migrations";

/// For all of it: a change of the table waits for those who use it.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);

/// One file of `migrations/`.
struct Step {
    version: i64,
    description: &'static str,
    sql: &'static str,
    /// The column it adds, where SQL cannot say IF NOT EXISTS itself.
    adds: Option<&'static str>,
}

// The digits of a version are the date and time in the file's name.
const POSTGRES: [Step; 3] = [
    Step {
        version: 20261121000000,
        description: "workers",
        sql: include_str!("../../../../migrations/20261121000000_workers.sql"),
        adds: None,
    },
    Step {
        version: 20261121000001,
        description: "worker options",
        sql: include_str!("../../../../migrations/20261121000001_worker_options.sql"),
        adds: None,
    },
    Step {
        version: 20261121000002,
        description: "worker notifications",
        sql: include_str!("../../../../migrations/20261121000002_worker_notifications.sql"),
        adds: None,
    },
];

const SQLITE: [Step; 4] = [
    Step {
        version: 20261121000000,
        description: "workers",
        sql: include_str!("../../../../migrations/sqlite/20261121000000_workers.sql"),
        adds: None,
    },
    Step {
        version: 20261121000001,
        description: "worker name",
        sql: include_str!("../../../../migrations/sqlite/20261121000001_worker_name.sql"),
        adds: Some("name"),
    },
    Step {
        version: 20261121000002,
        description: "worker weight",
        sql: include_str!("../../../../migrations/sqlite/20261121000002_worker_weight.sql"),
        adds: Some("weight"),
    },
    Step {
        version: 20261121000003,
        description: "worker enabled",
        sql: include_str!("../../../../migrations/sqlite/20261121000003_worker_enabled.sql"),
        adds: Some("enabled"),
    },
];

impl Step {
    /// As sqlx makes it of the file.
    fn migration(&self) -> Migration {
        Migration::new(
            self.version,
            self.description.into(),
            MigrationType::Simple,
            self.sql.into_sql_str(),
            false,
        )
    }
}

/// Applies what is missing and gives its descriptions; nothing the second time. Creates a SQLite file.
///
/// Can be run while load balancers read the table. Each step is applied whole or not at all.
pub async fn migrate(url: &Secret) -> Result<Vec<String>, SqlError> {
    let (shown, migrated) = match Database::of(url)? {
        Database::Postgres(server) => {
            let migrated = timeout(MIGRATION_PATIENCE, migrate_postgres(&server)).await;
            (server.shown, migrated)
        }
        Database::Sqlite(file) => {
            let migrated = timeout(MIGRATION_PATIENCE, migrate_sqlite(&file)).await;
            (file.shown, migrated)
        }
    };
    migrated.unwrap_or(Err(SqlError::Timeout {
        database: shown,
        after: MIGRATION_PATIENCE,
    }))
}

async fn migrate_postgres(server: &Server) -> Result<Vec<String>, SqlError> {
    let failed = |error: MigrateError| SqlError::migration(&server.shown, &error);
    let mut connection = in_time(&server.shown, postgres::connect(server)).await?;
    let steps: Vec<&Step> = missing(&mut connection, &POSTGRES).await.map_err(failed)?;
    let mut migrator = Migrator::with_migrations(POSTGRES.iter().map(Step::migration).collect());
    migrator.set_ignore_missing(true);
    migrator
        .run_direct(None, &mut connection, false)
        .await
        .map_err(failed)?;
    connection.close().await.ok();
    Ok(descriptions(&steps))
}

async fn migrate_sqlite(file: &File) -> Result<Vec<String>, SqlError> {
    let failed = |error: MigrateError| SqlError::migration(&file.shown, &error);
    let options = file.options.clone().create_if_missing(true);
    let mut connection = in_time(&file.shown, options.connect()).await?;
    let mut applied = Vec::new();
    for step in missing(&mut connection, &SQLITE).await.map_err(failed)? {
        if apply(&mut connection, step).await.map_err(failed)? {
            applied.push(step);
        }
    }
    connection.close().await.ok();
    Ok(descriptions(&applied))
}

/// False when the column it would add is there already; that is noted, as if it had been applied.
async fn apply(connection: &mut SqliteConnection, step: &Step) -> Result<bool, MigrateError> {
    let there = match step.adds {
        Some(column) => {
            let columns = sqlite::names(connection, "workers", "main").await?;
            columns
                .iter()
                .any(|there| there.eq_ignore_ascii_case(column))
        }
        None => false,
    };
    match there {
        true => connection.skip(JOURNAL, &step.migration()).await?,
        false => drop(connection.apply(JOURNAL, &step.migration()).await?),
    }
    Ok(!there)
}

/// The steps that the journal does not list; creates the journal.
async fn missing<'s, C: Migrate>(
    connection: &mut C,
    steps: &'s [Step],
) -> Result<Vec<&'s Step>, MigrateError> {
    connection.ensure_migrations_table(JOURNAL).await?;
    if let Some(version) = connection.dirty_version(JOURNAL).await? {
        return Err(MigrateError::Dirty(version));
    }
    let applied = connection.list_applied_migrations(JOURNAL).await?;
    let listed = |step: &Step| {
        applied
            .iter()
            .any(|applied| applied.version == step.version)
    };
    Ok(steps.iter().filter(|step| !listed(step)).collect())
}

fn descriptions(steps: &[&Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| step.description.to_owned())
        .collect()
}
