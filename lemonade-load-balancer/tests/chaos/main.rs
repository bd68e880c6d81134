//! Faults survived, as a test that anyone can run: `cargo test -p lemonade-load-balancer --test chaos`.
//!
//! Each scenario has real backends whose behaviour is switched while they run, a real balancer in front of them, and clients
//! that ask at a steady rate. Its bound is asserted: no request that may be repeated fails while a backend is left that is
//! well; of the others no more than could not be helped. At the end there is a table, as markdown; it also goes to the file
//! that `LEMONADE_CHAOS_REPORT` names. `LEMONADE_CHAOS_SECONDS` makes each fault last so long (default 3), and
//! `LEMONADE_CHAOS_LOG` has the balancers say what they do. An argument picks the scenarios whose names hold it.
//!
//! A scenario is a process of its own, so that one's memory, log and panics are not another's; some run side by side. One that
//! fails while the machine pauses it for long is repeated: a process that gets no time answers nobody in time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apart;
mod backend;
mod broken;
mod crash;
mod descriptors;
mod disk;
mod flap;
mod hang;
mod load;
mod outage;
mod pause;
mod reload;
mod report;
mod slow;
mod stage;
mod warnings;
mod wire;

use report::Row;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// A scenario: what it is called, and how it goes.
type Scenario = (&'static str, fn() -> Pin<Box<dyn Future<Output = Row>>>);

const SCENARIOS: [Scenario; 27] = [
    ("crash", || Box::pin(crash::one())),
    ("crash_all_but_one", || Box::pin(crash::all_but_one())),
    ("crash_handing_over", || Box::pin(crash::handing_over())),
    ("lost", || Box::pin(crash::lost())),
    ("crash_midway", || Box::pin(crash::midway())),
    ("rolling_restart", || Box::pin(crash::rolling_restart())),
    ("hang", || Box::pin(hang::answering())),
    ("hang_in_accept", || Box::pin(hang::accepting())),
    ("hang_all_but_one", || Box::pin(hang::all_but_one())),
    ("hang_all_but_one_retried", || {
        Box::pin(hang::all_but_one_retried())
    }),
    ("reset_at_once", || Box::pin(broken::reset_at_once())),
    ("reset_midway", || Box::pin(broken::reset_midway())),
    ("garbage", || Box::pin(broken::garbage())),
    ("fail_fast", || Box::pin(broken::fail_fast())),
    (
        "fail_fast_retried",
        || Box::pin(broken::fail_fast_retried()),
    ),
    ("busy", || Box::pin(broken::busy())),
    ("flap_resetting", || Box::pin(flap::resetting())),
    ("flap_crashing", || Box::pin(flap::crashing())),
    ("ten_times_slower", || Box::pin(slow::ten_times())),
    ("cold_return", || Box::pin(slow::cold_return())),
    ("all_die", || Box::pin(outage::all_die())),
    ("all_hang", || Box::pin(outage::all_hang())),
    ("all_fail", || Box::pin(outage::all_fail())),
    ("disk_full", || Box::pin(disk::of_logs())),
    ("descriptors", || Box::pin(descriptors::run_out())),
    ("pause", || Box::pin(pause::of_everybody())),
    ("reload_storm", || Box::pin(reload::storm())),
];

/// Side by side: each spends its time waiting, and takes a small part of a core.
const AT_ONCE: usize = 4;
/// How often a scenario is repeated that failed while the machine was busy elsewhere.
const RERUNS: usize = 2;
/// Names the scenario that this process is.
const SCENARIO: &str = "LEMONADE_CHAOS_SCENARIO";
/// The one test that a runner of tests sees.
const TEST: &str = "faults_are_survived";

fn main() -> ExitCode {
    if apart::is_played() {
        return ExitCode::SUCCESS;
    }
    if let Ok(name) = std::env::var(SCENARIO) {
        play(&name);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        // As cargo-nextest asks: none is ignored.
        if !has("--ignored") {
            println!("{TEST}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| {
        let mut filters = arguments.iter().filter(|word| !word.starts_with('-'));
        has("--exact")
            || filters.clone().count() == 0
            || filters.any(|word| name.contains(word.as_str()))
    };
    let names = SCENARIOS.iter().map(|(name, _)| *name);
    report(&run(&names.filter(|name| wanted(name)).collect::<Vec<_>>()))
}

/// Runs one scenario in this process, and says what it found on standard output.
fn play(name: &str) {
    warnings::keep();
    let (_, scenario) = SCENARIOS
        .iter()
        .find(|(own, _)| *own == name)
        .expect("the parent names what there is");
    let mut row = runtime().block_on(scenario());
    row.check_memory();
    println!("{}", serde_json::to_string(&row).unwrap());
}

fn runtime() -> LocalRuntime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder.build_local(LocalOptions::default()).unwrap()
}

/// Runs each of them in a process of its own.
fn run(names: &[&str]) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Relaxed);
                    let Some(name) = names.get(place) else { return };
                    let mut row = in_its_own_process(name);
                    for _ in 0..RERUNS {
                        if row.is_void() {
                            row = in_its_own_process(name);
                        }
                    }
                    rows.lock().unwrap().insert(place, row);
                }
            });
        }
    });
    rows.into_inner().unwrap().into_values().collect()
}

fn in_its_own_process(name: &str) -> Row {
    let mut child = Command::new(std::env::current_exe().unwrap());
    // What a scenario says of itself, a panic for one, is for whoever watches.
    let child = child.env(SCENARIO, name).stderr(Stdio::inherit());
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().last().map(serde_json::from_str::<Row>);
    match row {
        Some(Ok(row)) if output.status.success() => row,
        _ => Row::failed(name, format!("ended with {}", output.status)),
    }
}

/// Prints the table, and what did not hold.
fn report(rows: &[Row]) -> ExitCode {
    let table = report::table(rows);
    println!("\n{table}");
    for row in rows.iter().filter(|row| !row.mishaps.is_empty()) {
        println!("{}: {:?}", row.fault, row.mishaps);
    }
    let broken: Vec<&Row> = rows.iter().filter(|row| !row.broken.is_empty()).collect();
    for row in &broken {
        let (fault, stall) = (&row.fault, row.stall);
        println!("FAILED {fault}: {}", row.broken.join("; "));
        println!("       the machine's longest pause was {stall:?}");
    }
    if let Some(path) = std::env::var_os("LEMONADE_CHAOS_REPORT") {
        std::fs::write(path, table).unwrap();
    }
    match broken.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
