//! Figures from outside that rules of the engine may go by: Prometheus servers, asked now and then.
//!
//! One task a source, started, replaced and stopped as configurations come and go. A source that cannot be asked is said once;
//! its last value holds until it is stale, and is then nothing.

mod prometheus;

use crate::config::PrometheusConfig;
use crate::control;
use crate::snapshot::Published;
use std::collections::HashMap;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Asks every source of every snapshot until there are no more snapshots.
pub(crate) async fn run(mut published: Published, control: control::Handle) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<String, (PrometheusConfig, AbortHandle)> = HashMap::new();
    loop {
        // Reap what was aborted, so that the set does not grow with every reload; what panicked is started anew.
        while let Some(ended) = tasks.try_join_next_with_id() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "an external source ended early");
                running.retain(|_, (_, task)| task.id() != error.id());
            }
        }
        let config = published.load().config.clone();
        let wanted = &config.engine.prometheus;
        running.retain(|_, (source, task)| {
            let stays = wanted.contains(source);
            if !stays {
                task.abort();
            }
            stays
        });
        for source in wanted {
            running.entry(source.name.clone()).or_insert_with(|| {
                let watching = watch(source.clone(), control.clone());
                (source.clone(), tasks.spawn_local(watching))
            });
        }
        if !published.changed().await {
            return;
        }
    }
}

/// Asks one source for ever.
async fn watch(source: PrometheusConfig, control: control::Handle) {
    let mut turns = interval(source.interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        turns.tick().await;
        let asked = timeout(source.timeout, prometheus::ask(&source)).await;
        let answer =
            asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", source.timeout)));
        match answer {
            Ok(value) => {
                if std::mem::take(&mut away) {
                    tracing::info!(source = source.name, "external source back");
                }
                control.external(source.name.clone(), value).await;
            }
            Err(error) if !away => {
                away = true;
                let (name, stale) = (&source.name, source.stale);
                tracing::warn!(source = name, error, ?stale, "external source away");
            }
            Err(_) => {}
        }
    }
}
