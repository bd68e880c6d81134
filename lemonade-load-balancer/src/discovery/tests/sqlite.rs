//! The table of workers in a SQLite file.

use std::path::Path;
use std::time::Duration;

use super::reports::Reports;
use crate::config::{Secret, SqlConfig};
use crate::discovery::sql::{Store, migrate, watch};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, SqliteConnection};
use tokio::task::LocalSet;

/// So long that whatever is seen was not seen by reading again for no reason.
const NEVER: Duration = Duration::from_secs(3600);

fn config(file: &Path) -> SqlConfig {
    SqlConfig {
        url: Secret::new(format!("sqlite://{}", file.display())),
        table: "workers".to_owned(),
        column: "worker_address".to_owned(),
        poll: NEVER,
    }
}

fn watched(config: SqlConfig) -> Reports {
    Reports::of(|report| watch(config, report))
}

async fn open(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    options.connect().await.unwrap()
}

/// Runs statements as an operator would, over a connection of their own.
async fn sql(file: &Path, statements: &str) {
    let mut connection = open(file).await;
    connection.execute(AssertSqlSafe(statements)).await.unwrap();
    connection.close().await.unwrap();
}

macro_rules! local_test {
    (async fn $name:ident($file:ident) $body:block) => {
        #[tokio::test]
        async fn $name() {
            let folder = tempfile::tempdir().unwrap();
            let $file = folder.path().join("workers.db");
            LocalSet::new().run_until(async $body).await;
        }
    };
}

local_test! {
    async fn the_seeds_table_works_as_it_stands_and_changes_are_seen(file) {
        sql(&file, "CREATE TABLE workers(worker_address VARCHAR(255) NOT NULL PRIMARY KEY)").await;
        sql(&file, "INSERT INTO workers VALUES ('127.0.0.1:8000'), ('127.0.0.1:8001')").await;
        let mut reports = watched(config(&file));
        assert_eq!(reports.addresses().await, ["127.0.0.1:8000", "127.0.0.1:8001"]);
        sql(&file, "DELETE FROM workers WHERE worker_address = '127.0.0.1:8000'").await;
        assert_eq!(reports.addresses().await, ["127.0.0.1:8001"]);
        reports.nothing();
    }
}

local_test! {
    async fn changes_are_seen_under_a_write_ahead_log_too(file) {
        migrate(&config(&file).url).await.unwrap();
        let mut writer = open(&file).await;
        writer.execute("PRAGMA journal_mode = WAL").await.unwrap();
        let mut reports = watched(config(&file));
        assert!(reports.addresses().await.is_empty());
        writer.execute("INSERT INTO workers(worker_address) VALUES ('127.0.0.1:1')").await.unwrap();
        assert_eq!(reports.addresses().await, ["127.0.0.1:1"]);
    }
}

local_test! {
    async fn rows_that_are_no_workers_are_named_and_left_out(file) {
        sql(&file, "CREATE TABLE workers(worker_address, Name, weight, enabled)").await;
        sql(&file, "INSERT INTO workers VALUES
            ('127.0.0.1:1', 'one', 7, 1), ('127.0.0.1:2', 'two', 1, 0), ('127.0.0.1:3', NULL, 'much', 1),
            (NULL, NULL, 1, 1), (x'ff3a31', NULL, 1, 1), (4, NULL, 1, 1), ('127.0.0.1:5', NULL, 1, 2)").await;
        let (found, left_out) = watched(config(&file)).set().await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_deref(), found[0].weight), (Some("one"), 7));
        assert_eq!(left_out, [
            "row `NULL`: its address is NULL",
            "row `127.0.0.1:3`: expected a weight from 1 to 65535, found `much`",
            "row `127.0.0.1:5`: expected `enabled` to be true or false, found `2`",
            "row `4`: expected host:port, found `4`",
            "row `\u{fffd}:1`: expected a host name or an IP address, found `\u{fffd}`",
        ]);
    }
}

local_test! {
    async fn a_file_that_is_not_there_is_waited_for_and_not_created(file) {
        let mut reports = watched(config(&file));
        let error = reports.away().await;
        assert_eq!(error, format!("no database at `sqlite://{}`: `lemonade db migrate` creates it", file.display()));
        assert!(!file.exists());
        migrate(&config(&file).url).await.unwrap();
        let (found, left_out) = reports.set_at_last().await;
        assert!(found.is_empty() && left_out.is_empty());
    }
}

