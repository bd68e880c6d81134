//! The table of workers in a real PostgreSQL.

use std::time::{Duration, Instant};

use super::reports::Reports;
use crate::config::{Secret, SqlConfig};
use crate::discovery::sql::{Store, migrate, watch};
use lemonade_test::postgres::{PASSWORD, Postgres, signal};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// As seed 002 has it.
const SEED: &str = "
    CREATE TABLE IF NOT EXISTS workers(worker_address VARCHAR(255) NOT NULL PRIMARY KEY);
    INSERT INTO workers(worker_address) VALUES
        ('127.0.0.1:8000'), ('127.0.0.1:8001'), ('127.0.0.1:8002'), ('127.0.0.1:8003'), ('127.0.0.1:8004');
";

const SEEN_IN_THE_SEED: [&str; 5] = [
    "127.0.0.1:8000",
    "127.0.0.1:8001",
    "127.0.0.1:8002",
    "127.0.0.1:8003",
    "127.0.0.1:8004",
];

/// So long that whatever is seen was not seen by polling.
const NEVER: Duration = Duration::from_secs(3600);

fn config(url: String, poll: Duration) -> SqlConfig {
    SqlConfig {
        url: Secret::new(url),
        table: "workers".to_owned(),
        column: "worker_address".to_owned(),
        poll,
    }
}

fn watched(config: SqlConfig) -> Reports {
    Reports::of(|report| watch(config, report))
}

async fn migrated(postgres: &Postgres) -> Vec<String> {
    migrate(&Secret::new(postgres.url())).await.unwrap()
}

macro_rules! local_test {
    ($(#[$meta:meta])* async fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[tokio::test]
        async fn $name() {
            LocalSet::new().run_until(async $body).await;
        }
    };
}

local_test! {
    async fn the_seeds_table_works_as_it_stands_and_changes_are_seen_by_polling() {
        let postgres = Postgres::start();
        postgres.sql(SEED);
        let mut reports = watched(config(postgres.url(), Duration::from_millis(100)));
        let (found, left_out) = reports.set().await;
        assert!(left_out.is_empty());
        assert!(found.iter().map(|found| found.address.to_string()).eq(SEEN_IN_THE_SEED));
        assert!(found.iter().all(|found| found.weight == 1 && found.name.is_none()));
        assert!(found.iter().all(|found| found.endpoint.to_string() == found.address.to_string()));
        postgres.sql("DELETE FROM workers WHERE worker_address <> '127.0.0.1:8003'");
        assert_eq!(reports.addresses().await, ["127.0.0.1:8003"]);
        reports.nothing();
    }
}

local_test! {
    async fn changes_are_seen_at_once_where_the_trigger_is() {
        let postgres = Postgres::start();
        migrated(&postgres).await;
        let mut reports = watched(config(postgres.url(), NEVER));
        assert!(reports.addresses().await.is_empty());
        let mut delays = Vec::new();
        for (statement, addresses) in [
            ("INSERT INTO workers VALUES ('127.0.0.1:1'), ('127.0.0.1:2')", &["127.0.0.1:1", "127.0.0.1:2"][..]),
            ("UPDATE workers SET worker_address = '127.0.0.1:3' WHERE worker_address = '127.0.0.1:1'", &["127.0.0.1:2", "127.0.0.1:3"]),
            ("UPDATE workers SET enabled = FALSE WHERE worker_address = '127.0.0.1:3'", &["127.0.0.1:2"]),
            ("DELETE FROM workers WHERE worker_address = '127.0.0.1:3'; INSERT INTO workers VALUES ('127.0.0.1:4')", &["127.0.0.1:2", "127.0.0.1:4"]),
            ("TRUNCATE workers", &[]),
        ] {
            postgres.sql(statement);
            let committed = Instant::now();
            assert_eq!(reports.addresses().await, addresses, "{statement}");
            delays.push(committed.elapsed());
        }
        // The least: this machine may be busy with other things for a while.
        let least = delays.iter().min().unwrap();
        assert!(*least < Duration::from_secs(1), "{delays:?}");
    }
}

local_test! {
    async fn rows_that_are_no_workers_are_named_and_left_out() {
        let postgres = Postgres::start();
        postgres.sql(
            "CREATE SCHEMA pool;
             CREATE TABLE pool.origins(host TEXT, name TEXT, weight BIGINT, enabled BOOLEAN, rack INET);
             INSERT INTO pool.origins VALUES
                ('127.0.0.1:1', 'one', 7, TRUE), ('http://127.0.0.1:1/', 'again', 1, TRUE),
                ('127.0.0.1:2', 'two', 1, FALSE), ('127.0.0.1:3', 'heavy', 65536, TRUE),
                ('127.0.0.1:4', E'a\\tb', 1, TRUE), (NULL, 'null', 1, TRUE), ('localhost:5', NULL, 1, TRUE),
                ('127.0.0.1:6', NULL, NULL, TRUE), ('not-an-address', NULL, 1, TRUE),
                ('no.such.host.invalid:8', NULL, 1, TRUE)",
        );
        let mut config = config(postgres.url(), NEVER);
        config.table = "pool.origins".to_owned();
        config.column = "host".to_owned();
        let mut reports = watched(config);
        let (found, left_out) = reports.set().await;
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.address.to_string(), found.name.as_deref(), found.weight, found.endpoint.port()))
            .collect();
        assert_eq!(found, [
            ("127.0.0.1:1".to_owned(), Some("one"), 7, 1),
            ("localhost:5".to_owned(), None, 1, 5),
        ]);
        assert_eq!(left_out, [
            "row `127.0.0.1:3`: expected a weight from 1 to 65535, found `65536`",
            "row `127.0.0.1:4`: expected a name of at most 100 characters, none of them a control character",
            "row `127.0.0.1:6`: its weight is NULL",
            "row `http://127.0.0.1:1/`: an earlier row has the same address",
            "row `not-an-address`: expected host:port, found `not-an-address`",
            "row `NULL`: its address is NULL",
            "row `no.such.host.invalid:8`: its host does not resolve",
        ]);
    }
}

