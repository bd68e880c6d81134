//! Active health checks: asks every backend how it is, and tells the control task when the answer changed.
//!
//! One task a backend, started and stopped as snapshots come and go. A probe has its own connection and deadline, so it
//! neither waits for requests nor holds them up; probes of one backend never overlap, and those of many are spread by jitter.
//! A backend is probed as soon as it is known, so that a start takes no longer than it must; where there are many, their first
//! probes are spread over a second, because they would hold the control thread up all at once.

mod grpc;
mod http;
mod probe;
mod threshold;

use crate::backend::{Backend, BackendId, State};
use crate::config::HealthConfig;
use crate::control;
use crate::snapshot::{Member, Published};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use threshold::{Probed, Threshold};
use tokio::task::{AbortHandle, JoinSet};

/// What a probe calls itself.
const USER_AGENT: &str = "lemonade-health-check";
/// More backends than these are many.
const MANY: usize = 100;
/// Over how long the first probes of many are spread, if the interval is not shorter.
const SPREAD: Duration = Duration::from_secs(1);

/// What one probing task was started for; another task takes over when any of it changes.
#[derive(Debug, PartialEq)]
struct Target {
    endpoint: SocketAddr,
    health: HealthConfig,
}

/// Probes every backend of every snapshot until there are no more snapshots.
pub(crate) async fn run(mut published: Published, control: control::Handle) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<BackendId, (Target, Arc<Backend>, AbortHandle)> = HashMap::new();
    loop {
        // Reap what was aborted, so that the set does not grow with every reload; what panicked is started anew.
        while let Some(ended) = tasks.try_join_next_with_id() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a health check ended early");
                running.retain(|_, (_, _, task)| task.id() != error.id());
            }
        }
        let snapshot = published.load();
        let wanted = |member: &Member| {
            let health = snapshot.config.health.clone()?;
            Some(Target {
                endpoint: member.config.endpoint,
                health,
            })
        };
        running.retain(|id, (target, live, task)| {
            let stays = snapshot.member(id).is_some_and(|member| {
                Arc::ptr_eq(&member.live, live) && wanted(member).as_ref() == Some(target)
            });
            if !stays {
                task.abort();
            }
            stays
        });
        for member in snapshot.members.iter() {
            if let (false, Some(target)) = (running.contains_key(&member.live.id), wanted(member)) {
                let (live, control) = (member.live.clone(), control.clone());
                let spread = spread(snapshot.members.len(), target.health.interval);
                let task = tasks.spawn(watch(
                    live.clone(),
                    target.endpoint,
                    target.health.clone(),
                    spread,
                    control,
                ));
                running.insert(live.id.clone(), (target, live, task));
            }
        }
        if !published.changed().await {
            return;
        }
    }
}

/// Probes one backend for ever: the first time within `spread`, then every `interval`, give or take a tenth.
async fn watch(
    backend: Arc<Backend>,
    endpoint: SocketAddr,
    config: HealthConfig,
    spread: Duration,
    control: control::Handle,
) {
    let mut threshold = Threshold::new(config.rise, config.fall);
    let host = backend.id.to_string();
    let mut answers = answered_well(&backend);
    tokio::time::sleep(spread.mul_f64(fastrand::f64())).await;
    loop {
        let began = tokio::time::Instant::now();
        let result = probe::probe(&config, endpoint, &host).await;
        if let Err(error) = &result {
            tracing::debug!(backend = %backend.id, %error, "health check failed");
        }
        let probed = result
            .as_ref()
            .map_or_else(|error| error.probed(), |()| Some(Probed::Well));
        let before = std::mem::replace(&mut answers, answered_well(&backend));
        let state = backend.state.get();
        let observed = probed.and_then(|probed| threshold.observe(probed, answers > before, state));
        if let Some(verdict) = observed {
            if let (Err(error), true) = (&result, state != State::Unhealthy) {
                tracing::warn!(backend = %backend.id, %error, "health checks failed");
            }
            control.verdict(backend.id.clone(), verdict).await;
        }
        let jitter = 0.9 + 0.2 * fastrand::f64();
        // A probe that outlived the interval is followed by the next one at once, never by two.
        tokio::time::sleep_until(began + config.interval.mul_f64(jitter)).await;
    }
}

/// Over how long the first probes of so many backends are spread.
fn spread(backends: usize, interval: Duration) -> Duration {
    match backends > MANY {
        true => SPREAD.min(interval),
        false => Duration::ZERO,
    }
}

/// Answers below 500 that requests have got from a backend, counted by all shards.
fn answered_well(backend: &Backend) -> u64 {
    let answers = backend.stats.iter().flat_map(|shard| &shard.responses[..4]);
    answers.map(|count| count.load(Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_probes_wait_only_where_there_are_many() {
        let second = Duration::from_secs(1);
        assert_eq!(spread(100, 5 * second), Duration::ZERO);
        assert_eq!(spread(101, 5 * second), second);
        assert_eq!(spread(101, second / 10), second / 10);
    }
}
