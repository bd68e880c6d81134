//! One backend: a worker's process, and what the scenario's faults do to it.

use super::folder::file_name;
use super::stage::{LOOK, any_port, logging_to};
use super::wire::Wire;
use crate::command::Failure;
use crate::command::child::{self, START_TIMEOUT};
use lemonade_service::Framework;
use lemonade_simulation::scenario::{Backend, Change, Condition};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::{sleep, sleep_until, timeout};

/// How often the speed of a backend that warms up is set.
const WARMING_STEP: Duration = Duration::from_millis(100);

/// How long a worker may take to be told something.
const PATIENCE: Duration = Duration::from_secs(5);

/// What workers may be told of their speed; see `lemonade-service`.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// A worker, alive or not. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Worker {
    backend: Backend,
    framework: Framework,
    pub(super) address: SocketAddr,
    log: PathBuf,
    child: Child,
    stopped: bool,
    /// What it was told last.
    told: Value,
    /// CPU time of the processes that were killed, in ticks.
    spent: u64,
}

impl Worker {
    /// Starts the process, and does not wait for it.
    pub(super) fn start(
        backend: &Backend,
        framework: Framework,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let address = any_port()?;
        let log = folder.join(format!("{}.log", file_name(&backend.name)));
        Ok(Worker {
            child: spawn(backend, framework, address, &log)?,
            backend: backend.clone(),
            framework,
            address,
            log,
            stopped: false,
            told: Value::Null,
            spent: 0,
        })
    }

    /// Waits until it serves as it should in the best of times.
    pub(super) async fn wait_until_serving(&mut self) -> Result<(), Failure> {
        self.begin(&Condition::default(), Duration::ZERO).await
    }

    async fn begin(&mut self, condition: &Condition, now: Duration) -> Result<(), Failure> {
        child::wait_until_listening(&mut self.child, &self.backend.name, self.address).await?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.tell(condition, now).await {
                // Rocket listens twice, and resets those who came the first time.
                Err(_) if Instant::now() < deadline => sleep(LOOK).await,
                told => return told,
            }
        }
    }

    /// CPU time so far, in ticks.
    pub(super) fn spent(&self) -> u64 {
        self.spent + self.child.id().map_or(0, super::machine::ticks_of)
    }

    pub(super) async fn stop(&mut self) {
        self.go_on();
        child::stop(&mut self.child).await;
    }

    /// Has it suffer what is planned for it, in the order of time; what could not be done is said. It stays as it is after the last
    /// change.
    pub(super) async fn suffer(
        mut self,
        changes: Vec<Change>,
        start: Instant,
    ) -> (Self, Vec<String>) {
        let mut mishaps = Vec::new();
        let mut changes = changes.into_iter().peekable();
        while let Some(change) = changes.next() {
            sleep_until((start + change.at).into()).await;
            let mut result = self.become_such(&change.condition, start.elapsed()).await;
            let next = changes.peek().map(|next| start + next.at);
            while result.is_ok() && is_warming(&change.condition, start.elapsed()) {
                let step = Instant::now() + WARMING_STEP;
                if next.is_some_and(|next| next <= step) {
                    break;
                }
                sleep_until(step.into()).await;
                result = self.tell(&change.condition, start.elapsed()).await;
            }
            if let Err(failure) = result {
                mishaps.push(format!("{}: {failure}", self.backend.name));
            }
        }
        (self, mishaps)
    }

    async fn become_such(&mut self, condition: &Condition, now: Duration) -> Result<(), Failure> {
        let alive = self.child.id().is_some();
        match (alive, condition.crashed) {
            (true, true) => return self.die().await,
            (false, true) => return Ok(()),
            (false, false) => {
                let Worker {
                    backend, framework, ..
                } = self;
                self.child = spawn(backend, *framework, self.address, &self.log)?;
                self.told = Value::Null;
                self.begin(condition, now).await?;
            }
            (true, false) => self.go_on(),
        }
        self.tell(condition, now).await?;
        if condition.paused_until.is_some() {
            self.stopped = true;
            self.signal(Signal::STOP);
        }
        Ok(())
    }

    /// As from one moment to the next: connections are reset, and new ones refused.
    async fn die(&mut self) -> Result<(), Failure> {
        self.spent = self.spent();
        self.stopped = false;
        let killed = self.child.kill().await;
        killed.map_err(|error| Failure::Failed(format!("cannot be killed: {error}")))
    }

    fn go_on(&mut self) {
        if std::mem::take(&mut self.stopped) {
            self.signal(Signal::CONT);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It fails if the process has ended, which shows elsewhere.
            let _ = kill_process(id, signal);
        }
    }

    /// Sets its faults, unless they are as they should be.
    async fn tell(&mut self, condition: &Condition, now: Duration) -> Result<(), Failure> {
        let document = document(condition, self.backend.speed, now);
        if document == self.told {
            return Ok(());
        }
        let put = timeout(PATIENCE, put(self.address, &document)).await;
        match put {
            Ok(Some(200)) => {
                self.told = document;
                Ok(())
            }
            Ok(status) => Err(Failure::Failed(format!(
                "its faults could not be set: it answered {status:?}"
            ))),
            Err(_) => Err(Failure::Failed(format!(
                "its faults could not be set within {PATIENCE:?}"
            ))),
        }
    }
}