local_test! {
    async fn a_killed_database_is_noticed_at_once_and_read_again_when_it_is_back() {
        let mut postgres = Postgres::start();
        migrated(&postgres).await;
        postgres.sql("INSERT INTO workers VALUES ('127.0.0.1:1')");
        let mut reports = watched(config(postgres.url(), NEVER));
        assert_eq!(reports.addresses().await, ["127.0.0.1:1"]);
        let killed = Instant::now();
        postgres.kill();
        let error = reports.away().await;
        assert!(error.starts_with("postgres://lemonade@127.0.0.1:"), "{error}");
        // Not by a connection attempt that has run out of time.
        assert!(killed.elapsed() < Duration::from_secs(4), "{error}");
        assert!(reports.away().await.contains("refused"));
        postgres.restart();
        let (found, _) = reports.set_at_last().await;
        assert_eq!(found.len(), 1);
        postgres.sql("INSERT INTO workers VALUES ('127.0.0.1:2')");
        assert_eq!(reports.addresses().await, ["127.0.0.1:1", "127.0.0.1:2"]);
    }
}

local_test! {
    async fn a_stuck_database_counts_as_away_and_is_left_for_a_new_connection() {
        let postgres = Postgres::start();
        migrated(&postgres).await;
        let mut reports = watched(config(postgres.url(), Duration::from_millis(200)));
        assert!(reports.addresses().await.is_empty());
        let stopped = postgres.signal_backend("STOP");
        assert!(reports.away().await.ends_with("no answer within 5s"));
        assert!(reports.addresses().await.is_empty());
        signal("CONT", stopped);
    }
}

local_test! {
    async fn a_server_that_accepts_and_says_nothing_counts_as_away() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = silent.local_addr().unwrap();
        let mut reports = watched(config(format!("postgres://u:{PASSWORD}@{place}/d"), NEVER));
        assert_eq!(reports.away().await, format!("postgres://u@{place}/d: no answer within 5s"));
    }
}

local_test! {
    async fn what_is_wrong_is_said_without_the_password() {
        let postgres = Postgres::start();
        for (url, expected) in [
            (postgres.url_as("wr0ng-word", "lemonade"), "password authentication failed for user \"lemonade\""),
            (postgres.url_as(PASSWORD, "elsewhere"), "database \"elsewhere\" does not exist"),
            (postgres.url(), "no table `workers`: `lemonade db migrate` creates `workers`"),
        ] {
            let mut reports = watched(config(url, NEVER));
            let error = reports.away().await;
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(PASSWORD) && !error.contains("wr0ng"), "{error}");
        }
        postgres.sql("CREATE TABLE workers(address TEXT)");
        let mut reports = watched(config(postgres.url(), NEVER));
        let error = reports.away().await;
        assert!(error.contains("has no column `worker_address`: `lemonade db migrate`"), "{error}");
    }
}

