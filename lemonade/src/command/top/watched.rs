//! What was seen of the balancer so far: pure data that updates are applied to, and that the picture is drawn from.

use super::happened::Happened;
use super::sample::{Backend, Column, Columns, Sample, Totals};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Seconds that the sparklines of the whole reach back.
pub(super) const MINUTES: usize = 300;
/// Seconds that a backend's sparkline reaches back.
const MINUTE: usize = 60;
/// Seconds that the verdict looks at: one second's errors are noise, and a minute is too long to wait.
const RECENT: usize = 10;
/// As many as the balancer keeps.
const EVENTS: usize = 256;

/// News of the balancer.
#[derive(Debug)]
pub(super) enum Update {
    /// The connection stands; this is what was before it.
    Began {
        totals: Vec<Totals>,
        columns: Columns,
    },
    Sample(Box<Sample>),
    Status(Value),
    /// The names that can be set.
    Strategies(Vec<String>),
    Event(Value),
    /// It cannot be reached, and why.
    Away(String),
}

/// Whether what is shown is what is.
#[derive(Clone, Debug, Default)]
pub(super) enum Link {
    #[default]
    Connecting,
    Live,
    Away(String),
}

/// A backend's second, as far as it is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) p50_seconds: Option<f64>,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) link: Link,
    /// The oldest first; nothing where the connection was broken.
    pub(super) totals: VecDeque<Option<Totals>>,
    /// Of the last sample.
    pub(super) backends: Vec<Backend>,
    pasts: HashMap<String, VecDeque<Moment>>,
    /// The oldest first.
    pub(super) events: VecDeque<Happened>,
    pub(super) status: Value,
    pub(super) strategies: Vec<String>,
    /// When the last sample came.
    seen: Option<Instant>,
}

impl Watched {
    pub(super) fn apply(&mut self, update: Update, now: Instant) {
        match update {
            Update::Began { totals, columns } => self.begin(totals, columns),
            Update::Sample(sample) => self.sample(*sample, now),
            Update::Status(status) => self.status = status,
            Update::Strategies(names) => self.strategies = names,
            Update::Event(event) => self.event(&event),
            Update::Away(why) => self.link = Link::Away(why),
        }
    }

    /// How old what is shown is.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.seen.map(|seen| now.saturating_duration_since(seen))
    }

    pub(super) fn last(&self) -> Option<&Totals> {
        self.totals.iter().rev().flatten().next()
    }

    /// The last seconds, as far back as the verdict looks.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Totals> {
        self.totals.iter().rev().take(RECENT).flatten()
    }

    /// A backend's last minute, the oldest first.
    pub(super) fn past(&self, name: &str) -> impl DoubleEndedIterator<Item = &Moment> {
        self.pasts.get(name).into_iter().flatten()
    }

    /// The most that any backend answered in a second of the last minute.
    pub(super) fn most_requests(&self) -> u64 {
        let moments = self.pasts.values().flatten();
        moments.map(|moment| moment.requests).max().unwrap_or(0)
    }

    /// Its last seconds, as far back as the verdict looks.
    pub(super) fn recent_of(&self, name: &str) -> impl Iterator<Item = &Moment> {
        self.past(name).rev().take(RECENT)
    }

    /// Its requests and errors of the last seconds.
    pub(super) fn answers_of(&self, name: &str) -> (u64, u64) {
        self.recent_of(name).fold((0, 0), |(requests, errors), it| {
            (requests + it.requests, errors + it.errors)
        })
    }

    pub(super) fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }

    /// What the balancer remembers takes the place of what was seen of the same time; what is older stays, of an earlier
    /// process too.
    fn begin(&mut self, totals: Vec<Totals>, columns: Columns) {
        if let Some(first) = totals.first() {
            // RFC 3339 in UTC: in the order of time as text.
            let is_older = |it: &Option<Totals>| it.as_ref().is_none_or(|it| it.time < first.time);
            self.totals.retain(is_older);
        }
        let continues = |last: &Totals| totals.first().is_some_and(|it| it.id == last.id + 1);
        if self
            .totals
            .back()
            .and_then(Option::as_ref)
            .is_some_and(|last| !continues(last))
        {
            self.totals.push_back(None);
        }
        self.totals.extend(totals.into_iter().map(Some));
        keep(&mut self.totals, MINUTES);
        let moments = |column: Column| (column.name.clone(), moments(&column));
        self.pasts.extend(columns.backends.into_iter().map(moments));
    }

    fn sample(&mut self, sample: Sample, now: Instant) {
        self.link = Link::Live;
        self.seen = Some(now);
        // The first of a connection may be the last of the history.
        if self
            .last()
            .is_some_and(|last| last.time == sample.totals.time)
        {
            self.backends = sample.backends;
            return;
        }
        self.totals.push_back(Some(sample.totals));
        keep(&mut self.totals, MINUTES);
        for backend in &sample.backends {
            self.remember(backend);
        }
        self.backends = sample.backends;
        if self.pasts.len() > self.backends.len() {
            self.forget_the_gone();
        }
    }

    fn remember(&mut self, backend: &Backend) {
        let moment = Moment {
            requests: backend.requests,
            errors: backend.errors,
            p50_seconds: backend.p50_seconds,
        };
        match self.pasts.get_mut(&backend.name) {
            Some(past) => {
                past.push_back(moment);
                keep(past, MINUTE);
            }
            None => {
                self.pasts
                    .insert(backend.name.clone(), VecDeque::from([moment]));
            }
        }
    }

    fn forget_the_gone(&mut self) {
        let there: std::collections::HashSet<&str> = self
            .backends
            .iter()
            .map(|backend| backend.name.as_str())
            .collect();
        self.pasts.retain(|name, _| there.contains(name.as_str()));
    }

    /// After every break the balancer tells all events that it keeps; those that were told before are left out.
    fn event(&mut self, event: &Value) {
        let happened = Happened::from(event);
        if !self.events.contains(&happened) {
            self.events.push_back(happened);
            keep(&mut self.events, EVENTS);
        }
    }
}