fn is_warming(condition: &Condition, now: Duration) -> bool {
    let over = |cold: &lemonade_simulation::scenario::Cold| cold.since + cold.over;
    condition.cold.as_ref().is_some_and(|cold| now < over(cold))
}

/// The chaos document for a condition.
fn document(condition: &Condition, speed: f64, now: Duration) -> Value {
    let speed = (speed / condition.slowdown(now)).clamp(*SPEEDS.start(), *SPEEDS.end());
    let failing = condition.fail.map_or(0.0, |failing| failing.rate);
    let after = condition
        .fail
        .map_or(Duration::ZERO, |failing| failing.after);
    json!({
        "speed": speed,
        "error_rate": format!("{:.4}%", failing * 100.0),
        "error_after": lemonade_config::format_duration(after),
        "hang": condition.hanging,
        // A simulated health check sees a hang, and so must this.
        "refuse_health": condition.hanging,
    })
}

async fn put(address: SocketAddr, document: &Value) -> Option<u16> {
    let body = document.to_string();
    let length = body.len();
    let request =
        format!("PUT /v1/chaos HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut wire = Wire::connect(address).await.ok()?;
    Some(wire.ask(request.as_bytes()).await.ok()?.status)
}

fn spawn(
    backend: &Backend,
    framework: Framework,
    address: SocketAddr,
    log: &Path,
) -> Result<Child, Failure> {
    let mut command = child::worker(framework.name(), address, &backend.name)?;
    command.args(["--capacity", &backend.workers.to_string()]);
    logging_to(&mut command, log)?;
    child::spawn(&mut command, &backend.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lemonade_simulation::scenario::{Cold, Failing};

    #[test]
    fn conditions_become_chaos() {
        let second = Duration::from_secs(1);
        let well = document(&Condition::default(), 2.0, second);
        assert_eq!(well["speed"], 2.0);
        assert_eq!(well["error_rate"], "0.0000%");
        assert_eq!(well["hang"], false);
        let condition = Condition {
            slow: 10.0,
            fail: Some(Failing {
                rate: 0.5,
                after: Duration::from_millis(2),
            }),
            hanging: true,
            ..Condition::default()
        };
        let ill = document(&condition, 2.0, second);
        assert_eq!(ill["speed"], 0.2);
        assert_eq!(ill["error_rate"], "50.0000%");
        assert_eq!(ill["error_after"], "2ms");
        assert_eq!(
            (&ill["hang"], &ill["refuse_health"]),
            (&json!(true), &json!(true))
        );
    }

    #[test]
    fn warming_backend_becomes_faster() {
        let second = Duration::from_secs(1);
        let condition = Condition {
            cold: Some(Cold {
                since: second,
                from: 5.0,
                over: 4 * second,
            }),
            ..Condition::default()
        };
        let speed = |at: u32| document(&condition, 1.0, at * second)["speed"].clone();
        assert_eq!([speed(1), speed(3), speed(5)], [0.2, 1.0 / 3.0, 1.0]);
        assert!(is_warming(&condition, 4 * second) && !is_warming(&condition, 5 * second));
    }
}