local_test! {
    async fn migrating_keeps_the_rows_of_the_seeds_table_and_is_done_once() {
        let postgres = Postgres::start();
        // What `sqlx migrate run` leaves behind when the operator's own folder holds the seed's file.
        postgres.sql(SEED);
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join("20240101000000_workers.sql"), "SELECT 1").unwrap();
        run_folder(&postgres, own.path()).await;
        assert_eq!(migrated(&postgres).await, ["workers", "worker options", "worker notifications"]);
        assert!(migrated(&postgres).await.is_empty());
        let rows = postgres.sql("SELECT count(*), min(weight), bool_and(enabled) FROM workers");
        assert_eq!(rows.trim(), "5|1|t");
    }
}

local_test! {
    async fn sqlx_migrate_run_from_the_folder_does_the_same() {
        let postgres = Postgres::start();
        run_folder(&postgres, concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations").as_ref()).await;
        assert!(migrated(&postgres).await.is_empty());
        let store = Store::new(config(postgres.url(), NEVER));
        store.put("127.0.0.1:1", Some("one"), 3).await.unwrap();
    }
}

/// As `sqlx migrate run` does.
async fn run_folder(postgres: &Postgres, folder: &std::path::Path) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(&postgres.url()).await.unwrap();
    let migrator = sqlx::migrate::Migrator::new(folder).await.unwrap();
    migrator
        .run_direct(None, &mut connection, false)
        .await
        .unwrap();
}

local_test! {
    async fn what_is_stored_is_seen() {
        let postgres = Postgres::start();
        migrated(&postgres).await;
        let store = Store::new(config(postgres.url(), NEVER));
        let mut reports = watched(config(postgres.url(), NEVER));
        assert!(reports.addresses().await.is_empty());

        store.put("http://127.0.0.1:1/", Some("one"), 3).await.unwrap();
        let (found, _) = reports.set().await;
        assert_eq!((found[0].name.as_deref(), found[0].weight), (Some("one"), 3));
        store.put("127.0.0.1:1", None, 4).await.unwrap();
        let (found, _) = reports.set().await;
        assert_eq!((found.len(), found[0].name.as_deref(), found[0].weight), (1, None, 4));
        store.set_weight("127.0.0.1:1", 5).await.unwrap();
        assert_eq!(reports.set().await.0[0].weight, 5);
        store.set_enabled("127.0.0.1:1", false).await.unwrap();
        assert!(reports.addresses().await.is_empty());
        store.set_enabled("http://127.0.0.1:1", true).await.unwrap();
        assert_eq!(reports.addresses().await, ["127.0.0.1:1"]);
        postgres.sql("UPDATE workers SET worker_address = 'http://127.0.0.1:1'");
        store.put("http://127.0.0.1:1", None, 5).await.unwrap();
        assert_eq!(postgres.sql("SELECT worker_address FROM workers").trim(), "127.0.0.1:1");
        store.remove("127.0.0.1:1").await.unwrap();
        assert!(reports.addresses().await.is_empty());

        let refused = [
            (store.remove("127.0.0.1:1").await, "no worker `127.0.0.1:1` in table `workers`"),
            (store.set_weight("127.0.0.1:1", 1).await, "no worker `127.0.0.1:1` in table `workers`"),
            (store.set_weight("127.0.0.1:1", 0).await, "expected a weight from 1 to 65535, found `0`"),
            (store.put("nonsense", None, 1).await, "expected host:port, found `nonsense`"),
        ];
        for (result, expected) in refused {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }
}

local_test! {
    async fn a_table_of_addresses_alone_takes_addresses_alone() {
        let postgres = Postgres::start();
        postgres.sql(SEED);
        postgres.sql("INSERT INTO workers VALUES ('not-an-address')");
        let store = Store::new(config(postgres.url(), NEVER));
        store.put("127.0.0.1:1", None, 1).await.unwrap();
        store.put("127.0.0.1:1", None, 1).await.unwrap();
        store.remove("not-an-address").await.unwrap();
        assert_eq!(postgres.sql("SELECT count(*) FROM workers").trim(), "6");
        for result in [
            store.put("127.0.0.1:1", Some("one"), 1).await,
            store.put("127.0.0.1:1", None, 2).await,
            store.set_weight("127.0.0.1:1", 2).await,
            store.set_enabled("127.0.0.1:1", false).await,
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("`lemonade db migrate`"), "{error}");
        }
    }
}
