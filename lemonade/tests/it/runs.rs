//! The commands of the documents, run.

use crate::process::{Running, address, get, lemonade, request, run};

const FRAMEWORKS: [&str; 5] = ["actix", "axum", "hyper", "rocket", "tokio"];

fn worker(framework: &str) -> (Running, std::net::SocketAddr) {
    let arguments = [
        "worker",
        "--framework",
        framework,
        "--address",
        "127.0.0.1:0",
        "--name",
        framework,
        "--delay",
        "20",
    ];
    let running = Running::start(&mut lemonade(&arguments));
    let listen = address(&running.line("worker started"), "address");
    (running, listen)
}

#[test]
fn balancer_serves_over_workers_of_every_framework_and_drains() {
    let workers: Vec<_> = FRAMEWORKS
        .iter()
        .map(|framework| worker(framework))
        .collect();
    let addresses: Vec<String> = workers
        .iter()
        .map(|(_, address)| address.to_string())
        .collect();
    // From the environment alone, as a seed shows it.
    let mut balancer = Running::start(
        lemonade(&["load-balancer"])
            .env("LEMONADE_LB_LISTEN_ADDRESS", "127.0.0.1:0")
            .env("LEMONADE_LB_ADMIN_ADDRESS", "127.0.0.1:0")
            .env("LEMONADE_LB_STRATEGY", "round_robin")
            .env("LEMONADE_LB_BACKEND_ADDRESSES", addresses.join(",")),
    );
    let started = balancer.line("load balancer started");
    let (listen, admin) = (address(&started, "listen"), address(&started, "admin"));
    for _ in FRAMEWORKS {
        balancer.line("to=healthy");
    }
    let mut served: Vec<String> = FRAMEWORKS
        .iter()
        .map(|_| {
            let (status, body) = get(listen, "/work");
            assert_eq!(status, 200, "{body}");
            FRAMEWORKS
                .iter()
                .find(|name| body.contains(*name))
                .expect(&body)
                .to_string()
        })
        .collect();
    served.sort();
    assert_eq!(served, FRAMEWORKS, "each in turn");
    assert_eq!(get(listen, "/health").0, 200);
    assert_eq!(get(admin, "/ready").0, 200);

    let order = "{\"name\": \"power_of_two\"}";
    let put = format!(
        "PUT /api/v1/strategy HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
        order.len()
    );
    assert_eq!(request(admin, &put).0, 200);
    assert!(
        get(admin, "/metrics")
            .1
            .contains("lemonade_strategy_info{strategy=\"power_of_two\"} 1")
    );

    balancer.signal("TERM");
    assert!(balancer.wait().success());
    for (mut worker, _) in workers {
        worker.signal("TERM");
        assert!(worker.wait().success());
    }
}

#[test]
fn configuration_file_reloads_while_running() {
    let (_worker, first) = worker("hyper");
    let (_other, second) = worker("tokio");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load-balancer.yaml");
    let write = |backend: &str| {
        let text = format!("listen: 127.0.0.1:0\nadmin: off\nbackends: [\"{backend}\"]\n");
        std::fs::write(&path, text).unwrap();
    };
    write(&first.to_string());
    let balancer = Running::start(&mut lemonade(&["lb", "-c", path.to_str().unwrap()]));
    let listen = address(&balancer.line("load balancer started"), "listen");
    assert!(get(listen, "/work").1.contains("hyper"));
    write(&second.to_string());
    balancer.line("configuration reloaded");
    balancer.line("to=healthy");
    assert!(get(listen, "/work").1.contains("tokio"));
    std::fs::write(&path, "listen: nonsense\n").unwrap();
    balancer.line("not applied");
    assert!(get(listen, "/work").1.contains("tokio"));
}

#[test]
fn flat_json_without_a_command_is_a_balancer() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"listen_address\": \"127.0.0.1:0\", \"backend_servers\": [\"127.0.0.1:1\"]}";
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    let balancer = Running::start(
        lemonade(&[])
            .current_dir(folder.path())
            .env("LEMONADE_LB_ADMIN_ADDRESS", "off"),
    );
    let listen = address(&balancer.line("load balancer started"), "listen");
    balancer.line("to=unhealthy");
    assert_eq!(get(listen, "/").0, 503);
}

#[test]
fn second_signal_ends_the_drain() {
    use std::io::{Read, Write};
    let (worker, listen) = worker("axum");
    let mut slow = std::net::TcpStream::connect(listen).unwrap();
    let put = "PUT /v1/chaos HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"hang\": true}";
    slow.write_all(put.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    assert!(slow.read(&mut buffer).unwrap() > 0);

    let arguments = [
        "lb",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--backend",
        &listen.to_string(),
    ];
    let mut balancer = Running::start(&mut lemonade(&arguments));
    let started = balancer.line("load balancer started");
    let (front, admin) = (address(&started, "listen"), address(&started, "admin"));
    balancer.line("to=healthy");
    let mut client = std::net::TcpStream::connect(front).unwrap();
    client
        .write_all(b"GET /work HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    while !get(admin, "/api/v1/backends").1.contains("\"in_flight\":1") {
        std::thread::yield_now();
    }
    balancer.signal("TERM");
    balancer.line("draining");
    balancer.signal("TERM");
    assert!(balancer.wait().success());
    drop(worker);
}

#[test]
fn demo_drives_itself_and_shows_who_serves() {
    // One of its usual ports is taken: it finds another. (If it was taken already, so much the better.)
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 50_510));
    let mut demo = Running::start(&mut lemonade(&[
        "demo",
        "--load",
        "--seconds",
        "4",
        "--connections",
        "8",
    ]));
    let status = demo.wait();
    let output = demo.output();
    assert!(status.success(), "{output}");
    for framework in FRAMEWORKS {
        assert!(output.contains(&format!("worker-{framework}")), "{output}");
    }
    assert!(
        output.contains("answers/s by round_robin") && output.contains(" 0 failed"),
        "{output}"
    );
}

#[test]
fn version_and_help_are_there() {
    let (code, output, _) = run(&["--version"]);
    assert_eq!(
        (code, output),
        (0, format!("lemonade {}\n", env!("CARGO_PKG_VERSION")))
    );
    let (code, output, _) = run(&["help"]);
    assert_eq!(code, 0);
    assert!(
        output.contains("load-balancer") && output.contains("worker") && output.contains("demo")
    );
}
