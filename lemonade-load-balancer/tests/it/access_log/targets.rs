//! Where lines go: files that are renamed, syslogs, disks and pipes that take nothing.

use super::{Log, by_path, one_at_a_time, read, text_with};
use crate::balancer::{Balancer, balancer_with};
use lemonade_load_balancer::config::{Config, Syslog, SyslogAddress};
use lemonade_test::{Connection, Gate, Origin, PATIENCE, until};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

#[tokio::test]
async fn renamed_log_is_written_on_under_its_name() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    balancer.get("/").await;
    text_with(&log.path, 1).await;
    let old = log.path.with_extension("old");
    std::fs::rename(&log.path, &old).unwrap();
    balancer.get("/").await;
    text_with(&old, 2).await;
    balancer.app.control().reopen_log().await.unwrap().unwrap();
    balancer.get("/").await;
    text_with(&log.path, 1).await;
    assert_eq!(read(&old).lines().count(), 2);
}

#[tokio::test]
async fn lines_that_wait_are_written_when_the_balancer_goes() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    for _ in 0..20 {
        balancer.get("/").await;
    }
    assert!(balancer.app.shut_down(std::future::pending()).await);
    assert_eq!(read(&log.path).lines().count(), 20);
}

#[tokio::test]
async fn requests_that_the_end_of_a_drain_cuts_off_are_told() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    let mut client = balancer.client().await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: me\r\n\r\n";
    client.send(request).await;
    origin.request(1).await;
    assert!(!balancer.app.shut_down(std::future::ready(())).await);
    let line = log.line().await;
    assert_eq!(
        (&line["request_id"], &line["status"], &line["flag"]),
        (&json!("me"), &json!(503), &json!("cut_off"))
    );
    assert_eq!(line["attempts"][0]["error"], "cut_off");
    gate.open();
}

#[tokio::test]
async fn answer_that_the_end_of_a_drain_cuts_off_is_told_with_its_status() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.send("HTTP/1.1 200 OK\r\n\r\nhalf").await;
            connection.gone().await;
        }
    })
    .await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.exactly(4).await, b"half");
    assert!(!balancer.app.shut_down(std::future::ready(())).await);
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["flag"]),
        (&json!(200), &json!("cut_off"))
    );
    let attempt = &line["attempts"][0];
    assert_eq!(
        (&attempt["status"], &attempt["error"]),
        (&json!(200), &json!("cut_off"))
    );
    assert!(attempt["first_byte_seconds"].as_f64() > Some(0.0));
    let times = ["connect_seconds", "first_byte_seconds"].map(|name| line[name].as_f64());
    assert_eq!(times[1], attempt["first_byte_seconds"].as_f64());
    assert!(times[0] > Some(0.0), "it took a new connection");
    assert_eq!(line["bytes_out"], 0, "nobody knows how much had passed");
}

#[tokio::test]
async fn wait_in_the_queue_that_the_end_of_a_drain_cuts_off_is_told() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let log = Log::new();
    let balancer = one_at_a_time(&origin, &log, PATIENCE);
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n").await;
    origin.request(1).await;
    second.send("GET /second HTTP/1.1\r\nHost: h\r\n\r\n").await;
    until("one waits", || balancer.app.queued() == 1).await;
    assert!(!balancer.app.shut_down(std::future::ready(())).await);
    for line in log.lines(2).await {
        assert_eq!(line["flag"], "cut_off");
        let queued = line["queue_seconds"].as_f64();
        assert_eq!(queued > Some(0.0), line["path"] == "/second", "{line}");
        assert!(queued <= line["total_seconds"].as_f64(), "{line}");
    }
    gate.open();
}

/// The parts of an RFC 5424 message.
#[derive(Debug)]
struct Message {
    priority: u32,
    tag: String,
    line: Value,
}

fn parsed(datagram: &[u8]) -> Message {
    let text = std::str::from_utf8(datagram).unwrap();
    let (priority, rest) = text.strip_prefix('<').unwrap().split_once('>').unwrap();
    let parts: Vec<&str> = rest.splitn(8, ' ').collect();
    let [version, time, host, tag, process, "-", "-", line] = parts[..] else {
        panic!("{text}");
    };
    assert_eq!(version, "1");
    assert!(!host.is_empty());
    assert_eq!(process, std::process::id().to_string());
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["time"], time);
    Message {
        priority: priority.parse().unwrap(),
        tag: tag.to_owned(),
        line,
    }
}

fn to_syslog(address: SyslogAddress) -> impl FnOnce(&mut Config) {
    move |config| {
        config.access_log.sample = 1.0;
        config.access_log.syslog = Some(Syslog {
            address,
            ..Syslog::default()
        });
    }
}

const LOCAL0: u32 = 16 * 8;

/// A syslog that is there.
fn listening(path: &Path) -> UnixDatagram {
    let syslog = UnixDatagram::bind(path).unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    syslog
}

