//! The support dump: what the dashboard shows, as one file to send to somebody or to keep.

use super::super::dashboard::offline_page;
use super::super::problem::Problem;
use super::super::{Admin, Scrape};
use super::{backends, status, strategy};
use crate::config;
use crate::control::Event;
use crate::decision::Decision;
use crate::explain::Pick;
use crate::history::{KEPT, Sample};
use crate::timestamp::rfc3339;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Serialize, Serializer};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// Backends times seconds that are told one by one, about 230 bytes each before they are packed: fifteen minutes of 66 backends, one of
/// 1,000. The balancer as a whole is told of every second that is kept.
const MOST_CELLS: usize = 60_000;

/// One is made at a time: each takes a few times its own size of memory.
static TURN: Semaphore = Semaphore::const_new(1);

/// What the page needs to show what it showed.
#[derive(Serialize)]
struct Dump {
    time: String,
    status: status::Status,
    backends: Vec<backends::BackendStatus>,
    config: serde_json::Value,
    strategy: strategy::StrategyStatus,
    decisions: Vec<Decision>,
    picks: Vec<Pick>,
    #[serde(serialize_with = "each")]
    events: Vec<Arc<Event>>,
    samples: Samples,
    #[serde(serialize_with = "scraped")]
    metrics: Scrape,
}

/// Oldest first; the newest of them with their backends.
struct Samples(Vec<Arc<Sample>>);

/// One file, HTML: the dashboard with everything in it that this API tells (status, backends, configuration without secrets,
/// the last fifteen minutes, events, decisions, picks, metrics). It opens without a network, and changes nothing. Each backend's seconds go
/// back as far as 60,000 of all backends together.
#[utoipa::path(
    get,
    path = "/dump",
    responses((status = 200, body = String, content_type = "text/html"), (status = 500, body = Problem))
)]
pub(super) async fn dump(State(admin): State<Admin>) -> Result<impl IntoResponse, Problem> {
    // It is never closed.
    let turn = TURN.acquire().await;
    let dump = gather(admin).await;
    let name = format!(
        "attachment; filename=\"lemonade-{}.html\"",
        dump.time.replace(':', "-")
    );
    // With 1,000 backends this takes about a second, and others call meanwhile.
    let made = tokio::task::spawn_blocking(move || {
        // Its turn lasts until it is made, also where the caller has not waited.
        let _turn = turn;
        pack(&dump).map(|data| offline_page(&data))
    });
    let page = made
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| {
            tracing::error!(%error, "the support dump could not be made");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the dump could not be made",
            )
        })?;
    let fields = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // It is to be saved: as a page of this address it would be one that runs what is inline.
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ];
    Ok((fields, [(header::CONTENT_DISPOSITION, name)], page))
}

async fn gather(admin: Admin) -> Dump {
    let Json(status) = status::status(State(admin.clone())).await;
    let Json(backends) = backends::list(State(admin.clone())).await;
    let Json(strategy) = strategy::present(State(admin.clone())).await;
    Dump {
        time: rfc3339(SystemTime::now()),
        status,
        backends,
        config: config::view(&admin.published.load().config),
        strategy,
        decisions: admin.decisions.newest(usize::MAX),
        picks: admin.picks.newest(usize::MAX),
        events: admin.events.follow(0).0,
        samples: Samples(admin.history.last(KEPT)),
        metrics: admin.scrape,
    }
}

/// JSON is packed as it is written: all of it at once would be many times as large.
fn pack(dump: &Dump) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(io::BufWriter::with_capacity(1 << 16, &mut packed), dump)?;
    packed.finish()
}

fn each<S: Serializer>(events: &[Arc<Event>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(events.iter().map(|event| &**event))
}

fn scraped<S: Serializer>(scrape: &Scrape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&scrape())
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let detailed = detailed(self.0.iter().map(|sample| sample.len()));
        let first = self.0.len() - detailed;
        serializer.collect_seq(self.0.iter().enumerate().map(|(place, sample)| Second {
            sample,
            detailed: place >= first,
        }))
    }
}

/// How many of the last samples are told with their backends; `sizes`: how many each has, oldest first. The last one always is.
fn detailed(sizes: impl DoubleEndedIterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fitting = sizes.rev().take_while(|size| {
        sum += size;
        sum <= MOST_CELLS || sum == *size
    });
    fitting.count()
}

struct Second<'s> {
    sample: &'s Sample,
    detailed: bool,
}

impl Serialize for Second<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.detailed {
            true => self.sample.full().serialize(serializer),
            false => self.sample.totals.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_bounded_and_the_last_second_is_always_there() {
        assert_eq!(detailed([5; 900].into_iter()), 900);
        assert_eq!(detailed([1_000; 900].into_iter()), 60);
        assert_eq!(detailed([100_000; 3].into_iter()), 1);
        assert_eq!(detailed([].into_iter()), 0);
    }
}
