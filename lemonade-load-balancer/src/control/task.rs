//! The control task: every command in turn, each either published whole or not at all.

use super::{Command, Registry, Verdict};
use crate::backend::{Backend, BackendId, State};
use crate::config::{Config, Diff, Refused};
use crate::snapshot::{Member, Publisher, Snapshot};
use crate::strategy::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Without health checks, how long a backend that refused a connection is left alone before requests try it again. Each
/// failed try costs that request one retry, never an error while another backend is left.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How often the drained are let go and the refused are tried again.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Owns all that changes. [`Task::run`] is its life.
#[derive(Debug)]
pub(crate) struct Task {
    registry: Registry,
    publisher: Publisher,
    commands: mpsc::Receiver<Command>,
    cursor: Arc<Cursor>,
    /// Backends to try again although no health check will say so, and when.
    try_again: Vec<(Instant, BackendId)>,
}

/// The configured backends with their live state, new ones in the state they begin in.
pub(super) fn members(registry: &Registry, config: &Config) -> Box<[Member]> {
    let begin = if config.health.is_some() {
        State::Starting
    } else {
        State::Healthy
    };
    let member = |backend: &crate::config::BackendConfig| {
        let live = registry
            .entry(backend.id.clone())
            .or_insert_with(|| Backend::new(backend.id.clone(), config.runtime.shards))
            .clone();
        match live.state.get() {
            State::Starting | State::Draining => drop(live.state.set(begin)),
            State::Unhealthy if config.health.is_none() => drop(live.state.set(begin)),
            _ => {}
        }
        Member {
            config: backend.clone(),
            live,
        }
    };
    config.backends.iter().map(member).collect()
}

impl Task {
    pub(super) fn new(
        registry: Registry,
        publisher: Publisher,
        commands: mpsc::Receiver<Command>,
        cursor: Arc<Cursor>,
    ) -> Self {
        Task {
            registry,
            publisher,
            commands,
            cursor,
            try_again: Vec::new(),
        }
    }

