//! `lemonade top` as an operator meets it: in a terminal, before a balancer with workers and load.

use crate::process::{Running, address, get, lemonade, run};
use crate::terminal::Terminal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A balancer over two workers and one backend that is not there, under load.
struct Stage {
    balancer: Running,
    admin: SocketAddr,
    file: std::path::PathBuf,
    over: Arc<AtomicBool>,
    _workers: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn worker(name: &str) -> (Running, SocketAddr) {
    let arguments = [
        "worker",
        "-f",
        "tokio",
        "--address",
        "127.0.0.1:0",
        "--name",
        name,
    ];
    let running = Running::start(&mut lemonade(&arguments));
    let listen = address(&running.line("worker started"), "address");
    (running, listen)
}

impl Stage {
    fn set() -> Stage {
        let (listen, admin) = (free_address(), free_address());
        let (workers, addresses): (Vec<_>, Vec<_>) = ["w1", "w2"].map(worker).into_iter().unzip();
        let text = format!(
            "listen: {listen}\nadmin: {admin}\nhealth: {{ interval: 200ms }}\nstrategy: round_robin\nbackends:\n  \
             - {{ name: w1, address: \"{}\" }}\n  - {{ name: w2, address: \"{}\" }}\n  \
             - {{ name: gone, address: \"{}\" }}\n",
            addresses[0],
            addresses[1],
            free_address()
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lb.yaml");
        std::fs::write(&file, text).unwrap();
        let balancer = start(&file);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        std::thread::spawn(move || {
            while !is_over.load(Relaxed) {
                // While the balancer is away there is no load.
                let _ = asked(listen);
            }
        });
        Stage {
            balancer,
            admin,
            file,
            over,
            _workers: workers,
            _folder: folder,
        }
    }

    fn top(&self, columns: u16, rows: u16) -> Terminal {
        Terminal::start(&["top", "--admin", &self.admin.to_string()], columns, rows)
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = get(self.admin, &format!("/api/v1{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn start(file: &std::path::Path) -> Running {
    let balancer = Running::start(&mut lemonade(&["lb", "-c", file.to_str().unwrap()]));
    balancer.line("load balancer started");
    balancer
}

fn asked(listen: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(listen)?;
    stream.write_all(b"GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// The line of the screen that holds all of `parts`.
fn line<'s>(screen: &'s str, parts: &[&str]) -> Option<&'s str> {
    screen
        .lines()
        .find(|line| parts.iter().all(|part| line.contains(part)))
}

/// The time of the sample that is shown.
fn clock(screen: &str) -> Option<&str> {
    let first = screen.lines().next()?;
    first.split("live ").nth(1)?.split(' ').next()
}

/// Requests a second.
fn rate(screen: &str) -> Option<f64> {
    let figure = screen.split("/s").next()?.split(' ').next_back()?;
    figure.parse().ok()
}

#[test]
fn incident_is_seen_and_what_can_be_done_is_done() {
    let stage = Stage::set();
    let top = stage.top(80, 24);
    let screen = top.shows(&["1 of 3 backends is out: gone ", "round_robin", "w1", "w2"]);
    assert!(top.is_on_the_other_screen());
    assert!(line(&screen, &["✗ ", "gone"]).is_some(), "{screen}");

    // The numbers are real, and move.
    let screen = top.until("a rate", |screen| {
        rate(screen).is_some_and(|rate| rate > 0.0)
    });
    let first = clock(&screen).unwrap().to_owned();
    let second = top.until("another second", |screen| {
        clock(screen).is_some_and(|it| it != first)
    });
    let second = clock(&second).unwrap().to_owned();
    top.until("a third", |screen| {
        clock(screen).is_some_and(|it| it > second.as_str())
    });
    top.until("both at work", |screen| {
        let at_work =
            |name| line(screen, &["● healthy", name]).is_some_and(|line| line.contains('█'));
        at_work("w1") && at_work("w2")
    });

    // In another order.
    let places = |screen: &str| {
        ["gone ", "w1 ", "w2 "].map(|name| {
            let table = screen.split("STATE").nth(1).unwrap_or_default();
            table.find(name)
        })
    };
    top.until("trouble on top", |screen| places(screen).is_sorted());
    top.press("sr");
    // Who is chosen stays the one on top, now without a reason.
    top.until("the other way round", |screen| {
        screen.contains("by name, reversed") && places(screen).is_sorted_by(|a, b| a > b)
    });
    top.press("r");

    top.press("/W2");
    top.shows(&[" /W2_"]);
    top.press("\r");
    top.until("only w2", |screen| {
        line(screen, &["● healthy", "w2"]).is_some() && line(screen, &["● healthy", "w1"]).is_none()
    });

    top.press("d");
    top.shows(&[
        " drain w2? ",
        "It gets no new request",
        "1 other backend takes its share",
    ]);
    top.press("n");
    top.until("no question", |screen| !screen.contains("drain w2?"));
    assert_eq!(stage.api("/backends/w2")["drained"], false);
    top.press("d");
    top.shows(&[" drain w2? "]);
    top.press("y");
    top.shows(&[
        " drain w2 ",
        "~ w2 (",
        "drained",
        "2 backends are untouched",
    ]);
    assert_eq!(stage.api("/backends/w2")["drained"], true);
    top.press("x");
    top.shows(&["▽ draining  w2", "by hand: "]);
    top.press("e");
    top.shows(&[" enable w2? ", "It gets requests again"]);
    top.press("y");
    top.shows(&[" enable w2 ", "enabled", "any key closes it"]);
    assert_eq!(stage.api("/backends/w2")["drained"], false);
    top.press("x");
    top.until("the answer is gone", |screen| {
        !screen.contains("any key closes it")
    });

    top.press("w");
    top.shows(&[" weight of w2 "]);
    top.press("7\r");
    top.shows(&[" weight of w2: 7? "]);
    top.press("y");
    top.shows(&[" weight of w2: 7 ", "weight 1 to 7", "any key closes it"]);
    assert_eq!(stage.api("/backends/w2")["weight"], 7);
    top.press("x");

    let known = stage.api("/strategy")["known"].as_array().unwrap().clone();
    let place = |name: &str| known.iter().position(|it| it == name).unwrap();
    let down = place("random").checked_sub(place("round_robin")).unwrap();
    top.press("t");
    top.shows(&[" strategy ", "least_connections", "auto"]);
    top.press(&"j".repeat(down));
    top.press("\r");
    top.shows(&[" strategy random? ", "takes the place of round_robin"]);
    top.press("y");
    top.shows(&[" strategy random ", "any key closes it"]);
    assert_eq!(stage.api("/strategy")["name"], "random");
    top.press("x");
    top.until("who picks", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with(" random  running"))
    });

    top.press("q");
    assert!(top.given_back().success());
}

#[test]
fn picture_follows_the_size_of_the_window() {
    let stage = Stage::set();
    let top = stage.top(80, 24);
    top.shows(&["TREND", "events, newest first", "q quit"]);
    top.resize(160, 50);
    top.shows(&["WHY", "3 backends by trouble"]);
    top.resize(40, 10);
    top.until("the small picture", |screen| {
        !screen.contains("TREND")
            && screen.contains("gone")
            && screen.contains("ERR")
            && screen.contains("is out")
    });
    top.resize(80, 24);
    top.press("?");
    top.shows(&["ctrl-c", "any key closes it"]);
}

/// A key and a new size may come in one moment: crossterm's default source of events then keeps the key to itself until the next.
#[test]
fn no_key_waits_because_the_window_moves() {
    let stage = Stage::set();
    let top = stage.top(80, 24);
    top.shows(&["3 backends by trouble"]);
    for turn in 0..100 {
        top.resize(80 + turn % 2, 24);
        top.press("r");
        match turn % 2 {
            0 => top.shows(&["by trouble, reversed"]),
            _ => top.until("the first order", |screen| {
                screen.contains("3 backends by trouble") && !screen.contains("reversed")
            }),
        };
    }
}

#[test]
fn terminal_is_left_as_it_was_however_it_ends() {
    let stage = Stage::set();
    for (end, name) in [("q", ""), ("\u{3}", ""), ("", "TERM"), ("", "HUP")] {
        let top = stage.top(80, 24);
        top.shows(&["w1"]);
        match name {
            "" => top.press(end),
            name => top.signal(name),
        }
        assert!(top.given_back().success(), "{end:?} {name}");
    }
}

#[test]
fn balancer_that_is_away_is_said_to_be_and_comes_back() {
    let mut stage = Stage::set();
    let top = stage.top(80, 24);
    top.shows(&["live ", "gone: "]);
    stage.balancer.signal("KILL");
    stage.balancer.wait();
    top.until("how old it is", |screen| {
        let title = screen.lines().next().unwrap_or_default();
        title.contains("AWAY, ")
            && title.contains(" s old")
            && screen.contains("✗ the balancer is away, trying again")
    });
    let screen = top.shows(&["w1", "w2"]);
    assert!(
        line(&screen, &["healthy", "w1"]).is_some(),
        "what was is still shown: {screen}"
    );
    stage.balancer = start(&stage.file);
    top.until("it is back", |screen| {
        clock(screen).is_some() && screen.contains("is out: gone") && !screen.contains("away")
    });
    top.press("q");
    assert!(top.given_back().success());
}

#[test]
fn colour_is_left_out_at_wish() {
    let stage = Stage::set();
    let admin = stage.admin.to_string();
    let top = Terminal::start(&["top", "--admin", &admin], 80, 24);
    top.shows(&["healthy"]);
    assert!(top.has_colour());
    let plain = Terminal::start_with(&["top", "--admin", &admin], &[("NO_COLOR", "1")], 80, 24);
    plain.shows(&["● healthy", "✗ "]);
    assert!(!plain.has_colour());
    assert!(plain.has_bold("✗"), "what colour says is said otherwise");
}

#[test]
fn one_picture_is_printed_without_a_terminal() {
    let stage = Stage::set();
    let admin = stage.admin.to_string();
    // Until the balancer has found out who is there.
    let top = stage.top(80, 24);
    top.shows(&["is out: gone"]);
    let (code, picture, error) = run(&["top", "--once", "--admin", &admin]);
    assert_eq!(code, 0, "{error}");
    assert!(
        picture.contains("! 1 of 3 backends is out: gone "),
        "{picture}"
    );
    let head = picture
        .lines()
        .find(|line| line.starts_with("STATE"))
        .unwrap();
    assert!(
        head.contains("EJECTIONS") && head.ends_with("WHY"),
        "{picture}"
    );
    assert!(line(&picture, &["healthy", "w1"]).is_some(), "{picture}");
    assert!(!picture.contains('\u{1b}'), "{picture}");

    let (code, json, error) = run(&["top", "--once", "--json", "--admin", &admin]);
    assert_eq!(code, 0, "{error}");
    let sample: Value = serde_json::from_str(&json).unwrap();
    let id = sample["id"].as_u64().unwrap();
    let kept = stage.api(&format!("/history/{id}"));
    assert_eq!(kept["requests"], sample["requests"], "as the API has it");
    let names = sample["backends"].as_array().unwrap().iter();
    let names: Vec<&str> = names
        .map(|backend| backend["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["w1", "w2", "gone"]);
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let stage = Stage::set();
    let admin = stage.admin.to_string();
    let (code, _, error) = run(&["top", "--admin", &admin]);
    assert!(
        code == 2 && error.contains("not a terminal") && error.contains("--once"),
        "{code} {error}"
    );
    let (code, _, error) = run(&["top", "--json", "--admin", &admin]);
    assert!(
        code == 2 && error.contains("--once --json"),
        "{code} {error}"
    );
    let nobody = free_address().to_string();
    let (code, _, error) = run(&["top", "--once", "--admin", &nobody]);
    assert!(
        code == 1 && error.contains("cannot be reached"),
        "{code} {error}"
    );
    let top = Terminal::start(&["top", "--admin", &nobody], 80, 24);
    top.shows(&["cannot be reached"]);
    assert_eq!(
        top.given_back().code(),
        Some(1),
        "a wrong address is told at once"
    );
}
