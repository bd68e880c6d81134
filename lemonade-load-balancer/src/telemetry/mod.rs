//! Metrics and traces, pushed to whoever keeps them. The service has a thread of its own, and nobody waits for it.
//!
//! Three exporters, each with a bounded memory of its own and one push on its way at a time: traces and metrics over OTLP,
//! metrics over StatsD. A server that is away costs a failed push now and then; what could not be kept for it is dropped and
//! counted ([`signal`]). An exporter follows the configuration, and takes what waits along when its server moves.

mod backoff;
mod identity;
mod metrics;
mod server;
mod signal;
mod statsd;
mod traces;

use crate::config::Config;
use crate::drain::{Drain, Phase};
use crate::metrics::Sources;
use crate::snapshot::Published;
use crate::traces::Receiver;
use identity::Identity;
use std::time::Duration;
use tokio::time::timeout;

/// How long what is left may take to be pushed when the process ends.
const LAST_PUSH: Duration = Duration::from_secs(2);

/// Pushes one kind of thing to one server.
trait Exporter {
    /// What it goes by.
    type Config: PartialEq;

    /// The part of a configuration that concerns it; `None` while it is off.
    fn wanted(config: &Config) -> Option<Self::Config>;

    /// Pushes for ever. Dropped when the configuration changes or the process ends, at any of its awaits: what still waits
    /// then is in `self`.
    async fn export(&mut self, config: &Self::Config);

    /// Forgets what waits: there is no server any more.
    fn rest(&mut self);

    /// Pushes what is left, once. May be dropped too.
    async fn flush(&mut self, config: &Self::Config);
}

/// Runs every exporter until the drain is over, and what is left has been pushed or had its time.
pub(crate) async fn run(sources: Sources, traced: Receiver, drain: Drain) {
    signal::describe();
    let published = &sources.published;
    let identity = Identity::new(&published.load().config.resource, &mut fastrand::Rng::new());
    tokio::join!(
        follow(
            traces::Traces::new(traced, identity.clone()),
            published.clone(),
            drain.clone(),
        ),
        follow(
            metrics::Metrics::new(sources.clone(), identity),
            published.clone(),
            drain.clone(),
        ),
        follow(
            statsd::Statsd::new(sources.clone()),
            published.clone(),
            drain
        ),
    );
}

/// Runs one exporter by whatever configuration holds.
async fn follow<E: Exporter>(mut exporter: E, mut published: Published, mut drain: Drain) {
    loop {
        let Some(config) = E::wanted(&published.load().config) else {
            exporter.rest();
            tokio::select! {
                () = moved::<E>(&mut published, None) => continue,
                () = drain.reached(Phase::Over) => return,
            }
        };
        tokio::select! {
            () = exporter.export(&config) => {}
            () = moved::<E>(&mut published, Some(&config)) => {}
            () = drain.reached(Phase::Over) => {
                if timeout(LAST_PUSH, exporter.flush(&config)).await.is_err() {
                    exporter.rest();
                }
                return;
            }
        }
    }
}

/// Waits until something else is wanted of an exporter than this.
async fn moved<E: Exporter>(published: &mut Published, present: Option<&E::Config>) {
    while published.changed().await {
        if E::wanted(&published.load().config).as_ref() != present {
            return;
        }
    }
    // Nobody publishes any more: the process is ending, which the drain tells.
    std::future::pending().await
}