    /// Runs until nobody is left to command it.
    pub(crate) async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                now = housekeeping.tick() => self.keep_house(now),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Verdict { backend, verdict } => self.verdict(&backend, verdict),
            Command::ConnectFailed { backend, error } => self.connect_failed(&backend, &error),
            // Nobody waits any more: the change holds all the same.
            Command::Reload { config, done } => {
                let result = self.reload(*config);
                super::count_reload(result.is_ok());
                let _ = done.send(result);
            }
            Command::SetStrategy { name, done } => {
                let present = self.publisher.load();
                tracing::info!(from = %present.strategy_name, to = %name, "strategy changed");
                self.publish(present.config.clone(), present.members.clone(), name);
                let _ = done.send(());
            }
        }
    }

    fn verdict(&mut self, id: &BackendId, verdict: Verdict) {
        let to = match verdict {
            Verdict::Up => State::Healthy,
            Verdict::Down => State::Unhealthy,
        };
        let Some(backend) = self.registry.get(id).map(|entry| entry.clone()) else {
            return;
        };
        // A probe that was under way when its backend was removed has nothing to say any more.
        if backend.state.get() != State::Draining {
            self.move_to(&backend, to, "health check");
        }
    }

    fn connect_failed(&mut self, backend: &Arc<Backend>, error: &str) {
        if !backend.state.get().may_be_picked() {
            return;
        }
        self.move_to(backend, State::Unhealthy, error);
        if self.publisher.load().config.health.is_none() {
            self.try_again
                .push((Instant::now() + TRY_AGAIN_AFTER, backend.id.clone()));
        }
    }

    fn move_to(&mut self, backend: &Arc<Backend>, to: State, cause: &str) {
        let from = backend.state.set(to);
        if from == to {
            return;
        }
        let present = self.publisher.load();
        let name = present.name_of(backend);
        match to {
            State::Unhealthy => tracing::warn!(backend = %name, %from, %to, cause, "state changed"),
            _ => tracing::info!(backend = %name, %from, %to, cause, "state changed"),
        }
        self.publish_again();
        if self.publisher.load().pool.is_empty() {
            tracing::error!("no backend is healthy: requests are answered 503");
        }
    }

    fn reload(&mut self, config: Config) -> Result<Diff, Refused> {
        let present = self.publisher.load();
        let diff = Diff::between(&present.config, &config)?;
        if diff.is_empty() {
            return Ok(diff);
        }
        // A strategy set by hand stays until the file names another than it did.
        let strategy = match present.config.strategy == config.strategy {
            true => present.strategy_name,
            false => config.strategy,
        };
        let members = members(&self.registry, &config);
        for gone in present
            .members
            .iter()
            .filter(|old| !members.iter().any(|new| new.live.id == old.live.id))
        {
            gone.live.state.set(State::Draining);
        }
        self.publish(Arc::new(config), members, strategy);
        tracing::info!(changes = %diff, generation = self.publisher.load().generation, "configuration reloaded");
        Ok(diff)
    }

    fn publish_again(&self) {
        let present = self.publisher.load();
        self.publish(
            present.config.clone(),
            present.members.clone(),
            present.strategy_name,
        );
    }

    fn publish(&self, config: Arc<Config>, members: Box<[Member]>, strategy: strategy::Name) {
        let generation = self.publisher.load().generation + 1;
        self.publisher.publish(Snapshot::new(
            generation,
            config,
            members,
            strategy,
            &self.cursor,
        ));
    }

    fn keep_house(&mut self, now: Instant) {
        let due: Vec<_> = self
            .try_again
            .extract_if(.., |(at, _)| *at <= now)
            .collect();
        for (_, id) in due {
            let Some(backend) = self.registry.get(&id).map(|entry| entry.clone()) else {
                continue;
            };
            if backend.state.get() == State::Unhealthy {
                self.move_to(
                    &backend,
                    State::Healthy,
                    "tried again: there are no health checks",
                );
            }
        }
        self.registry.retain(|id, backend| {
            let drained = backend.state.get() == State::Draining && backend.load.in_flight() == 0;
            if drained {
                tracing::info!(backend = %id, "drained");
            }
            !drained
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handle, new};
    use super::*;
    use crate::config::BackendConfig;
    use crate::snapshot::Published;

    fn config(ports: &[u16]) -> Config {
        let backends = ports.iter().map(|port| BackendConfig {
            id: BackendId::new(format!("127.0.0.1:{port}").parse().unwrap()),
            endpoint: ([127, 0, 0, 1], *port).into(),
            name: format!("w{port}"),
            weight: 1,
        });
        Config {
            backends: backends.collect(),
            health: None,
            ..Config::default()
        }
    }

    fn started(ports: &[u16]) -> (Handle, Published) {
        let (task, handle, published) = new(config(ports));
        tokio::spawn(task.run());
        (handle, published)
    }

    fn pool(published: &Published) -> Vec<String> {
        let snapshot = published.load();
        snapshot
            .pool
            .backends()
            .iter()
            .map(|backend| snapshot.name_of(backend))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn refusing_backend_is_out_at_once_and_tried_again() {
        let (handle, mut published) = started(&[1, 2]);
        let backend = published.load().pool.backends()[0].clone();
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        handle.connect_failed(&backend, &refused);
        assert!(published.changed().await);
        assert_eq!(pool(&published), ["w2"]);
        assert!(
            published.changed().await,
            "without health checks it comes back by itself"
        );
        assert_eq!(pool(&published), ["w1", "w2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn reload_keeps_live_state_and_drains_what_goes() {
        let (handle, published) = started(&[1, 2]);
        let before = published.load();
        let in_flight = before.members[0].live.begin();
        handle.reload(config(&[2, 3])).await.unwrap().unwrap();
        assert_eq!(pool(&published), ["w2", "w3"]);
        assert!(Arc::ptr_eq(
            &before.members[1].live,
            &published.load().members[0].live
        ));
        assert_eq!(before.members[0].live.state.get(), State::Draining);

        // One that comes back before it has drained is the same backend, with its request still counted.
        handle.reload(config(&[1, 2])).await.unwrap().unwrap();
        assert_eq!(published.load().members[0].live.load.in_flight(), 1);
        drop(in_flight);
    }

    #[tokio::test(start_paused = true)]
    async fn strategy_set_by_hand_outlives_an_unrelated_reload() {
        let (handle, published) = started(&[1, 2]);
        handle.set_strategy(strategy::Name::Random).await.unwrap();
        handle.reload(config(&[1])).await.unwrap().unwrap();
        assert_eq!(published.load().strategy_name, strategy::Name::Random);
        let named = Config {
            strategy: strategy::Name::Weighted,
            ..config(&[1])
        };
        handle.reload(named).await.unwrap().unwrap();
        assert_eq!(published.load().strategy_name, strategy::Name::Weighted);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_reload_changes_nothing() {
        let (handle, published) = started(&[1]);
        let generation = published.load().generation;
        let listen = ([127, 0, 0, 1], 9).into();
        assert!(
            handle
                .reload(Config {
                    listen,
                    ..config(&[2])
                })
                .await
                .unwrap()
                .is_err()
        );
        assert_eq!(published.load().generation, generation);
    }
}
