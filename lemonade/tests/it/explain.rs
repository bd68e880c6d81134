//! `lemonade explain`, as an operator types it.

use crate::process::{Running, address, get, lemonade, run};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

struct Balancer {
    _process: Running,
    listen: SocketAddr,
    admin: String,
    _folder: tempfile::TempDir,
}

fn balancer(more: &str) -> Balancer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.yaml");
    let backends =
        "[{ name: one, address: \"127.0.0.1:1\" }, { name: two, address: \"127.0.0.1:2\" }]";
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: {backends}\n{more}\n"
    );
    std::fs::write(&file, text).unwrap();
    let process = Running::start(&mut lemonade(&["lb", "-c", file.to_str().unwrap()]));
    let started = process.line("load balancer started");
    Balancer {
        listen: address(&started, "listen"),
        admin: address(&started, "admin").to_string(),
        _process: process,
        _folder: folder,
    }
}

impl Balancer {
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(&[&["explain"], arguments, &["--admin", &self.admin]].concat())
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (code, output, error) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        output
    }
}

#[test]
fn answer_is_a_table_whose_last_line_says_who_and_why() {
    let balancer = balancer("strategy: least_delay");
    let url = format!("http://{}/work?x=1", balancer.listen);
    for arguments in [&[url.as_str()][..], &["POST", "/work"], &["HEAD", &url]] {
        let table = balancer.good(arguments);
        assert!(table.starts_with("least_delay: the lowest"), "{table}");
        assert!(table.contains("RANK") && table.contains("COST") && table.contains("ms"));
        let last = table.lines().last().unwrap();
        assert!(last.contains(" would be picked: "), "{table}");
    }
    let json: Value = serde_json::from_str(&balancer.good(&["/", "--json"])).unwrap();
    assert_eq!(json["backends"].as_array().unwrap().len(), 2);
}

#[test]
fn headers_and_client_decide_where_the_strategy_goes_by_them() {
    let balancer = balancer("strategy: { name: maglev, key: { header: X-User } }");
    let told = balancer.good(&["/", "-H", "X-User: ann"]);
    assert!(told.contains("\nkey: header X-User\n"), "{told}");
    let told = balancer.good(&["/", "--client", "192.0.2.7"]);
    assert!(
        told.contains("\nkey: client address 192.0.2.7, because"),
        "{told}"
    );
}

#[test]
fn backend_that_refused_a_request_is_out_and_says_so() {
    let balancer = balancer("outlier: { eject: 60s }");
    // Nobody listens there: both are met with, and both are tried all the same.
    assert_eq!(get(balancer.listen, "/").0, 502);
    let begun = Instant::now();
    loop {
        let told = balancer.good(&["/"]);
        if told.contains("requests fail everywhere") && told.contains("refused") {
            assert!(told.contains("panic: none_trusted"), "{told}");
            let (_, list, _) = run(&["backends", "list", "--admin", &balancer.admin]);
            assert!(
                list.contains("one  ejected: ") && list.contains("for another"),
                "{list}"
            );
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{told}");
    }
}

#[test]
fn sampled_picks_are_shown() {
    let balancer = balancer("strategy: least_connections\nengine: { trace_sample: 1 }");
    let none = balancer.good(&["--last"]);
    assert!(none.contains("no pick was kept yet"), "{none}");
    get(balancer.listen, "/");
    let begun = Instant::now();
    loop {
        let told = balancer.good(&["--last", "3"]);
        if told.contains("least_connections picked ") {
            assert!(told.contains("SCORE") && told.contains("RANK"), "{told}");
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{told}");
    }
}

#[test]
fn mistakes_are_explained_and_exit_2() {
    let balancer = balancer("");
    for (arguments, why) in [
        (&["https://127.0.0.1/"][..], "plain HTTP"),
        (&["work"], "expected `http://host/path`"),
        (&["GTE", "/"], "unknown method `GTE`"),
        (&["get", "/"], "did you mean `GET`"),
        (&["/", "-H", "nonsense"], "as `Name: value`"),
        (&["/", "-H", "a b: c"], "no name of a header field"),
        (&["/", "-H", "a: b\r\nc: d"], "line break"),
        (&["/", "--client", "nobody"], "the address of a client"),
        (&[], "required"),
        (&["/", "--last"], "cannot be used with"),
    ] {
        let (code, _, error) = balancer.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}
