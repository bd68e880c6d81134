//! One second, as it is kept and as it is told.

use super::reading::Work;
use crate::backend::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What one backend did in a second: 40 bytes, since there may be 900,000 of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) requests: u32,
    pub(super) errors: u32,
    pub(super) faults: u32,
    pub(super) in_flight: u32,
    pub(super) ejections: u32,
    pub(super) weight: f32,
    /// Seconds; negative if nothing was answered. So `p99`.
    pub(super) p50: f32,
    pub(super) p99: f32,
    pub(super) state: State,
    pub(super) eligible: bool,
}

impl Cell {
    /// Whatever goes by what it did; levels and states are added by the caller.
    pub(super) fn of(work: &Work) -> Self {
        let percentile = |share| {
            let seconds = work.first_byte.percentile(share);
            seconds.map_or(-1.0, |seconds| seconds as f32)
        };
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Cell {
            requests: count(work.answers),
            errors: count(work.errors),
            faults: count(work.faults),
            in_flight: 0,
            ejections: 0,
            weight: 0.0,
            p50: percentile(0.5),
            p99: percentile(0.99),
            state: State::Starting,
            eligible: false,
        }
    }
}

fn seconds(kept: f32) -> Option<f32> {
    (kept >= 0.0).then_some(kept)
}

/// The balancer as a whole in one second.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Rises by one with every sample of this process.
    pub(crate) id: u64,
    /// Its end, RFC 3339.
    pub(crate) time: String,
    /// How long it was: about 1.
    pub(crate) seconds: f64,
    /// Of the snapshot at its end.
    pub(crate) generation: u64,
    /// `running`, `unready` or `draining`.
    pub(crate) phase: &'static str,
    /// The strategy that was asked for.
    pub(crate) strategy: &'static str,
    /// The one that picks.
    pub(crate) picks: &'static str,
    /// Why backends are picked that are not usable: `few_usable` or `none_trusted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) panic: Option<&'static str>,
    /// Client connections open.
    pub(crate) connections: u32,
    /// Requests that wait for a backend with room.
    pub(crate) queued: u32,
    /// Requests in flight, at all backends.
    pub(crate) in_flight: u32,
    /// Requests answered.
    pub(crate) requests: u64,
    /// The same by status class: 1xx to 5xx; 499 is a client that left.
    pub(crate) classes: [u64; 5],
    /// Requests refused before they were read.
    pub(crate) refused: u64,
    /// Requests answered 503 because no backend had room.
    pub(crate) shed: u64,
    /// Attempts that failed and were made again.
    pub(crate) retries: u64,
    /// Requests that were sent twice.
    pub(crate) hedges: u64,
    /// From a request's head to its answer's last byte, the median; absent if nothing was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_seconds: Option<f64>,
    /// Nine of ten took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p90_seconds: Option<f64>,
    /// 99 of 100 took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_seconds: Option<f64>,
    /// Backends that may be picked.
    pub(crate) backends_eligible: usize,
    /// Those that are healthy or degraded.
    pub(crate) backends_usable: usize,
    /// All that some source names.
    pub(crate) backends_all: usize,
}

/// One second of everything.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) totals: Totals,
    /// Of the backends, in the order of `cells`; shared by all samples until a backend comes or goes.
    pub(super) names: Arc<[String]>,
    pub(super) cells: Box<[Cell]>,
    /// Why some are not as they should be, by place, in rising order.
    pub(super) whys: Vec<(usize, Box<str>)>,
}

/// A sample with its backends.
#[derive(Serialize, ToSchema)]
pub(crate) struct FullSample<'s> {
    #[serde(flatten)]
    totals: &'s Totals,
    /// In the order of their sources.
    backends: Vec<BackendSecond<'s>>,
}

/// One backend in one second.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackendSecond<'s> {
    /// For people.
    name: &'s str,
    /// `starting`, `healthy`, `degraded`, `unhealthy`, `ejected` or `draining`.
    #[schema(value_type = String)]
    state: State,
    /// It may be picked.
    eligible: bool,
    /// Why it is in its state; absent while it is well. Of the seconds before the last one, that of 32 backends is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'s str>,
    /// As much of its weight as counts.
    weight: f32,
    /// Requests sent to it whose answer has not ended.
    in_flight: u32,
    /// Its answers.
    requests: u32,
    /// Those of 500 and above.
    errors: u32,
    /// Attempts that failed by its fault.
    faults: u32,
    /// Its answers by those of all.
    share: f64,
    /// Time to first byte, the median; absent if it answered nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_seconds: Option<f32>,
    /// 99 of 100 answers began no later.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_seconds: Option<f32>,
    /// How often it was ejected since it was first met.
    ejections: u32,
}

impl Sample {
    /// How many backends it has.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// As it is told.
    pub(crate) fn full(&self) -> FullSample<'_> {
        let all: u64 = self.cells.iter().map(|cell| u64::from(cell.requests)).sum();
        let mut whys = self.whys.iter().peekable();
        let backends = self.names.iter().zip(&self.cells).enumerate();
        let told = backends.map(|(place, (name, cell))| BackendSecond {
            name,
            state: cell.state,
            eligible: cell.eligible,
            why: whys.next_if(|(at, _)| *at == place).map(|(_, why)| &**why),
            weight: cell.weight,
            in_flight: cell.in_flight,
            requests: cell.requests,
            errors: cell.errors,
            faults: cell.faults,
            share: f64::from(cell.requests) / all.max(1) as f64,
            p50_seconds: seconds(cell.p50),
            p99_seconds: seconds(cell.p99),
            ejections: cell.ejections,
        });
        FullSample {
            backends: told.collect(),
            totals: &self.totals,
        }
    }
}

/// One backend over some seconds, a column for each thing; `null` where it was not there.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct BackendSeries {
    /// For people.
    name: String,
    /// Its answers.
    requests: Vec<Option<u32>>,
    /// Those of 500 and above.
    errors: Vec<Option<u32>>,
    /// Requests in flight.
    in_flight: Vec<Option<u32>>,
    /// Time to first byte, the median; `null` also if it answered nothing.
    p50_seconds: Vec<Option<f32>>,
    /// 99 of 100 answers began no later.
    p99_seconds: Vec<Option<f32>>,
    /// Its state.
    #[schema(value_type = Vec<Option<String>>)]
    state: Vec<Option<State>>,
}

impl BackendSeries {
    pub(super) fn new(name: &str, seconds: usize) -> Self {
        BackendSeries {
            name: name.to_owned(),
            requests: vec![None; seconds],
            errors: vec![None; seconds],
            in_flight: vec![None; seconds],
            p50_seconds: vec![None; seconds],
            p99_seconds: vec![None; seconds],
            state: vec![None; seconds],
        }
    }

    pub(super) fn set(&mut self, second: usize, cell: &Cell) {
        self.requests[second] = Some(cell.requests);
        self.errors[second] = Some(cell.errors);
        self.in_flight[second] = Some(cell.in_flight);
        self.p50_seconds[second] = seconds(cell.p50);
        self.p99_seconds[second] = seconds(cell.p99);
        self.state[second] = Some(cell.state);
    }
}
