//! What an operator types while a balancer runs.

use crate::process::{Running, address, get, lemonade, request, run};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A running balancer with its file.
struct Balancer {
    process: Running,
    listen: SocketAddr,
    admin: String,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Balancer {
    fn start(text: &str) -> Balancer {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lb.yaml");
        std::fs::write(&file, text).unwrap();
        Balancer::over(folder, file)
    }

    fn over(folder: tempfile::TempDir, file: PathBuf) -> Balancer {
        let process = Running::start(&mut lemonade(&["lb", "-c", file.to_str().unwrap()]));
        let started = process.line("load balancer started");
        Balancer {
            listen: address(&started, "listen"),
            admin: address(&started, "admin").to_string(),
            process,
            file,
            folder,
        }
    }

    /// The same again: another process with the same files.
    fn restart(mut self) -> Balancer {
        self.process.signal("TERM");
        assert!(self.process.wait().success());
        Balancer::over(self.folder, self.file)
    }

    /// Runs a command against this balancer.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let all = [arguments, &["--admin", &self.admin]].concat();
        run(&all)
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (code, output, error) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        output
    }

    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str], why: &str) {
        let (exit, _, error) = self.run(arguments);
        assert_eq!(exit, code, "{error}");
        assert!(error.contains(why), "{error}");
    }
}

fn file(backends: &str, more: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: [{backends}]\n{more}\n"
    )
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn status_and_backends_are_shown() {
    let balancer = Balancer::start(&file("{ name: one, address: \"127.0.0.1:1\" }", ""));
    let status = balancer.good(&["status"]);
    assert!(
        status.contains("running") && status.contains(&balancer.listen.to_string()),
        "{status}"
    );
    let backends = balancer.good(&["backends"]);
    assert!(
        backends.starts_with("NAME") && backends.contains("one"),
        "{backends}"
    );
    let json: Value =
        serde_json::from_str(&balancer.good(&["backends", "list", "--json"])).unwrap();
    assert_eq!(
        (&json[0]["name"], &json[0]["source"]),
        (&"one".into(), &"file".into())
    );
    // Reading the file says where the API is.
    let config = balancer.file.with_file_name("other.yaml");
    write(
        &config,
        &format!("backends: [\"a:1\"]\nadmin: {}\n", balancer.admin),
    );
    let (code, output, _) = run(&["strategy", "-c", config.to_str().unwrap()]);
    assert_eq!(
        (code, output.as_str()),
        (0, "round_robin\n"),
        "whatever else is wrong in it"
    );
    write(
        &config,
        &format!("backends: [\"127.0.0.1:1\"]\nadmin: {}\n", balancer.admin),
    );
    let (code, output, _) = run(&["strategy", "-c", config.to_str().unwrap()]);
    assert_eq!((code, output.as_str()), (0, "round_robin\n"));
}

#[test]
fn backends_are_added_weighed_drained_enabled_and_removed() {
    let balancer = Balancer::start(&file("\"127.0.0.1:1\"", ""));
    let added = balancer.good(&[
        "backends",
        "add",
        "127.0.0.1:2",
        "--name",
        "two",
        "--weight",
        "3",
    ]);
    assert!(added.contains("+ two (127.0.0.1:2) (api)"), "{added}");
    assert!(
        balancer
            .good(&["backends", "weight", "two", "5"])
            .contains("weight 3 to 5")
    );
    assert!(
        balancer
            .good(&["backends", "drain", "127.0.0.1:1"])
            .contains("drained")
    );
    assert!(balancer.good(&["backends"]).contains("draining"));
    assert!(
        balancer
            .good(&["backends", "enable", "127.0.0.1:1"])
            .contains("enabled")
    );
    assert!(
        balancer
            .good(&["backends", "remove", "two"])
            .contains("- two")
    );
    balancer.refused(
        2,
        &["backends", "remove", "two"],
        "no backend is called `two`",
    );
    balancer.refused(
        2,
        &["backends", "weight", "127.0.0.1:1", "0"],
        "expected a weight of 1 to 65535",
    );
    balancer.refused(2, &["backends", "add", "nowhere"], "expected host:port");
    balancer.refused(
        1,
        &["backends", "add", "127.0.0.1:1"],
        "is a backend already",
    );
    balancer.refused(
        2,
        &["backends", "add", &balancer.listen.to_string()],
        "would loop",
    );
}

