//! A stage for tests: backends whose totals are set by hand, in a time that is told.

use super::window::{BackendSample, Sample, Windows};
use crate::backend::{BackendId, UNLIMITED};
use crate::stats::histogram::{SLOTS, slot};
use std::time::Duration;

pub(super) fn id(place: usize) -> BackendId {
    let address = format!("127.0.0.1:{}", 10_000 + place);
    BackendId::new(address.parse().unwrap())
}

pub(super) struct Scene {
    pub(super) windows: Windows,
    pub(super) sample: Sample,
    pub(super) now: Duration,
}

impl Scene {
    pub(super) fn new(backends: usize) -> Self {
        let backends = (0..backends).map(|place| BackendSample {
            id: id(place),
            begun: 0,
            ended: 0,
            failed: 0,
            answers: 0,
            first_byte: Duration::ZERO,
            ejections: 0,
            in_flight: 0,
            limit: UNLIMITED,
            weight: 1,
            eligible: true,
            ejected: false,
            pace: None,
        });
        let mut scene = Scene {
            windows: Windows::default(),
            sample: Sample {
                backends: backends.collect(),
                histogram: vec![0; SLOTS],
                shed: 0,
            },
            now: Duration::from_secs(100),
        };
        scene.tick();
        scene
    }

    /// So many answers of one backend, each after so many milliseconds.
    pub(super) fn answer(&mut self, place: usize, count: u64, millis: u64) {
        self.answer_in(place, count, Duration::from_millis(millis));
    }

    pub(super) fn answer_in(&mut self, place: usize, count: u64, took: Duration) {
        let backend = &mut self.sample.backends[place];
        backend.begun += count;
        backend.ended += count;
        backend.answers += count;
        backend.first_byte += took * count as u32;
        self.sample.histogram[slot(took)] += count;
    }

    /// Of the last answers so many were errors.
    pub(super) fn fail(&mut self, place: usize, count: u64) {
        self.sample.backends[place].failed += count;
    }

    pub(super) fn tick(&mut self) {
        self.now += Duration::from_secs(1);
        self.windows.observe(&self.sample, self.now);
    }
}
