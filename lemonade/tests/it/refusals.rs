//! Wrong input: one clear message, the right exit code.

use crate::process::{lemonade, run};
use std::net::TcpListener;

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let (exit, _, message) = run(arguments);
    assert_eq!(exit, code, "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` in:\n{message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn missing_file_is_named() {
    refused(
        &["load-balancer", "--config", "no/such.yaml"],
        2,
        &["no/such.yaml"],
    );
}

#[test]
fn unknown_extension_says_which_are_known() {
    let (_folder, path) = file("x.ini", "a=b");
    refused(
        &["load-balancer", "--config", &path],
        2,
        &[".yaml", ".toml", ".json"],
    );
}

#[test]
fn broken_file_says_where() {
    let (_folder, path) = file("x.yaml", "listen: [\n");
    refused(&["load-balancer", "--config", &path], 2, &["x.yaml:"]);
}

#[test]
fn misspelt_key_gets_a_suggestion() {
    let (_folder, path) = file("x.yaml", "backend: [\"127.0.0.1:1\"]\n");
    refused(
        &["load-balancer", "--config", &path],
        2,
        &["x.yaml:1:1", "did you mean `backends`"],
    );
}

#[test]
fn no_backends_says_how_to_name_some() {
    refused(
        &["load-balancer"],
        2,
        &["no backends", "LEMONADE_LB_BACKEND_ADDRESSES"],
    );
}

#[test]
fn backend_that_does_not_resolve_is_named() {
    refused(
        &["load-balancer", "--backend", "no-such-host.invalid:80"],
        2,
        &["no-such-host.invalid", "does not resolve"],
    );
}

#[test]
fn unknown_strategy_says_which_are_known() {
    refused(
        &[
            "load-balancer",
            "--backend",
            "127.0.0.1:1",
            "--strategy",
            "round_robbin",
        ],
        2,
        &[
            "--strategy",
            "did you mean `round_robin`",
            "least_connections",
        ],
    );
}

#[test]
fn unknown_framework_says_which_are_known() {
    refused(
        &["worker", "--framework", "axun"],
        2,
        &["--framework", "did you mean `axum`"],
    );
    refused(
        &["worker", "--framework", "warp"],
        2,
        &["warp", "actix", "rocket", "tokio"],
    );
    refused(&["worker"], 2, &["framework", "actix"]);
}

#[test]
fn port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let lb = [
        "load-balancer",
        "--backend",
        "127.0.0.1:1",
        "--admin",
        "off",
        "--listen",
        &address,
    ];
    refused(&lb, 1, &[&address, "in use"]);
    refused(
        &["worker", "--framework", "tokio", "--address", &address],
        1,
        &[&address, "in use"],
    );
}

#[test]
fn second_balancer_on_one_address_is_refused_although_the_kernel_would_share_it() {
    use crate::process::{Running, address};
    let arguments = [
        "load-balancer",
        "--backend",
        "127.0.0.1:1",
        "--admin",
        "off",
        "--listen",
    ];
    let first = Running::start(lemonade(&arguments).arg("127.0.0.1:0"));
    let listen = address(&first.line("load balancer started"), "listen").to_string();
    let mut second = arguments.to_vec();
    second.push(&listen);
    refused(&second, 1, &["in use"]);
}

#[test]
fn no_command_and_no_file_says_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let output = lemonade(&[]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lemonade demo"));
}

#[test]
fn unknown_command_is_a_usage_error() {
    refused(&["wroker"], 2, &["wroker"]);
}
