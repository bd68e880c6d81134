//! `lemonade demo`: five workers, one a framework, with a load balancer before them, and a line of what to try next.
//!
//! The workers are processes of their own, so that one can be killed; the balancer runs in this one.

mod load;
mod table;

use super::Failure;
use crate::cli;
use crate::signals::Signals;
use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::{self, AdminConfig, BackendConfig, Overrides};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long five processes may take to listen, on a slow machine under load.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The workers: framework, and address if that is free.
const WORKERS: [(&str, &str); 5] = [
    ("actix", "127.0.0.1:50510"),
    ("axum", "127.0.0.1:50520"),
    ("hyper", "127.0.0.1:50530"),
    ("rocket", "127.0.0.1:50540"),
    ("tokio", "127.0.0.1:50550"),
];

pub(crate) fn run(options: cli::Demo) -> Result<(), Failure> {
    super::runtime()?.block_on(demonstrate(options))
}

async fn demonstrate(options: cli::Demo) -> Result<(), Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))?;
    let mut config = configuration(&options)?;
    let mut workers = Vec::new();
    for ((framework, _), backend) in WORKERS.iter().zip(&config.backends) {
        workers.push(start_worker(framework, backend.endpoint, &options.delay)?);
    }
    for (worker, backend) in workers.iter_mut().zip(&config.backends) {
        wait_until_listening(worker, backend).await?;
    }
    config.runtime.drain_timeout = Duration::from_secs(2);
    let app = App::start(Start {
        config,
        ..Start::default()
    })
    .map_err(|error| Failure::Failed(error.to_string()))?;
    introduce(&app, &workers, options.load);

    let published = app.published().clone();
    let shown = async {
        let watch = table::show(published, WORKERS.map(|(framework, _)| framework));
        if options.load {
            let load = Arc::new(load::Load::default());
            tokio::join!(
                watch(load.clone()),
                load::drive(app.listen(), options.connections, load)
            );
        } else {
            std::future::pending::<()>().await;
        }
    };
    let over = async {
        match options.seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shown => {}
        () = over => {}
        () = signals.stop() => {}
    }
    app.shut_down(signals.stop()).await;
    for worker in &mut workers {
        // Its standard input ends with this, which it takes as a request to stop.
        drop(worker.stdin.take());
        let _ = tokio::time::timeout(Duration::from_secs(2), worker.wait()).await;
    }
    Ok(())
}

fn configuration(options: &cli::Demo) -> Result<config::Config, Failure> {
    let mut backends = Vec::new();
    for (_, address) in WORKERS {
        let wanted = address
            .parse()
            .map_err(|_| Failure::Failed(format!("`{address}` is no address")))?;
        backends.push(free(wanted)?.to_string());
    }
    let overrides = Overrides {
        strategy: Some(options.strategy.clone()),
        backends,
        ..Overrides::default()
    };
    // Only the flags count here: a demonstration is the same everywhere.
    let mut config = config::load(None, &Environment::default(), &overrides)?.config;
    for (backend, (framework, _)) in config.backends.iter_mut().zip(WORKERS) {
        backend.name = format!("worker-{framework}");
    }
    config.listen = free(config.listen)?;
    if let Some(admin) = &mut config.admin {
        admin.listen = free(admin.listen)?;
    }
    if let Some(health) = &mut config.health {
        health.interval = Duration::from_secs(1);
        health.timeout = Duration::from_millis(500);
    }
    Ok(config)
}

/// An address where nobody listens: the one that everyone expects, or, where another program has that, a port of the kernel's
/// choice.
fn free(wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    let bound = TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind(SocketAddr::new(wanted.ip(), 0)))
        .and_then(|listener| listener.local_addr());
    bound.map_err(|error| Failure::Failed(format!("the demo cannot listen on {wanted}: {error}")))
}

fn start_worker(framework: &str, address: SocketAddr, delay: &str) -> Result<Child, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot find myself: {error}")))?;
    Command::new(program)
        .args([
            "-q",
            "worker",
            "--until-stdin-ends",
            "--framework",
            framework,
            "--address",
            &address.to_string(),
        ])
        .args(["--name", &format!("worker-{framework}"), "--delay", delay])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        // A terminal's Ctrl-C reaches the whole group; the workers are to outlive the drain.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::Failed(format!("cannot start a worker: {error}")))
}

async fn wait_until_listening(worker: &mut Child, backend: &BackendConfig) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(backend.endpoint).await.is_err() {
        if let Ok(Some(status)) = worker.try_wait() {
            return Err(Failure::Failed(format!(
                "{} ended at once ({status})",
                backend.name
            )));
        }
        if Instant::now() > deadline {
            return Err(Failure::Failed(format!(
                "{} does not listen on {}",
                backend.name, backend.endpoint
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn introduce(app: &App, workers: &[Child], load: bool) {
    let listen = app.listen();
    println!("lemonade is open: http://{listen} balances over five workers, one a framework.\n");
    let snapshot = app.published().load();
    let addresses: Vec<SocketAddr> = snapshot
        .members
        .iter()
        .map(|member| member.config.endpoint)
        .collect();
    for (((framework, _), address), worker) in WORKERS.iter().zip(&addresses).zip(workers) {
        let id = worker
            .id()
            .map(|id| format!("pid {id}"))
            .unwrap_or_default();
        println!("  worker-{framework:<8} http://{address}  {id}");
    }
    let admin = app.admin().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let first = addresses.first().copied().unwrap_or(listen);
    let usual = AdminConfig::default().listen;
    let reach = match admin == usual {
        true => String::new(),
        false => format!(" --admin {admin}"),
    };
    println!("\nTry, in another terminal:");
    println!("  for i in 1 2 3 4 5; do curl -s http://{listen}/work; echo; done");
    println!("  kill -9 PID                    # of a worker above: no request fails");
    println!(
        "  curl -X PUT http://{first}/v1/chaos -d '{{\"delay\": \"200ms\"}}'    # a slow worker"
    );
    let program = std::env::args().next().unwrap_or_default();
    println!("  {program} strategy set fastest_response_time{reach}");
    println!("  {program} backends{reach}");
    println!("  curl http://{admin}/metrics");
    if !load {
        println!(
            "  {program} demo --load    # instead of this: sends requests itself and shows who serves them"
        );
    }
    println!("\nCtrl-C stops everything.\n");
}

/// Ends when standard input does; used by a worker whose parent may die without a word.
pub(crate) async fn stdin_ends() {
    let mut sink = tokio::io::sink();
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut sink).await;
    let _ = sink.flush().await;
}