fn keep<T>(list: &mut VecDeque<T>, count: usize) {
    let surplus = list.len().saturating_sub(count);
    list.drain(..surplus);
}

fn moments(column: &Column) -> VecDeque<Moment> {
    let at = |place: usize| Moment {
        requests: column.requests[place].unwrap_or(0),
        errors: column.errors.get(place).copied().flatten().unwrap_or(0),
        p50_seconds: column.p50_seconds.get(place).copied().flatten(),
    };
    let first = column.requests.len().saturating_sub(MINUTE);
    (first..column.requests.len()).map(at).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A second with backends: name, state, requests, errors.
    pub(in super::super) fn sample(id: u64, backends: &[(&str, &str, u64, u64)]) -> Sample {
        let requests: u64 = backends.iter().map(|it| it.2).sum();
        let errors: u64 = backends.iter().map(|it| it.3).sum();
        let eligible = backends.iter().filter(|it| it.1 == "healthy").count();
        let backends: Vec<Value> = backends
            .iter()
            .map(|(name, state, answers, errors)| {
                let share = *answers as f64 / requests.max(1) as f64;
                json!({
                    "name": name, "state": state, "eligible": *state == "healthy", "weight": 1.0, "requests": answers,
                    "errors": errors, "share": share, "p50_seconds": 0.010, "p99_seconds": 0.020, "in_flight": 3,
                    "why": (*state != "healthy").then_some("5 failures in a row"),
                })
            })
            .collect();
        let sample = json!({
            "id": id, "time": format!("2026-01-02T03:{:02}:{:02}.000Z", id / 60 % 60, id % 60), "seconds": 1.0,
            "phase": "running", "strategy": "adaptive", "picks": "least_delay",
            "requests": requests, "classes": [0, requests - errors, 0, 0, errors], "in_flight": 3,
            "p50_seconds": 0.010, "p99_seconds": 0.020,
            "backends_eligible": eligible, "backends_usable": eligible, "backends_all": backends.len(),
            "backends": backends,
        });
        serde_json::from_value(sample).unwrap()
    }

    /// The last of a run of equal seconds.
    pub(in super::super) fn watched(backends: &[(&str, &str, u64, u64)]) -> Watched {
        let mut watched = Watched::default();
        for id in 1..=20 {
            let sample = Box::new(sample(id, backends));
            watched.apply(Update::Sample(sample), Instant::now());
        }
        watched
    }

    fn times(watched: &Watched) -> Vec<Option<u64>> {
        let ids = watched.totals.iter();
        ids.map(|it| it.as_ref().map(|it| it.id)).collect()
    }

    fn began(ids: std::ops::Range<u64>) -> Update {
        Update::Began {
            totals: ids.map(|id| sample(id, &[]).totals).collect(),
            columns: Columns::default(),
        }
    }

    fn took(watched: &mut Watched, id: u64) {
        let sample = Box::new(sample(id, &[("w1", "healthy", 1, 0)]));
        watched.apply(Update::Sample(sample), Instant::now());
    }

    #[test]
    fn history_comes_first_and_no_second_counts_twice() {
        let mut watched = Watched::default();
        watched.apply(began(1..4), Instant::now());
        took(&mut watched, 3);
        took(&mut watched, 4);
        assert_eq!(times(&watched), [1, 2, 3, 4].map(Some));
    }

    #[test]
    fn break_is_filled_by_history_or_shown() {
        let mut watched = Watched::default();
        took(&mut watched, 1);
        watched.apply(Update::Away("refused".to_owned()), Instant::now());
        watched.apply(began(1..4), Instant::now());
        assert_eq!(times(&watched), [1, 2, 3].map(Some), "filled");
        // Another process, which knows nothing of before.
        watched.apply(began(9..10), Instant::now());
        assert_eq!(times(&watched), [Some(1), Some(2), Some(3), None, Some(9)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut watched = Watched::default();
        for id in 0..1000 {
            took(&mut watched, id);
            watched.apply(
                Update::Event(json!({ "id": id, "type": "x" })),
                Instant::now(),
            );
        }
        assert_eq!(watched.totals.len(), MINUTES);
        assert_eq!(watched.past("w1").count(), MINUTE);
        assert_eq!(watched.events.len(), EVENTS);
        let other = Box::new(sample(1001, &[("w2", "healthy", 1, 0)]));
        watched.apply(Update::Sample(other), Instant::now());
        assert_eq!(watched.past("w1").count(), 0, "it is gone");
    }

    #[test]
    fn events_told_again_are_known() {
        let mut watched = Watched::default();
        for _ in 0..2 {
            let event = json!({ "id": 1, "time": "2026-01-02T03:04:05Z", "type": "x" });
            watched.apply(Update::Event(event), Instant::now());
        }
        assert_eq!(watched.events.len(), 1);
    }

    #[test]
    fn past_of_a_backend_is_there_from_the_start() {
        let columns = json!({ "first": 1, "last": 2, "backends": [
            { "name": "w1", "requests": [null, 5], "errors": [null, 2], "p50_seconds": [null, 0.01] },
        ]});
        let mut watched = Watched::default();
        let columns = serde_json::from_value(columns).unwrap();
        let totals = Vec::new();
        watched.apply(Update::Began { totals, columns }, Instant::now());
        assert_eq!(watched.answers_of("w1"), (5, 2));
    }
}
