//! `lemonade load-balancer`: the process around the balancer's life.

use super::{Failure, child};
use crate::cli;
use crate::signals::{Request, Requests, Signals};
use crate::upgrade::{Legacy, Program};
use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::{Inputs, Overrides};
use lemonade_load_balancer::control::{self, Errand};
use lemonade_load_balancer::descriptors;
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::time::Duration;
use tracing::{error, info, warn};

pub(crate) fn run(mut options: cli::LoadBalancer) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    options.config = options
        .config
        .or_else(|| environment.get("LEMONADE_LB_CONFIG").map(PathBuf::from));
    let inputs = Inputs {
        path: options.config,
        environment,
        overrides: Overrides {
            listen: options.listen,
            strategy: options.strategy,
            backends: options.backends,
            admin: options.admin,
        },
    };
    // Before they are read: what is written meanwhile is a change.
    let read = inputs.fingerprint();
    let loaded = inputs.load()?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let kept = inputs.overlay()?;
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let program = Program::of_this_process().map_err(failed)?;
    let mut legacy = Legacy::take().map_err(failed)?;
    let start = Start {
        config: loaded.config,
        kept,
        inputs,
        read: Some(read),
        inherited: std::mem::take(&mut legacy.inherited),
        handover: legacy.handover.take(),
    };
    if let Err(error) = descriptors::raise_limit() {
        warn!(%error, "the limit on open files stays as it is");
    }
    let runtime = super::runtime()?;
    let served = runtime.block_on(serve(start, &program, legacy, options.until_stdin_ends));
    // A name that is being looked up is nothing to wait for.
    runtime.shutdown_background();
    served
}

/// Without a command: the load balancer, if anything says what to balance.
pub(crate) fn run_here(mut options: cli::LoadBalancer) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    let set = |name| environment.get(name).is_some();
    let told = set("LEMONADE_LB_CONFIG")
        || !options.backends.is_empty()
        || set("LEMONADE_LB_BACKEND_ADDRESSES");
    if options.config.is_none() && !told {
        options.config = HERE.iter().map(PathBuf::from).find(|path| path.is_file());
        if options.config.is_none() && !set("DATABASE_URL") {
            let files = HERE.join(", ");
            return Err(Failure::Usage(format!(
                "no command, and none of {files} is here\n\nTry `lemonade demo`, `lemonade load-balancer --config FILE`, \
                 `lemonade worker --framework axum` or `lemonade --help`."
            )));
        }
    }
    run(options)
}

/// The files that are looked for when none is named.
const HERE: [&str; 4] = ["config.yaml", "config.yml", "config.toml", "config.json"];

/// What happens next in the process's life.
enum Next {
    Stop,
    Request(Request),
}

async fn serve(
    start: Start,
    program: &Program,
    legacy: Legacy,
    until_stdin_ends: bool,
) -> Result<(), Failure> {
    let listening = |error| Failure::Failed(format!("cannot handle signals: {error}"));
    let mut signals = Signals::listen().map_err(listening)?;
    let mut requests = Requests::listen().map_err(listening)?;
    let mut app = App::start(start).map_err(|error| Failure::Failed(error.to_string()))?;
    announce(&app);
    if let Err(error) = legacy.ready() {
        warn!(%error, "the old process is gone already");
    }
    notify(&[NotifyState::Ready]);
    tokio::spawn(feed_watchdog());

    let stdin_ends = child::stdin_ends();
    tokio::pin!(stdin_ends);
    let taken_over = loop {
        let next = tokio::select! {
            () = signals.stop() => Next::Stop,
            () = &mut stdin_ends, if until_stdin_ends => Next::Stop,
            request = requests.next() => Next::Request(request),
            errand = app.errand() => match errand {
                Errand::Stop => Next::Stop,
                Errand::Upgrade => Next::Request(Request::Upgrade),
            },
        };
        match next {
            Next::Stop => break None,
            Next::Request(Request::Reload) => tokio::select! {
                () = reload(&app) => {}
                () = signals.stop() => break None,
            },
            Next::Request(Request::ReopenLogs) => reopen_logs(app.control()).await,
            Next::Request(Request::Upgrade) => {
                // What is changed from here on would not be known to the new process.
                let pause = app.operator().pause().await;
                let control = app.control().clone();
                let replaced = tokio::select! {
                    replaced = program.replace(&control) => replaced,
                    () = signals.stop() => break None,
                    () = stop_errand(&mut app) => break None,
                };
                match replaced {
                    Ok(pid) => {
                        info!(pid, "a new process has taken over");
                        notify(&[NotifyState::MainPid(pid)]);
                        break Some(pause);
                    }
                    Err(error) => error!(%error, "no new process has taken over: this one goes on"),
                }
            }
        }
    };
    let control = app.control().clone();
    let hurry = signals.stop();
    let leaving = async {
        if taken_over.is_some() {
            app.step_down(hurry).await;
        } else {
            notify(&[NotifyState::Stopping]);
            app.shut_down(hurry).await;
        }
    };
    tokio::pin!(leaving);
    loop {
        tokio::select! {
            () = &mut leaving => return Ok(()),
            // Logs are rotated while a process drains, too.
            request = requests.next() => if request == Request::ReopenLogs {
                reopen_logs(&control).await;
            },
        }
    }
}

/// Waits for a caller of the admin API to ask for a stop.
async fn stop_errand(app: &mut App) {
    while app.errand().await != Errand::Stop {
        info!("a new process is being started already");
    }
}

/// Says where it is to be found, in the log and for a person at a terminal.
fn announce(app: &App) {
    let snapshot = app.published().load();
    info!(
        listen = %app.listen(),
        admin = app.admin().map(tracing::field::display),
        strategy = %snapshot.strategy_name,
        backends = snapshot.members.len(),
        shards = snapshot.config.runtime.shards,
        pid = std::process::id(),
        "load balancer started"
    );
}

async fn reload(app: &App) {
    // For `Type=notify-reload`; the time is how systemd tells this reload from an earlier one.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    match app.operator().reload().await {
        Ok(plan) if plan.is_empty() => info!("configuration read again: no change"),
        // The control task has told what changed.
        Ok(_) => {}
        Err(failure) => error!("the configuration is not applied: {failure}"),
    }
    notify(&[NotifyState::Ready]);
}

async fn reopen_logs(control: &control::Handle) {
    match control.reopen_log().await {
        Ok(Ok(())) => info!("logs opened anew"),
        Ok(Err(error)) => {
            error!(%error, "the access log cannot be opened anew: the old file is written on");
        }
        Err(error) => warn!(%error, "logs not opened anew"),
    }
}

/// Tells systemd, if it started this process; without it, nothing is to be told.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be told");
    }
}

/// Tells systemd twice in each of its intervals that this process lives, if it wants to know.
async fn feed_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticker = tokio::time::interval((interval / 2).max(Duration::from_millis(10)));
    loop {
        ticker.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}