#[test]
fn changes_are_kept_beside_the_configuration_which_is_not_touched() {
    let text = file("\"127.0.0.1:1\", \"127.0.0.1:2\"", "");
    let balancer = Balancer::start(&text);
    balancer.good(&["backends", "weight", "127.0.0.1:1", "7", "--persist"]);
    balancer.good(&["backends", "add", "127.0.0.1:3", "--persist"]);
    balancer.good(&["backends", "remove", "127.0.0.1:2", "--persist"]);
    balancer.good(&["strategy", "set", "random", "--persist"]);
    balancer.good(&["backends", "add", "127.0.0.1:4"]);
    assert_eq!(std::fs::read_to_string(&balancer.file).unwrap(), text);

    let balancer = balancer.restart();
    let json: Value = serde_json::from_str(&balancer.good(&["backends", "--json"])).unwrap();
    let backends: Vec<(&str, u64)> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| {
            (
                backend["address"].as_str().unwrap(),
                backend["weight"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(backends, [("127.0.0.1:1", 7), ("127.0.0.1:3", 1)]);
    assert!(
        balancer
            .good(&["strategy"])
            .starts_with("random (set by hand")
    );

    // The file has the last word about what it changes.
    write(
        &balancer.file,
        &text.replace("\"127.0.0.1:1\"", "{ address: \"127.0.0.1:1\", weight: 2 }"),
    );
    balancer.good(&["reload"]);
    let json: Value = serde_json::from_str(&balancer.good(&["backends", "--json"])).unwrap();
    assert_eq!(json[0]["weight"], 2);

    let overlay = balancer.file.with_extension("overlay.json");
    write(&overlay, "{\"backends\": {\"nonsense\": {}}}");
    balancer.refused(2, &["reload"], "nonsense");
    assert!(balancer.good(&["strategy"]).starts_with("random"));
    balancer.refused(1, &["strategy", "set", "weighted", "--persist"], "nonsense");
}

#[test]
fn change_that_cannot_be_kept_is_not_made() {
    let (process, admin) = without_a_file();
    let change = ["strategy", "set", "random", "--persist", "--admin", &admin];
    let (code, _, error) = run(&change);
    assert!(
        code == 1 && error.contains("no configuration file"),
        "{error}"
    );
    let (_, strategy, _) = run(&["strategy", "--admin", &admin]);
    assert_eq!(strategy, "round_robin\n");
    drop(process);
}

fn without_a_file() -> (Running, String) {
    let arguments = [
        "lb",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--backend",
        "127.0.0.1:1",
    ];
    let process = Running::start(&mut lemonade(&arguments));
    let admin = address(&process.line("load balancer started"), "admin").to_string();
    (process, admin)
}

#[test]
fn check_says_what_is_wrong_and_what_would_change() {
    let balancer = Balancer::start(&file("\"127.0.0.1:1\", \"127.0.0.1:2\"", ""));
    let next = balancer.file.with_file_name("next.yaml");
    let path = next.to_str().unwrap();
    write(
        &next,
        &file(
            "\"127.0.0.1:2\", \"127.0.0.1:3\"",
            "strategy: random\ntimeouts: { idle: 1s }",
        ),
    );
    let checked = lemonade(&["check", path])
        .env("LEMONADE_LB_ADMIN_ADDRESS", "127.0.0.1:1")
        .status();
    assert!(
        checked.unwrap().success(),
        "a variable for --diff is no flag"
    );
    let (code, output, _) = run(&["check", path]);
    assert!(
        code == 0 && output.contains("is a good configuration"),
        "{output}"
    );
    let diff = balancer.good(&["check", path, "--diff"]);
    for line in [
        "+ 127.0.0.1:3 (file)",
        "- 127.0.0.1:1",
        "~ strategy: round_robin to random",
        "~ timeouts",
        "1 backend is untouched",
    ] {
        assert!(diff.contains(line), "{line} in:\n{diff}");
    }
    let json: Value =
        serde_json::from_str(&balancer.good(&["check", path, "--diff", "--json"])).unwrap();
    assert_eq!(json["untouched"], 1);
    assert!(
        balancer.good(&["backends"]).contains("127.0.0.1:1 "),
        "nothing was applied"
    );

    write(&next, &file("\"127.0.0.1:1\"", "runtime: { shards: 77 }"));
    balancer.refused(2, &["check", path, "--diff"], "cannot change to it");
    write(&next, "listne: x\nbackends: [nowhere]\n");
    let (code, output, error) = run(&["check", path, "--json"]);
    assert_eq!(code, 2, "{error}");
    let faults: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(faults["faults"][0]["line"], 1);
    assert_eq!(faults["faults"].as_array().unwrap().len(), 2);
}

#[test]
fn variables_of_the_caller_count_in_a_diff_and_those_of_the_balancer_do_not() {
    let balancer = Balancer::start(&file("\"127.0.0.1:1\"", ""));
    let next = balancer.file.with_file_name("next.yaml");
    write(
        &next,
        &file("{ address: \"127.0.0.1:1\", weight: \"${WEIGHT}\" }", ""),
    );
    let output = lemonade(&[
        "check",
        next.to_str().unwrap(),
        "--diff",
        "--admin",
        &balancer.admin,
    ])
    .env("WEIGHT", "4")
    .output()
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("weight 1 to 4"), "{text}");

    let admin: SocketAddr = balancer.admin.parse().unwrap();
    let body = "listen: \"${HOME}\"\n";
    let post = format!(
        "POST /api/v1/config/check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, problem) = request(admin, &post);
    assert!(
        status == 422 && problem.contains("`HOME` is not set"),
        "{problem}"
    );
}

#[test]
fn nobody_to_ask_is_said_plainly() {
    let (code, _, error) = run(&["status", "--admin", "127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(
        error.contains("127.0.0.1:1 cannot be reached")
            && error.contains("is the balancer running?"),
        "{error}"
    );
}

#[test]
fn token_opens_the_api_and_is_never_shown() {
    let token = "0123456789abcdef-secret";
    let balancer = Balancer::start(&file("\"127.0.0.1:1\"", "").replace(
        "admin: 127.0.0.1:0",
        &format!("admin: {{ listen: 127.0.0.1:0, token: {token} }}"),
    ));
    balancer.refused(1, &["status"], "a token is needed");
    let with = lemonade(&["status", "--admin", &balancer.admin])
        .env("LEMONADE_ADMIN_TOKEN", token)
        .output()
        .unwrap();
    assert!(with.status.success());
    let admin: SocketAddr = balancer.admin.parse().unwrap();
    assert_eq!(get(admin, "/live").0, 200);
    assert_eq!(get(admin, "/metrics").0, 401);
    let ask = format!(
        "GET /api/v1/config HTTP/1.1\r\nHost: lb.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let (status, config) = request(admin, &ask);
    assert_eq!(status, 200);
    assert!(!config.contains("secret"), "{config}");
}

#[test]
fn renamed_access_log_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let balancer = Balancer::start(&file(
        "\"127.0.0.1:1\"",
        &format!("access_log: {{ file: {} }}", log.display()),
    ));
    assert_eq!(get(balancer.listen, "/first").0, 502);
    let old = folder.path().join("access.log.1");
    until_holds(&log, "/first");
    std::fs::rename(&log, &old).unwrap();
    balancer.process.signal("USR1");
    balancer.process.line("logs opened anew");
    assert!(get(balancer.listen, "/second").0 >= 502);
    until_holds(&log, "/second");
    assert!(!std::fs::read_to_string(&old).unwrap().contains("/second"));
    // And it can be turned elsewhere by a reload.
    let other = folder.path().join("other.log");
    write(
        &balancer.file,
        &file(
            "\"127.0.0.1:1\"",
            &format!("access_log: {{ file: {} }}", other.display()),
        ),
    );
    balancer.good(&["reload"]);
    get(balancer.listen, "/third");
    until_holds(&other, "/third");
}

fn until_holds(path: &Path, text: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !std::fs::read_to_string(path)
        .unwrap_or_default()
        .contains(text)
    {
        assert!(
            std::time::Instant::now() < until,
            "{} never holds {text}",
            path.display()
        );
        std::thread::yield_now();
    }
}

#[test]
fn schema_for_editors_is_that_of_the_program() {
    let (code, printed, _) = run(&["check", "--schema"]);
    assert_eq!(code, 0);
    let committed =
        std::fs::read_to_string(crate::process::root().join("config/schema.json")).unwrap();
    assert!(
        printed == committed,
        "run `cargo run -- check --schema > config/schema.json`"
    );
}

#[test]
fn shells_and_man_are_served() {
    let (code, script, _) = run(&["completions", "bash"]);
    assert!(code == 0 && script.contains("_lemonade"));
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH"));
}

#[test]
fn engine_is_watched_and_overruled_by_hand() {
    let balancer = Balancer::start(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nstrategy: adaptive\nbackends: [\"127.0.0.1:1\"]\n\
         engine: { cooldown: 1s, rules: [{ name: own, when: usable >= 1, use: random }] }\n",
    );
    let begun = std::time::Instant::now();
    let told = loop {
        let told = balancer.good(&["decisions"]);
        if told.contains("least_delay -> random  by `own`") {
            break told;
        }
        assert!(begun.elapsed().as_secs() < 30, "{told}");
    };
    assert!(told.contains("  usable 1 (>= 1)\n"), "{told}");
    assert!(told.contains("rejected: `own` calls for random"), "{told}");
    assert!(
        balancer
            .good(&["strategy"])
            .starts_with("adaptive: random picks")
    );
    assert!(
        balancer
            .good(&["status"])
            .contains("adaptive: random picks")
    );
    let set = balancer.good(&["strategy", "set", "weighted", "--ttl", "1h"]);
    assert!(set.starts_with("weighted (set by hand for 3"), "{set}");
    balancer.refused(2, &["strategy", "set", "weighted", "--ttl", "soon"], "ttl");

    let mut following = lemonade(&[
        "decisions",
        "-f",
        "-n",
        "0",
        "--json",
        "--admin",
        &balancer.admin,
    ]);
    let mut following = following
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let stdout = std::io::BufReader::new(following.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut lines = std::io::BufRead::lines(stdout).map_while(Result::ok);
        lines.any(|line| sender.send(line).is_err());
    });
    // Who follows has to be connected first, so there is more than one thing to tell.
    let heard = (0..20).any(|_| {
        balancer.good(&["strategy", "set", "auto"]);
        let line = lines.recv_timeout(std::time::Duration::from_secs(3));
        balancer.good(&["strategy", "set", "weighted"]);
        line.is_ok_and(|line| line.starts_with('{') && line.contains("\"to\":\"random\""))
    });
    let _ = following.kill();
    let _ = following.wait();
    assert!(heard, "nothing was told");
}
