//! `lemonade load-balancer`: the process around the balancer's life.

use super::Failure;
use crate::cli;
use crate::signals::Signals;
use lemonade_config::Environment;
use lemonade_load_balancer::app::App;
use lemonade_load_balancer::config::{self, Config, Overrides};
use lemonade_load_balancer::config_watch::Source;
use std::path::PathBuf;
use tracing::{info, warn};

pub(crate) fn run(mut options: cli::LoadBalancer) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    options.config = options
        .config
        .or_else(|| environment.get("LEMONADE_LB_CONFIG").map(PathBuf::from));
    let overrides = Overrides {
        listen: options.listen,
        strategy: options.strategy,
        backends: options.backends,
        admin: options.admin,
    };
    let loaded = config::load(options.config.as_deref(), &environment, &overrides)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let source = options.config.map(|path| Source {
        path,
        environment,
        overrides,
    });
    let runtime = super::runtime()?;
    runtime.block_on(serve(loaded.config, source))
}

/// Without a command: the load balancer, if anything says what to balance.
pub(crate) fn run_here(mut options: cli::LoadBalancer) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    let told = environment.get("LEMONADE_LB_CONFIG").is_some()
        || !options.backends.is_empty()
        || environment.get("LEMONADE_LB_BACKEND_ADDRESSES").is_some();
    if options.config.is_none() && !told {
        options.config = HERE.iter().map(PathBuf::from).find(|path| path.is_file());
        if options.config.is_none() {
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

async fn serve(config: Config, source: Option<Source>) -> Result<(), Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))?;
    let app = App::start(config, source).map_err(|error| Failure::Failed(error.to_string()))?;
    announce(&app);
    signals.stop().await;
    app.shut_down(signals.stop()).await;
    Ok(())
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
        "load balancer started"
    );
}