/// Asks for each path in turn, and looks at what `receive` gets of it.
async fn assert_told(balancer: &Balancer, receive: impl Fn(&mut [u8]) -> std::io::Result<usize>) {
    for (path, severity) in [("/", 6), ("/404", 5), ("/500", 3)] {
        balancer.get(path).await;
        let mut datagram = [0; 16 << 10];
        let length = receive(&mut datagram).unwrap();
        let message = parsed(&datagram[..length]);
        assert_eq!(
            (message.priority, message.tag.as_str()),
            (LOCAL0 + severity, "lemonade")
        );
        assert_eq!(message.line["path"], path);
    }
}

#[tokio::test]
async fn syslog_on_a_socket_gets_every_line() {
    let origin = by_path().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let syslog = listening(&path);
    let balancer = balancer_with(&[&origin], to_syslog(SyslogAddress::Socket(path.clone())));
    assert_told(&balancer, |datagram| syslog.recv(datagram)).await;
    // Started anew, it has another socket under the same name.
    std::fs::remove_file(&path).unwrap();
    drop(syslog);
    let syslog = listening(&path);
    assert_told(&balancer, |datagram| syslog.recv(datagram)).await;
    balancer
        .metric_reaches("lemonade_access_log_dropped_total", 0.0)
        .await;
}

#[tokio::test]
async fn syslog_over_udp_gets_every_line() {
    let origin = by_path().await;
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = syslog.local_addr().unwrap().to_string();
    let balancer = balancer_with(&[&origin], to_syslog(SyslogAddress::Udp(address)));
    assert_told(&balancer, |datagram| syslog.recv(datagram)).await;
}

#[tokio::test]
async fn syslog_that_is_away_costs_its_lines_until_it_is_back() {
    let origin = by_path().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let balancer = balancer_with(&[&origin], to_syslog(SyslogAddress::Socket(path.clone())));
    for _ in 0..3 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    balancer
        .metric_reaches("lemonade_access_log_dropped_total", 3.0)
        .await;
    let syslog = listening(&path);
    assert_told(&balancer, |datagram| syslog.recv(datagram)).await;
    balancer
        .metric_reaches("lemonade_access_log_dropped_total", 3.0)
        .await;
}

#[tokio::test]
async fn syslog_that_does_not_read_holds_up_no_other_target() {
    let origin = by_path().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let syslog = listening(&path);
    let balancer = balancer_with(&[&origin], to_syslog(SyslogAddress::Socket(path)));
    let mut client = balancer.client().await;
    // Its queue is full after a few.
    let dropped = "lemonade_access_log_dropped_total";
    while balancer.metric(dropped).await < 40.0 {
        for _ in 0..20 {
            client.get("/").await;
        }
    }
    syslog.set_nonblocking(true).unwrap();
    while syslog.recv(&mut [0; 8192]).is_ok() {}
    syslog.set_nonblocking(false).unwrap();
    // It reads again, and is told again.
    balancer.get("/500").await;
    let told = loop {
        let mut datagram = [0; 16 << 10];
        let length = syslog.recv(&mut datagram).unwrap();
        let message = parsed(&datagram[..length]);
        if message.line["path"] == "/500" {
            break message.priority;
        }
    };
    assert_eq!(told, LOCAL0 + 3);
}

#[tokio::test]
async fn disk_that_is_full_costs_lines_and_no_request() {
    let origin = by_path().await;
    let balancer = balancer_with(&[&origin], |config| {
        config.access_log.sample = 1.0;
        config.access_log.file = Some("/dev/full".into());
    });
    for _ in 0..5 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    balancer
        .metric_reaches("lemonade_access_log_dropped_total", 5.0)
        .await;
}

#[tokio::test]
async fn reader_that_is_stuck_costs_lines_and_no_request() {
    let origin = by_path().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    // Open both ways, so that opening does not wait for anybody.
    let reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let balancer = balancer_with(&[&origin], |config| {
        config.runtime.shards = 1;
        config.access_log.sample = 1.0;
        config.access_log.file = Some(pipe);
    });
    let path = format!("/{}", "x".repeat(7_000));
    let mut client = balancer.client().await;
    let mut asked = 0;
    let dropped = "lemonade_access_log_dropped_total";
    let begun = Instant::now();
    while balancer.metric(dropped).await < 1.0 {
        assert!(
            begun.elapsed() < PATIENCE,
            "nothing is dropped after {asked} requests"
        );
        for _ in 0..200 {
            assert_eq!(client.get(&path).await.status(), 200);
            asked += 1;
        }
    }
    // Somebody reads again: every line that was not dropped comes, whole, and so does the next.
    client.get("/last").await;
    let (found, last) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let is_last = |line: &String| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["path"] == "/last"
        };
        found.send(lines.position(|line| is_last(&line))).unwrap();
    });
    let mut read = last;
    let read = loop {
        // What was asked while the writer was behind may be among the dropped.
        tokio::select! {
            read = &mut read => break read.unwrap().unwrap(),
            _ = client.get("/last") => tokio::task::yield_now().await,
        }
    };
    assert!(read > 100, "{read} of {asked} lines");
    let lost = balancer.metric(dropped).await;
    assert!(
        lost >= (asked - read) as f64,
        "{read} of {asked} lines, {lost} dropped"
    );
}
