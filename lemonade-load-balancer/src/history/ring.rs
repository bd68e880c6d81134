//! The last samples, and the way to those that come.

use super::sample::{BackendSeries, Sample, Totals};
use super::{KEPT, MOST_CELLS};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Reasons that are kept of a second that is not the last one.
const WHYS: usize = 32;

/// Written by the recorder, read by the admin API. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct History {
    ring: Arc<Mutex<Ring>>,
    last: Arc<watch::Sender<Option<Arc<Sample>>>>,
}

impl Default for History {
    fn default() -> Self {
        History {
            ring: Arc::default(),
            last: Arc::new(watch::Sender::new(None)),
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    samples: VecDeque<Arc<Sample>>,
    /// Backends in all of them.
    cells: usize,
}

impl History {
    /// The last sample, and then each as it is made; a reader that is slow skips some.
    pub(crate) fn live(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        self.last.subscribe()
    }

    /// The last so many seconds, oldest first.
    pub(crate) fn totals(&self, seconds: usize) -> Vec<Totals> {
        let samples = self.last(seconds);
        samples.iter().map(|sample| sample.totals.clone()).collect()
    }

    /// The last so many samples, oldest first.
    pub(crate) fn last(&self, seconds: usize) -> Vec<Arc<Sample>> {
        let ring = self.ring();
        let older = ring.samples.len().saturating_sub(seconds);
        ring.samples.iter().skip(older).cloned().collect()
    }

    /// The sample of this number, if it is still there.
    pub(crate) fn sample(&self, id: u64) -> Option<Arc<Sample>> {
        let ring = self.ring();
        let first = ring.samples.front()?.totals.id;
        let place = usize::try_from(id.checked_sub(first)?).ok()?;
        ring.samples.get(place).cloned()
    }

    /// What each backend (or only that of this name) did in the last so many seconds; with the numbers of the first and the
    /// last of them.
    pub(crate) fn series(&self, seconds: usize, name: Option<&str>) -> Series {
        let samples = self.last(seconds);
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut backends: Vec<BackendSeries> = Vec::new();
        for (second, sample) in samples.iter().enumerate() {
            let wanted = sample.names.iter().zip(&sample.cells);
            for (of, cell) in wanted.filter(|(of, _)| name.is_none_or(|name| name == of.as_str())) {
                let place = *places.entry(of).or_insert_with(|| {
                    backends.push(BackendSeries::new(of, samples.len()));
                    backends.len() - 1
                });
                backends[place].set(second, cell);
            }
        }
        let id = |sample: Option<&Arc<Sample>>| sample.map_or(0, |sample| sample.totals.id);
        Series {
            first: id(samples.first()),
            last: id(samples.last()),
            backends,
        }
    }

    pub(super) fn record(&self, sample: Sample) {
        let sample = Arc::new(sample);
        let mut ring = self.ring();
        if let Some(before) = ring.samples.back_mut().filter(|it| it.whys.len() > WHYS) {
            let mut trimmed = Sample::clone(before);
            trimmed.whys = trimmed.whys[..WHYS].to_vec();
            *before = Arc::new(trimmed);
        }
        ring.cells += sample.cells.len();
        ring.samples.push_back(sample.clone());
        while ring.samples.len() > KEPT || (ring.cells > MOST_CELLS && ring.samples.len() > 1) {
            let Some(oldest) = ring.samples.pop_front() else {
                break;
            };
            ring.cells -= oldest.cells.len();
        }
        drop(ring);
        self.last.send_replace(Some(sample));
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it is held; if something did, the samples are still samples.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Backends over some seconds.
pub(crate) struct Series {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) backends: Vec<BackendSeries>,
}
