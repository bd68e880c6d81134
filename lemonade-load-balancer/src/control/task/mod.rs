//! The control task: every command in turn, each either published whole or not at all.
//!
//! This file is its life. What it makes of backends' states is in `states`, of changes that somebody wants in `changes`; `leaving`
//! sees removed backends off, `estate` is what the next process gets.

mod changes;
mod estate;
mod leaving;
mod states;

use super::engine::Steering;
use super::events::Events;
use super::membership::{Membership, Preference};
use super::picks::Sampled;
use super::{Command, Kept, Order, QUEUE, Registry};
use crate::backend::{Backend, Move};
use crate::config::{BackendConfig, Config, Overlay};
use crate::guard::Guard;
use crate::listen::Listeners;
use crate::log_file::LogFile;
use crate::snapshot::{Member, Parts, Publisher, Snapshot};
use crate::strategy::Cursor;
use leaving::Leaving;
use states::StateChange;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often the drained are let go, and what requests met is looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Everything that only the task changes.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) registry: Registry,
    pub(super) guard: Guard,
    pub(super) membership: Membership,
    pub(super) publisher: Publisher,
    pub(super) steering: Steering,
    pub(super) sampled: Sampled,
    pub(super) events: Events,
    /// `None` once they are let go.
    pub(super) listeners: Option<Listeners>,
    pub(super) log: LogFile,
    pub(super) cursor: Arc<Cursor>,
    pub(super) epoch: std::time::Instant,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl Owned {
    /// Since the process began.
    fn now(&self) -> Duration {
        Instant::now()
            .into_std()
            .saturating_duration_since(self.epoch)
    }
}

/// Owns all that changes. [`Task::run`] is its life.
#[derive(Debug)]
pub(crate) struct Task {
    own: Owned,
    leaving: Vec<Leaving>,
    /// Something is known of a backend that is not published yet.
    learned: bool,
    /// Changes of state that are told as soon as what follows from them is published: who hears of one finds it so.
    untold: Vec<StateChange>,
}

/// The backends with their live state, new ones in the state they begin in.
pub(super) fn members(
    registry: &Registry,
    guard: &mut Guard,
    config: &Config,
    holding: Vec<BackendConfig>,
    now: Duration,
) -> Arc<[Member]> {
    let mut member = |backend: BackendConfig| {
        let live = registry
            .entry(backend.id.clone())
            .or_insert_with(|| Backend::new(backend.id.clone(), config.runtime.shards))
            .clone();
        guard.adopt(&live, &backend, config, now);
        Member {
            config: backend,
            live,
        }
    };
    holding.into_iter().map(&mut member).collect()
}

impl Task {
    pub(super) fn new(own: Owned) -> Self {
        Task {
            own,
            leaving: Vec::new(),
            learned: false,
            untold: Vec::new(),
        }
    }

    /// Runs until nobody is left to command it.
    pub(crate) async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                command = self.own.commands.recv() => match command {
                    Some(command) => self.obey_all(command),
                    None => return,
                },
                now = housekeeping.tick() => self.keep_house(now),
            }
        }
    }

    /// Carries out a command and those that wait behind it. What is learned of backends is published once: when a thousand fail in
    /// one instant, that is one change of the pool and not a thousand.
    fn obey_all(&mut self, first: Command) {
        let mut next = Some(first);
        let mut left = QUEUE;
        while let Some(command) = next {
            if !matches!(command, Command::Verdict { .. } | Command::Met { .. }) {
                self.publish_learned();
            }
            self.obey(command);
            left -= 1;
            next = (left > 0)
                .then(|| self.own.commands.try_recv().ok())
                .flatten();
        }
        self.publish_learned();
    }

    fn publish_learned(&mut self) {
        if std::mem::take(&mut self.learned) {
            let parts = self.own.publisher.load().parts();
            self.publish(parts);
        }
    }

    fn obey(&mut self, command: Command) {
        // Where an answer goes: if nobody waits any more, the change holds all the same.
        match command {
            Command::Verdict { backend, verdict } => {
                self.happened(&backend, Move::Probed(verdict), verdict.as_str());
            }
            Command::Met { backend, what } => self.met(&backend, what),
            Command::Reload { config, kept, done } => {
                let _ = done.send(self.reload(*config, kept));
            }
            Command::ReloadFailed { error } => self.refuse_reload(error),
            Command::Plan { config, done } => {
                let kept = Overlay::clone(self.own.membership.kept());
                let next = self.own.membership.under(&config, kept);
                let _ = done.send(self.consider(&config, &next).0);
            }
            Command::Draft { order, done } => {
                let present = self.own.publisher.load();
                let own = present.listening.proxy;
                let draft = self.own.membership.draft(&present.config, own, &order);
                let _ = done.send(draft);
            }
            Command::Obey { order, kept, done } => {
                let _ = done.send(self.by_hand(&order, kept));
            }
            Command::Found {
                source,
                backends,
                left_out,
            } => self.found(source, backends, left_out),
            Command::Away { source, error } => self.away(source, error),
            Command::External { name, value } => {
                let now = self.own.now();
                self.own.steering.told(name, value, now);
            }
            Command::ReopenLog { done } => {
                let _ = done.send(self.own.log.reopen());
            }
            Command::HandOver { done } => {
                let _ = done.send(self.hand_over());
            }
            Command::StopListening { taken_over, done } => {
                if let Some(listeners) = self.own.listeners.take() {
                    listeners.close(taken_over);
                }
                let _ = done.send(());
            }
        }
    }

    fn publish(&mut self, mut parts: Parts) {
        let present = self.own.publisher.load();
        let now = self.own.now();
        parts.trials = self.own.guard.trials(parts.members.list(), now);
        let snapshot = Snapshot::new(present.generation + 1, parts, &self.own.cursor);
        let (panic, was) = (snapshot.panic, present.panic);
        let (usable, all) = (snapshot.usable(), snapshot.members.len());
        self.own.publisher.publish(snapshot);
        self.tell_changes();
        if panic != was {
            self.announce_panic(panic, usable, all);
        }
    }

    fn keep_house(&mut self, now: Instant) {
        self.watch_over();
        self.see_off(now);
        self.steer();
        let since_epoch = self.own.now();
        self.own.sampled.collect(since_epoch);
        self.own.publisher.free_past();
    }

    /// Has the engine look, and what was set by hand end in its time.
    fn steer(&mut self) {
        let now = self.own.now();
        if self
            .own
            .steering
            .left(now)
            .is_some_and(|left| left.is_zero())
        {
            let (name, ttl) = (None, None);
            let order = Order::Strategy(Preference { name, ttl });
            // No such order can be refused.
            let _ = self.by_hand(&order, Kept::Nowhere);
        }
        let present = self.own.publisher.load();
        let steered = self.own.steering.tick(&present, now, &self.own.events);
        if let Some(steered) = steered {
            let mut parts = present.parts();
            parts.steered = steered;
            self.publish(parts);
        }
    }
}

#[cfg(test)]
mod tests;
