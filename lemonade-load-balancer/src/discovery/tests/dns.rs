//! Workers that are found by a name, at a DNS server that the tests play.

use std::time::{Duration, Instant};

use super::names::Names;
use super::reports::Reports;
use crate::config::{DnsConfig, DnsKind};
use crate::discovery::dns::watch;
use hickory_resolver::proto::rr::RecordType;
use tokio::task::LocalSet;

const NAME: &str = "workers.example.test.";
const SERVICE: &str = "_http._tcp.example.test.";

fn config(names: &Names, name: &str, kind: DnsKind) -> DnsConfig {
    DnsConfig {
        name: name.to_owned(),
        kind,
        weight: 3,
        server: Some(names.address()),
        min_ttl: Duration::from_millis(100),
        max_ttl: Duration::from_secs(300),
    }
}

fn watched(names: &Names, name: &str, kind: DnsKind) -> Reports {
    let config = config(names, name, kind);
    Reports::of(|report| watch(config, report))
}

macro_rules! local_test {
    (async fn $name:ident($names:ident) $body:block) => {
        #[tokio::test]
        async fn $name() {
            LocalSet::new()
                .run_until(async {
                    let $names = Names::start().await;
                    $body
                })
                .await;
        }
    };
}

local_test! {
    async fn every_address_of_the_name_is_a_worker_and_changes_are_followed_when_the_ttl_is_over(names) {
        names.are(&[(NAME, 1, "10.0.0.2"), (NAME, 300, "10.0.0.1"), (NAME, 300, "fd00::1")]);
        let asked = Instant::now();
        let mut reports = watched(&names, "workers.example.test", DnsKind::Address { port: 80 });
        let (found, left_out) = reports.set().await;
        assert!(left_out.is_empty());
        let shown: Vec<_> = found.iter().map(|found| found.address.to_string()).collect();
        assert_eq!(shown, ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]);
        assert!(found.iter().all(|found| found.weight == 3 && found.name.is_none()));
        assert!(found.iter().all(|found| found.endpoint.to_string() == found.address.to_string()));

        names.are(&[(NAME, 1, "10.0.0.3")]);
        assert_eq!(reports.addresses().await, ["10.0.0.3:80"]);
        assert!(asked.elapsed() >= Duration::from_secs(1), "not before the TTL is over");
        assert_eq!(names.asked(NAME, RecordType::A), 2);
    }
}

