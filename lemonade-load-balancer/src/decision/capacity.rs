//! What a backend can take, judged from outside: how long one request occupies it, how many it works on at once, and how much of
//! that is in use.
//!
//! The model is a queue before `width` equal servers. How much longer answers take than in the backend's fastest seconds gives
//! the waiting, and the approximation of Sakasegawa (1977) for waiting times in M/G/k gives the width at which the measured
//! rate waits so long. Where nothing waits the width cannot be known, only that it suffices.

use super::window::{KEPT, Track};

/// Answers this much slower than in the fastest seconds are noise, not a queue.
const NOISE: f64 = 1.1;
/// No backend is taken for wider.
const WIDEST: f64 = 4096.0;

/// A backend as a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Seconds that one request occupies one of its servers.
    pub service: f64,
    /// Requests that it works on at once, at least 1.
    pub width: f64,
    /// The share of that which is in use: 0 to 1.
    pub busy: f64,
}

/// The mean wait, in service times, before `width` servers that are offered work for `load` of them.
fn wait(load: f64, width: f64) -> f64 {
    let used = load / width;
    match used < 1.0 {
        true => used.powf((2.0 * (width + 1.0)).sqrt() - 1.0) / (width * (1.0 - used)),
        false => f64::INFINITY,
    }
}

/// The least width at which `load` waits no longer than `longest`.
fn width(load: f64, longest: f64) -> f64 {
    let (mut low, mut high) = (load.max(1.0), (2.0 * load).max(2.0));
    while wait(load, high) > longest && high < WIDEST {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..16 {
        let middle = (low + high) / 2.0;
        match wait(load, middle) > longest {
            true => low = middle,
            false => high = middle,
        }
    }
    high.min(WIDEST)
}

/// What the last minute shows of a backend; `None` if it answered next to nothing.
pub fn capacity(track: &Track) -> Option<Capacity> {
    let sum = track.sum();
    let service = track.baseline()?;
    let mean = sum.mean()?;
    let load = sum.answers / KEPT as f64 * service;
    let waits = mean / service;
    let width = match waits < NOISE {
        // Half of it would do as well, for all that is known.
        true => width(load, NOISE - 1.0).max(2.0 * load),
        false => width(load, waits - 1.0),
    };
    let limit = f64::from(track.last().limit);
    let full = sum.in_flight / KEPT as f64 / limit;
    Some(Capacity {
        service,
        width,
        busy: (load / width).max(full).clamp(0.0, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;
    use std::time::Duration;

    /// A minute of quiet at 10 ms, then one in which as many answers came, so much later.
    fn after(rate: u64, factor: f64) -> Capacity {
        let mut scene = Scene::new(1);
        for _ in 0..KEPT {
            scene.answer(0, rate, 10);
            scene.tick();
        }
        for _ in 0..KEPT {
            scene.answer_in(0, rate, Duration::from_secs_f64(0.010 * factor));
            scene.tick();
        }
        capacity(scene.windows.tracks().next().unwrap()).unwrap()
    }

    #[test]
    fn wait_agrees_with_one_server_exactly() {
        // M/M/1: used / (1 - used).
        for used in [0.3, 0.5, 0.9] {
            assert!((wait(used, 1.0) - used / (1.0 - used)).abs() < 1e-9);
        }
    }

    #[test]
    fn queue_shows_how_busy_a_backend_is() {
        let idle = after(50, 1.0);
        assert!(idle.busy <= 0.51, "{idle:?}");
        let busy = after(90, 8.0);
        assert!(busy.busy > 0.8 && busy.width < 1.4, "{busy:?}");
        let wide = after(1500, 3.0);
        assert!((15.0..17.5).contains(&wide.width), "{wide:?}");
    }

    #[test]
    fn backend_at_its_limit_is_busy() {
        let mut scene = Scene::new(1);
        scene.sample.backends[0].limit = 4;
        scene.sample.backends[0].in_flight = 4;
        for _ in 0..KEPT {
            scene.answer(0, 50, 10);
            scene.tick();
        }
        let capacity = capacity(scene.windows.tracks().next().unwrap()).unwrap();
        assert_eq!(capacity.busy, 1.0);
    }
}
