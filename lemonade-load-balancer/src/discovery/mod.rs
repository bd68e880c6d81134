//! Where backends come from besides the file: a database, DNS.
//!
//! One task a source, started, replaced and stopped as configurations come and go. A source that cannot be asked is no
//! failure of the balancer: what it named last stays in use, and it is asked again with growing pauses.

mod backoff;
mod dns;
mod found;
mod keeper;
mod reporter;
mod sql;

pub(crate) use keeper::Keeper;
pub use sql::{SqlError, migrate};

use crate::backend::BackendId;
use crate::config::{BackendConfig, DnsConfig, Source, SqlConfig, Tier};
use crate::control;
use crate::snapshot::Published;
use found::{Found, Report};
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// What one task was started for; another takes over when it changes.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Sql(SqlConfig),
    Dns(DnsConfig),
}

/// Asks every source of every snapshot until there are no more snapshots.
pub(crate) async fn run(mut published: Published, control: control::Handle) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Source, (Target, AbortHandle)> = HashMap::new();
    loop {
        // Reap what was aborted, so that the set does not grow with every reload; what panicked is started anew.
        while let Some(ended) = tasks.try_join_next_with_id() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a source of backends ended early");
                running.retain(|_, (_, task)| task.id() != error.id());
            }
        }
        let wanted = targets(&published);
        running.retain(|source, (target, task)| {
            let stays = wanted.get(source) == Some(target);
            if !stays {
                task.abort();
            }
            stays
        });
        for (source, target) in wanted {
            running.entry(source).or_insert_with_key(|source| {
                let watching = watch(source.clone(), target.clone(), control.clone());
                (target, tasks.spawn_local(watching))
            });
        }
        if !published.changed().await {
            return;
        }
    }
}

fn targets(published: &Published) -> HashMap<Source, Target> {
    let discovery = &published.load().config.discovery;
    let sql = discovery.sql.iter();
    let sql = sql.map(|sql| (Source::Sql, Target::Sql(sql.clone())));
    let dns = discovery.dns.iter();
    let dns = dns.map(|dns| (dns.source(), Target::Dns(dns.clone())));
    sql.chain(dns).collect()
}

/// Asks one source for ever.
async fn watch(source: Source, target: Target, control: control::Handle) {
    let (sender, mut reports) = mpsc::unbounded_channel();
    let report = move |report| {
        // The receiver is dropped together with this.
        let _ = sender.send(report);
    };
    let ask = async {
        match target {
            Target::Sql(config) => sql::watch(config, report).await,
            Target::Dns(config) => dns::watch(config, report).await,
        }
    };
    let tell = async {
        while let Some(report) = reports.recv().await {
            tell(&source, report, &control).await;
        }
    };
    tokio::join!(ask, tell);
}

async fn tell(source: &Source, report: Report, control: &control::Handle) {
    match report {
        Report::Set { found, left_out } => {
            let backends = found.into_iter().map(|found| backend(source, found));
            control
                .found(source.clone(), backends.collect(), left_out)
                .await;
        }
        Report::Away { error, again_in } => {
            tracing::debug!(%source, error, ?again_in, "source of backends away");
            control.away(source.clone(), error).await;
        }
    }
}

fn backend(source: &Source, found: Found) -> BackendConfig {
    BackendConfig {
        name: found.name.unwrap_or_else(|| found.address.to_string()),
        id: BackendId::new(found.address),
        endpoint: found.endpoint,
        weight: found.weight,
        tier: Tier::default(),
        max_in_flight: None,
        source: source.clone(),
        drained: false,
    }
}

#[cfg(test)]
mod tests;
