//! What a run is played on: a worker process for each backend, and a balancer process for each replica, all new, so that no strategy
//! meets what an earlier one has left behind. Dropping the stage kills them all.

use super::worker::Worker;
use crate::cli::Reach;
use crate::client::{Body, Client};
use crate::command::Failure;
use crate::command::child::{self, START_TIMEOUT};
use hyper::Method;
use lemonade_config::format_duration;
use lemonade_load_balancer::strategy::Name;
use lemonade_service::Framework;
use lemonade_simulation::scenario::Scenario;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How often a start is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// The processes of one run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) workers: Vec<Worker>,
    pub(super) balancers: Vec<Balancer>,
}

/// A load balancer's process.
#[derive(Debug)]
pub(super) struct Balancer {
    child: Child,
    pub(super) listen: SocketAddr,
    admin: SocketAddr,
    /// Who served which request.
    pub(super) access_log: PathBuf,
}

impl Stage {
    /// Starts everything, and waits until every balancer has found every backend well. What they write goes to `folder`.
    pub(super) async fn set(
        scenario: &Scenario,
        strategy: Name,
        framework: Framework,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let mut workers = Vec::with_capacity(scenario.backends.len());
        for backend in &scenario.backends {
            workers.push(Worker::start(backend, framework, folder)?);
        }
        for worker in &mut workers {
            worker.wait_until_serving().await?;
        }
        let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
        let (processes, shards) = match scenario.shared {
            true => (1, scenario.replicas),
            false => (scenario.replicas, 1),
        };
        let mut balancers = Vec::with_capacity(processes);
        for number in 0..processes {
            let settings = Settings {
                scenario,
                strategy,
                shards,
                workers: &addresses,
            };
            balancers.push(Balancer::start(number, &settings, folder)?);
        }
        for balancer in &mut balancers {
            balancer.wait_until_ready().await?;
        }
        Ok(Stage { workers, balancers })
    }

    /// Has all of them end in order, so that their logs are complete.
    pub(super) async fn strike(&mut self) {
        for balancer in &mut self.balancers {
            child::stop(&mut balancer.child).await;
        }
        for worker in &mut self.workers {
            worker.stop().await;
        }
    }
}

/// What a balancer's configuration says.
struct Settings<'s> {
    scenario: &'s Scenario,
    strategy: Name,
    shards: usize,
    workers: &'s [SocketAddr],
}

impl Settings<'_> {
    /// As simulations have it: no retries, no queue; passive ejection, slow start and the rest as they are without a word.
    fn yaml(&self, listen: SocketAddr, admin: SocketAddr, access_log: &Path) -> String {
        let Scenario {
            backends, timeout, ..
        } = self.scenario;
        let timeout = format_duration(*timeout);
        let mut text = format!(
            "listen: {listen}\nadmin: {admin}\nstrategy: {}\nbackends:\n",
            self.strategy
        );
        for (backend, address) in backends.iter().zip(self.workers) {
            // JSON's strings are YAML's.
            let name = Value::from(backend.name.as_str());
            text += &format!(
                "  - {{ name: {name}, address: \"{address}\", weight: {} }}\n",
                backend.weight
            );
        }
        text += &match self.scenario.health {
            None => "health: off\n".to_owned(),
            Some(health) => format!(
                "health: {{ interval: {}, fall: {}, rise: {} }}\n",
                format_duration(health.interval),
                health.fall,
                health.rise
            ),
        };
        let file = Value::from(access_log.to_string_lossy());
        text += &format!(
            "timeouts: {{ response_header: {timeout}, total: {timeout} }}\n\
             retries: off\n\
             limits: {{ max_connections_per_client: off }}\n\
             access_log: {{ sample: 100%, format: json, file: {file} }}\n\
             runtime: {{ shards: {}, drain_timeout: 1500ms }}\n",
            self.shards
        );
        text
    }
}

impl Balancer {
    fn start(number: usize, settings: &Settings<'_>, folder: &Path) -> Result<Self, Failure> {
        let [listen, admin] = [any_port()?, any_port()?];
        let file = |kind: &str| folder.join(format!("balancer-{number}.{kind}"));
        let (config, access_log) = (file("yaml"), file("access.jsonl"));
        let text = settings.yaml(listen, admin, &access_log);
        std::fs::write(&config, text).map_err(|error| cannot_write(&config, &error))?;
        let mut command = child::command("load-balancer")?;
        command.arg("--config").arg(&config);
        logging_to(&mut command, &file("log"))?;
        Ok(Balancer {
            child: child::spawn(&mut command, "a load balancer")?,
            listen,
            admin,
            access_log,
        })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        child::wait_until_listening(&mut self.child, "the load balancer", self.listen).await?;
        let client = Client::reach(&Reach {
            admin: Some(self.admin.to_string()),
            ..Reach::default()
        })?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let backends = client.call(Method::GET, "/backends", Body::none()).await?;
            let well = json!("healthy");
            let all = backends.as_array();
            if all.is_some_and(|all| all.iter().all(|backend| backend["state"] == well)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let failed = "the load balancer does not find its backends well";
                return Err(Failure::Failed(failed.to_owned()));
            }
            sleep(LOOK).await;
        }
    }
}

/// The next port to look at. Those that the kernel gives to clients begin at 32768: on one of these a connection to a worker that has
/// crashed could meet itself, or take the place that the worker wants back.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A port where nobody listens.
pub(super) fn any_port() -> Result<SocketAddr, Failure> {
    const PORTS: u32 = 12_000;
    // Benches at one time begin at different ones.
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let next = first.wrapping_add(NEXT_PORT.fetch_add(1, Relaxed).into());
        let port = 20_000 + u16::try_from(next % PORTS).unwrap_or(0);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Failure::Failed("there is no free port".to_owned()))
}

/// What the process says goes to a file, and nothing of the tester's environment or folder configures it.
pub(super) fn logging_to(command: &mut Command, path: &Path) -> Result<(), Failure> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let twice = opened.and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err): (File, File) = twice.map_err(|error| cannot_write(path, &error))?;
    command.env_clear().stdout(out).stderr(err);
    if let Some(folder) = path.parent() {
        command.current_dir(folder);
    }
    Ok(())
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}
