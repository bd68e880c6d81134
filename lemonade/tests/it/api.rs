//! The admin API as its OpenAPI document describes it.

use crate::process::{Running, address, get, lemonade, request};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn balancer() -> (Running, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.yaml");
    let text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: [{ name: one, address: \"127.0.0.1:1\" }, \"127.0.0.1:2\"]\n\
                discovery: { dns: \"no.such.name.invalid:80\" }\n";
    std::fs::write(&file, text).unwrap();
    let balancer = Running::start(&mut lemonade(&["lb", "-c", file.to_str().unwrap()]));
    let admin = address(&balancer.line("load balancer started"), "admin");
    (balancer, admin, folder)
}

fn call(admin: SocketAddr, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = request(admin, &text);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

/// Every call that the document lists, with a body that makes sense, in an order in which they all succeed.
fn calls() -> Vec<(&'static str, &'static str, &'static str, Option<Value>, u16)> {
    let one = "/api/v1/backends/{name}";
    vec![
        ("get", "/api/v1/status", "/api/v1/status", None, 200),
        ("get", "/api/v1/backends", "/api/v1/backends", None, 200),
        (
            "post",
            "/api/v1/backends",
            "/api/v1/backends",
            Some(json!({ "address": "127.0.0.1:3", "weight": 2 })),
            201,
        ),
        ("get", one, "/api/v1/backends/one", None, 200),
        (
            "put",
            "/api/v1/backends/{name}/weight",
            "/api/v1/backends/one/weight",
            Some(json!({ "weight": 5 })),
            200,
        ),
        (
            "post",
            "/api/v1/backends/{name}/drain",
            "/api/v1/backends/one/drain",
            None,
            200,
        ),
        (
            "post",
            "/api/v1/backends/{name}/enable",
            "/api/v1/backends/127.0.0.1:1/enable",
            None,
            200,
        ),
        ("delete", one, "/api/v1/backends/127.0.0.1:3", None, 200),
        ("get", "/api/v1/strategy", "/api/v1/strategy", None, 200),
        (
            "put",
            "/api/v1/strategy",
            "/api/v1/strategy",
            Some(json!({ "name": "weighted" })),
            200,
        ),
        (
            "get",
            "/api/v1/decisions",
            "/api/v1/decisions?limit=3",
            None,
            200,
        ),
        (
            "post",
            "/api/v1/explain",
            "/api/v1/explain",
            Some(
                json!({ "method": "PUT", "url": "http://h/a?b", "headers": { "X-User": "ann" }, "client": "192.0.2.7" }),
            ),
            200,
        ),
        (
            "get",
            "/api/v1/explain/picks",
            "/api/v1/explain/picks?limit=3",
            None,
            200,
        ),
        ("get", "/api/v1/config", "/api/v1/config", None, 200),
        (
            "post",
            "/api/v1/config/check",
            "/api/v1/config/check",
            Some(json!({ "backends": ["127.0.0.1:9"] })),
            200,
        ),
        (
            "get",
            "/api/v1/history",
            "/api/v1/history?seconds=9",
            None,
            200,
        ),
        (
            "get",
            "/api/v1/history/backends",
            "/api/v1/history/backends?seconds=9&name=one",
            None,
            200,
        ),
        (
            "get",
            "/api/v1/history/{id}",
            "/api/v1/history/1",
            None,
            200,
        ),
        ("get", "/dump", "/dump", None, 200),
        ("post", "/api/v1/reload", "/api/v1/reload", None, 200),
        ("post", "/api/v1/drain", "/api/v1/drain", None, 202),
    ]
}

/// Calls that answer without end, or end the process; tested elsewhere.
const OTHERS: [(&str, &str); 3] = [
    ("get", "/api/v1/events"),
    ("get", "/api/v1/live"),
    ("post", "/api/v1/upgrade"),
];

/// Waits until the first second is over: before, there is no history to ask for.
fn wait_for_history(admin: SocketAddr) {
    let begun = Instant::now();
    while call(admin, "GET", "/api/v1/history/1", None).0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no history");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_call_of_the_document_answers_as_it_says() {
    let (mut balancer, admin, _folder) = balancer();
    let (status, document) = call(admin, "GET", "/api/v1/openapi.json", None);
    assert_eq!(status, 200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    wait_for_history(admin);
    for (method, template, path, body, expected) in calls() {
        let described = &document["paths"][template][method];
        assert!(
            described.is_object(),
            "{method} {template} is not described"
        );
        let (status, answer) = call(admin, &method.to_uppercase(), path, body);
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let response = &described["responses"][expected.to_string()];
        assert!(
            response.is_object(),
            "{method} {template} does not describe {expected}"
        );
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_object() {
            check(&document, schema, &answer, path);
        }
    }
    assert!(balancer.wait().success(), "drained");

    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.push((method.clone(), path.clone()));
        }
    }
    described.sort();
    let tested = calls().into_iter().map(|(method, path, ..)| (method, path));
    let mut tested: Vec<(String, String)> = tested
        .chain(OTHERS)
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    tested.sort();
    assert_eq!(described, tested);
}

/// Checks an answer against its schema, which refers to others of the document.
fn check(document: &Value, schema: &Value, answer: &Value, path: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(answer)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{path}: {faults:?} in {answer}");
}

#[test]
fn wrong_calls_are_problems() {
    let (_balancer, admin, _folder) = balancer();
    for (method, path, body, status, part) in [
        ("GET", "/api/v1/nothing", None, 404, "no such path"),
        (
            "GET",
            "/api/v1/backends/nobody",
            None,
            404,
            "no backend is called `nobody`",
        ),
        ("DELETE", "/api/v1/strategy", None, 405, "no such method"),
        (
            "PUT",
            "/api/v1/strategy",
            Some(json!({ "name": "radnom" })),
            400,
            "did you mean `random`",
        ),
        (
            "PUT",
            "/api/v1/strategy",
            Some(json!({ "nam": "random" })),
            422,
            "unknown field `nam`",
        ),
        (
            "PUT",
            "/api/v1/strategy?persits=true",
            Some(json!({ "name": "random" })),
            400,
            "persits",
        ),
        (
            "PUT",
            "/api/v1/backends/one/weight",
            Some(json!({ "weight": 0 })),
            422,
            "1 to 65535",
        ),
        (
            "POST",
            "/api/v1/explain",
            Some(json!({ "url": "https://h/a" })),
            422,
            "plain HTTP",
        ),
        (
            "POST",
            "/api/v1/explain",
            Some(json!({ "url": "/", "headers": { "a": "b\r\nc: d" } })),
            422,
            "line break",
        ),
        ("GET", "/api/v1/explain/picks?limit=x", None, 400, "limit"),
        (
            "POST",
            "/api/v1/backends",
            Some(json!({ "address": "no.such.host.invalid:1" })),
            422,
            "does not resolve",
        ),
        (
            "POST",
            "/api/v1/config/check",
            Some(json!({ "listne": 1 })),
            422,
            "did you mean `listen`",
        ),
    ] {
        let (answered, problem) = call(admin, method, path, body);
        assert_eq!(answered, status, "{method} {path}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(part), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
    }
    // A page of another site, and a name that was pointed at us.
    let evil = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: {admin}\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(request(admin, &evil).0, 403);
    let rebound = "GET /api/v1/config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(request(admin, rebound).0, 403);
    assert_eq!(get(admin, "/ready").0, 200);
}

/// Reads events from a connection: number, type, data.
struct Events(BufReader<TcpStream>);

impl Events {
    fn follow(admin: SocketAddr, after: u64) -> Events {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        let ask = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {admin}\r\nLast-Event-ID: {after}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        Events(BufReader::new(stream))
    }

    fn next(&mut self) -> (u64, String, Value) {
        let (mut id, mut kind) = (0, String::new());
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(number) = line.strip_prefix("id: ") {
                id = number.trim().parse().unwrap();
            } else if let Some(word) = line.strip_prefix("event: ") {
                kind = word.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (id, kind, serde_json::from_str(data).unwrap());
            }
        }
    }

    fn until(&mut self, wanted: &str) -> (u64, Value) {
        loop {
            let (id, kind, data) = self.next();
            if kind == wanted {
                return (id, data);
            }
        }
    }
}

#[test]
fn events_tell_what_happens_and_are_kept_for_those_who_come_late() {
    let (_balancer, admin, folder) = balancer();
    let mut events = Events::follow(admin, 0);
    let (_, away) = events.until("source_away");
    assert_eq!(away["source"], "dns no.such.name.invalid");
    call(
        admin,
        "PUT",
        "/api/v1/strategy",
        Some(json!({ "name": "random" })),
    );
    let (number, changed) = events.until("changed_by_hand");
    assert_eq!(
        (&changed["change"], &changed["kept"]),
        (&"strategy: random".into(), &false.into())
    );
    get_refused(admin, folder.path());
    let (_, refused) = events.until("reload_refused");
    assert!(refused["error"].as_str().unwrap().contains("no such file"));
    // Who comes late, having seen the change by hand, is told what came after it.
    let (id, kind, _) = Events::follow(admin, number).next();
    assert!(id > number && kind != "changed_by_hand", "{id} {kind}");
}

fn get_refused(admin: SocketAddr, folder: &std::path::Path) {
    std::fs::remove_file(folder.join("lb.yaml")).unwrap();
    assert_eq!(call(admin, "POST", "/api/v1/reload", None).0, 422);
}