local_test! {
    async fn the_name_is_asked_again_each_time_and_an_equal_answer_is_no_news(names) {
        names.are(&[(NAME, 0, "10.0.0.1"), (NAME, 0, "10.0.0.2")]);
        let mut reports = watched(&names, NAME, DnsKind::Address { port: 80 });
        assert_eq!(reports.addresses().await.len(), 2);
        names.are(&[(NAME, 0, "10.0.0.2"), (NAME, 0, "10.0.0.1")]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while names.asked(NAME, RecordType::A) < 4 {
            assert!(Instant::now() < deadline, "asked {} times", names.asked(NAME, RecordType::A));
            tokio::task::yield_now().await;
        }
        reports.nothing();
    }
}

local_test! {
    async fn a_name_that_is_not_there_yet_is_waited_for_and_one_that_goes_takes_nobody_along(names) {
        let mut reports = watched(&names, NAME, DnsKind::Address { port: 80 });
        assert_eq!(reports.away().await, format!("no A or AAAA records for `{NAME}`"));
        names.are(&[(NAME, 0, "10.0.0.1")]);
        assert_eq!(reports.set_at_last().await.0.len(), 1);
        names.are(&[]);
        reports.away().await;
        names.are(&[(NAME, 300, "10.0.0.1")]);
        assert_eq!(reports.set_at_last().await.0.len(), 1);
    }
}

local_test! {
    async fn half_an_answer_is_enough_at_first_but_takes_nobody_away(names) {
        names.are(&[(NAME, 0, "10.0.0.1"), (NAME, 0, "fd00::1")]);
        names.fail(NAME, RecordType::AAAA);
        let mut reports = watched(&names, NAME, DnsKind::Address { port: 80 });
        assert_eq!(reports.addresses().await, ["10.0.0.1:80"]);
        names.fail(NAME, RecordType::A);
        assert!(reports.away().await.starts_with(&format!("cannot resolve `{NAME}`")));
    }
}

local_test! {
    async fn an_aliass_ttl_counts_too(names) {
        names.are(&[(NAME, 1, "w.example.test."), ("w.example.test.", 300, "10.0.0.1")]);
        let mut reports = watched(&names, NAME, DnsKind::Address { port: 80 });
        assert_eq!(reports.addresses().await, ["10.0.0.1:80"]);
        names.are(&[(NAME, 300, "v.example.test."), ("v.example.test.", 300, "10.0.0.2")]);
        assert_eq!(reports.addresses().await, ["10.0.0.2:80"]);
    }
}

local_test! {
    async fn service_records_bring_ports_and_weights_and_only_the_lowest_priority_counts(names) {
        names.are(&[
            (SERVICE, 300, "10 0 81 a.example.test."),
            (SERVICE, 300, "10 60 82 b.example.test."),
            (SERVICE, 300, "10 5 82 b.example.test."),
            (SERVICE, 300, "10 5 0 b.example.test."),
            (SERVICE, 300, "20 100 83 c.example.test."),
            (SERVICE, 300, "10 1 84 gone.example.test."),
            ("a.example.test.", 300, "10.0.0.2"),
            ("a.example.test.", 300, "fd00::2"),
            ("b.example.test.", 300, "10.0.0.1"),
            ("c.example.test.", 300, "10.0.0.3"),
        ]);
        let mut reports = watched(&names, SERVICE, DnsKind::Srv);
        let (found, left_out) = reports.set().await;
        let shown: Vec<_> = found.iter().map(|found| (found.address.to_string(), found.weight)).collect();
        let expected = [("10.0.0.1:82", 60), ("10.0.0.2:81", 1), ("[fd00::2]:81", 1)];
        assert_eq!(shown, expected.map(|(address, weight)| (address.to_owned(), weight)));
        assert_eq!(left_out, [
            "10.0.0.1:0 of `b.example.test.`: expected a port from 1 to 65535, found `0`",
            "10.0.0.1:82 of `b.example.test.`: another record has the same address",
            "no A or AAAA records for `gone.example.test.`",
        ]);
    }
}

local_test! {
    async fn a_service_that_is_not_there_takes_nobody_away(names) {
        names.are(&[(SERVICE, 300, "0 0 0 .")]);
        let mut reports = watched(&names, SERVICE, DnsKind::Srv);
        assert_eq!(reports.away().await, format!("`{SERVICE}` says that it is not available"));
        names.are(&[(SERVICE, 300, "0 0 1 gone.example.test.")]);
        assert_eq!(reports.away().await, format!("no target of `{SERVICE}` resolves"));
        names.are(&[]);
        assert_eq!(reports.away().await, format!("no SRV records for `{SERVICE}`"));
    }
}

local_test! {
    async fn a_server_that_does_not_answer_counts_as_away(names) {
        // Bound and never read.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = DnsConfig {
            server: Some(silent.local_addr().unwrap()),
            ..config(&names, NAME, DnsKind::Address { port: 80 })
        };
        let mut reports = Reports::of(|report| watch(config, report));
        let error = reports.away().await;
        assert!(error.contains(NAME), "{error}");
        assert_eq!(names.asked(NAME, RecordType::A), 0);
    }
}

local_test! {
    async fn without_a_server_of_its_own_the_systems_configuration_counts(names) {
        let config = DnsConfig {
            server: None,
            ..config(&names, "localhost", DnsKind::Address { port: 80 })
        };
        let mut reports = Reports::of(|report| watch(config, report));
        let addresses = reports.addresses().await;
        assert!(addresses.contains(&"127.0.0.1:80".to_owned()), "{addresses:?}");
    }
}