local_test! {
    async fn a_file_that_is_replaced_is_read_anew(file) {
        migrate(&config(&file).url).await.unwrap();
        let mut reports = watched(config(&file));
        assert!(reports.addresses().await.is_empty());
        let other = file.with_extension("new");
        migrate(&config(&other).url).await.unwrap();
        sql(&other, "INSERT INTO workers(worker_address) VALUES ('127.0.0.1:1')").await;
        std::fs::rename(&other, &file).unwrap();
        assert!(reports.away().await.ends_with("another file has taken its place"));
        assert_eq!(reports.addresses().await, ["127.0.0.1:1"]);
    }
}

local_test! {
    async fn a_locked_database_counts_as_away(file) {
        migrate(&config(&file).url).await.unwrap();
        let mut writer = open(&file).await;
        writer.execute("BEGIN EXCLUSIVE").await.unwrap();
        let mut reports = watched(config(&file));
        assert!(reports.away().await.ends_with("database is locked"));
        writer.execute("ROLLBACK").await.unwrap();
        assert!(reports.set_at_last().await.0.is_empty());
    }
}

local_test! {
    async fn migrating_keeps_what_is_there_and_is_done_once(file) {
        sql(&file, "CREATE TABLE workers(worker_address VARCHAR(255) NOT NULL PRIMARY KEY, Weight INTEGER, rack TEXT)").await;
        sql(&file, "INSERT INTO workers VALUES ('127.0.0.1:1', 9, 'r1')").await;
        let url = config(&file).url;
        assert_eq!(migrate(&url).await.unwrap(), ["workers", "worker name", "worker enabled"]);
        assert!(migrate(&url).await.unwrap().is_empty());
        let (found, _) = watched(config(&file)).set().await;
        assert_eq!(found[0].weight, 9);
    }
}

local_test! {
    async fn sqlx_migrate_run_from_the_folder_does_the_same(file) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite");
        let migrator = sqlx::migrate::Migrator::new(Path::new(folder)).await.unwrap();
        migrator.run_direct(None, &mut open(&file).await, false).await.unwrap();
        assert!(migrate(&config(&file).url).await.unwrap().is_empty());
        // The other way round: it accepts what we have applied, text for text.
        let file = file.with_extension("other");
        assert_eq!(migrate(&config(&file).url).await.unwrap().len(), 4);
        migrator.run_direct(None, &mut open(&file).await, false).await.unwrap();
    }
}

local_test! {
    async fn what_is_stored_is_seen(file) {
        migrate(&config(&file).url).await.unwrap();
        let store = Store::new(config(&file));
        let mut reports = watched(config(&file));
        assert!(reports.addresses().await.is_empty());
        store.put("127.0.0.1:1", Some("one"), 3).await.unwrap();
        let (found, _) = reports.set().await;
        assert_eq!((found[0].name.as_deref(), found[0].weight), (Some("one"), 3));
        store.set_weight("127.0.0.1:1", 5).await.unwrap();
        assert_eq!(reports.set().await.0[0].weight, 5);
        store.set_enabled("127.0.0.1:1", false).await.unwrap();
        assert!(reports.addresses().await.is_empty());
        store.remove("127.0.0.1:1").await.unwrap();
        let error = store.remove("127.0.0.1:1").await.unwrap_err();
        assert_eq!(error.to_string(), "no worker `127.0.0.1:1` in table `workers`");
    }
}

local_test! {
    async fn a_table_of_addresses_alone_takes_addresses_alone(file) {
        sql(&file, "CREATE TABLE workers(worker_address TEXT)").await;
        let store = Store::new(config(&file));
        store.put("127.0.0.1:1", None, 1).await.unwrap();
        store.put("127.0.0.1:1", None, 1).await.unwrap();
        assert_eq!(watched(config(&file)).addresses().await, ["127.0.0.1:1"]);
        for result in [
            store.put("127.0.0.1:1", Some("one"), 1).await,
            store.set_weight("127.0.0.1:1", 2).await,
            store.set_enabled("127.0.0.1:1", false).await,
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("`lemonade db migrate`"), "{error}");
        }
    }
}

local_test! {
    async fn of_too_many_rows_the_first_are_used(file) {
        sql(&file, "CREATE TABLE workers(worker_address TEXT)").await;
        sql(&file, "WITH RECURSIVE port(n) AS (SELECT 10001 UNION ALL SELECT n + 1 FROM port WHERE n < 20001)
            INSERT INTO workers SELECT '127.0.0.1:' || n FROM port").await;
        let (found, left_out) = watched(config(&file)).set().await;
        assert_eq!(found.len(), 10_000);
        assert_eq!(found[9_999].address.to_string(), "127.0.0.1:20000");
        assert_eq!(left_out, ["every row after the first 10000: too many"]);
    }
}
