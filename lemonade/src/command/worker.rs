//! `lemonade worker`: the process around a worker's life.

use super::{Failure, child};
use crate::cli;
use crate::signals::Signals;
use lemonade_config::Environment;
use lemonade_service::{Framework, Worker, WorkerConfig, WorkerOptions};
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use tracing::info;

pub(crate) fn run(options: cli::Worker) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    let until_stdin_ends = options.until_stdin_ends;
    let config = WorkerConfig::resolve(worker_options(options), &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a runtime: {error}")))?;
    runtime.block_on(serve(config, until_stdin_ends))
}

fn worker_options(flags: cli::Worker) -> WorkerOptions {
    WorkerOptions {
        framework: flags.framework,
        address: flags.address,
        name: flags.name,
        delay: flags.delay,
        jitter: flags.jitter,
        speed: flags.speed,
        error_rate: flags.error_rate,
        capacity: flags.capacity,
        drain_timeout: flags.drain_timeout,
        scenario: flags.scenario,
        config: flags.config,
    }
}

async fn serve(config: WorkerConfig, until_stdin_ends: bool) -> Result<(), Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))?;
    let listener = listen(&config)?;
    let framework = config.framework;
    let address = listener
        .local_addr()
        .map(|address| address.to_string())
        .unwrap_or_default();
    info!(address, %framework, name = config.name, "worker started");
    let worker = Worker::new(config);
    let shutdown = async {
        tokio::select! {
            () = signals.stop() => {}
            () = child::stdin_ends(), if until_stdin_ends => {}
        }
    };
    let served = match framework {
        Framework::Actix => lemonade_worker_actix::run(listener, worker, shutdown).await,
        Framework::Axum => lemonade_worker_axum::run(listener, worker, shutdown).await,
        Framework::Hyper => lemonade_worker_hyper::run(listener, worker, shutdown).await,
        // Rocket's start is a state machine of 20 KB.
        Framework::Rocket => {
            Box::pin(lemonade_worker_rocket::run(listener, worker, shutdown)).await
        }
        Framework::Tokio => lemonade_worker_tokio::run(listener, worker, shutdown).await,
    };
    served.map_err(|error| Failure::Failed(format!("the worker failed: {error}")))?;
    info!("worker stopped");
    Ok(())
}

fn listen(config: &WorkerConfig) -> Result<TcpListener, Failure> {
    let address = &config.address;
    let bound = (address.host(), address.port())
        .to_socket_addrs()
        .and_then(|addresses| TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()));
    bound.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
            _ => error.to_string(),
        };
        Failure::Failed(format!("cannot listen on {address}: {why}"))
    })
}
