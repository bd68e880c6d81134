//! `lemonade demo`: five workers, one a framework, with a load balancer before them, and a line of what to try next.
//!
//! The workers are processes of their own, so that one can be killed; the balancer runs in this one.

mod load;
mod table;

use super::Failure;
use super::child::{self, free};
use crate::cli;
use crate::signals::Signals;
use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::{self, AdminConfig, Overrides};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::sleep;

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
        let mut worker = child::worker(framework, backend.endpoint, &backend.name)?;
        worker.args(["--delay", &options.delay]);
        workers.push(child::spawn(&mut worker, &backend.name)?);
    }
    for (worker, backend) in workers.iter_mut().zip(&config.backends) {
        child::wait_until_listening(worker, &backend.name, backend.endpoint).await?;
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
        child::stop(worker).await;
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
    println!("  {program} top{reach}");
    println!("\nSee it, in a browser: http://{admin}/");
    if !load {
        println!(
            "\nWith requests of its own:\n  {program} demo --load    # instead of this: sends requests itself and shows who serves them"
        );
    }
    println!("\nCtrl-C stops everything.\n");
}
