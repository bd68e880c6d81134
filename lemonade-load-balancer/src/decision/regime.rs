//! What kind of traffic and backends the last minute shows, with the evidence.
//!
//! A regime is entered at one threshold and left at another, 20 % apart, and only when three ticks in a row agree: what lies at
//! a threshold does not flap.

use super::Fact;
use super::capacity::capacity;
use super::window::{KEPT, Recent, Track, Windows};
use std::fmt;
use std::time::Duration;

/// Ticks in a row that must agree.
pub const AGREE: u32 = 3;
/// How long backends must be alike before that is believed: the way back may take a whole cool-down.
pub const CALM: Duration = Duration::from_secs(300);
/// How far apart entering and leaving are.
const APART: f64 = 1.2;
/// Fewer answers in a minute say nothing.
const FEW: f64 = 200.0;
/// The fewest requests in flight of which it makes sense to say that most are streams.
const MANY_STREAMS: f64 = 10.0;
/// The share of requests in flight, once their answer has begun, from which on streams dominate.
const STREAMING: f64 = 0.6;
/// How long such an answer lasts at least, in the mean.
const LONG: f64 = 5.0;
/// The slowest backend by the fastest, below which they are alike.
const SPREAD: f64 = 1.2;
/// The coefficient of variation of times to first byte below which requests are alike.
const VARIATION: f64 = 0.3;
/// The share of failures above which nothing is calm.
const ERRORS: f64 = 0.01;
/// Above this a backend is too busy to be called calm, and once it is called so, above the second.
const BUSY: [f64; 2] = [0.90, 0.97];
/// Above this a backend is saturated, and once it is called so, above the second.
const SATURATED: [f64; 2] = [0.95, 0.76];

/// What kind it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Regime {
    /// Too few requests to tell anything.
    #[default]
    TooFew,
    /// Most of what is in flight are answers that last: a short time to the first byte says nothing about load.
    Streams,
    /// Backends and requests are alike, nothing fails, nobody is too busy.
    Calm,
    /// Every backend is as busy as can be, or requests find no room.
    Saturated,
    /// Anything else: unequal, slow, failing, paused, cold, noisy.
    Varied,
}

impl Regime {
    /// The name in decisions and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Regime::TooFew => "too_few",
            Regime::Streams => "streams",
            Regime::Calm => "calm",
            Regime::Saturated => "saturated",
            Regime::Varied => "varied",
        }
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a regime is judged by: the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Answers.
    pub answers: f64,
    /// Requests in flight, in the mean.
    pub in_flight: f64,
    /// The share of those whose answer has begun.
    pub streaming: f64,
    /// How long such an answer lasts, in seconds.
    pub lasting: f64,
    /// The slowest backend by the fastest; `None` while some have not answered enough.
    pub spread: Option<f64>,
    /// The coefficient of variation of times to first byte.
    pub variation: Option<f64>,
    /// The share of failures.
    pub error_rate: f64,
    /// Ejections.
    pub ejections: f64,
    /// Requests that no backend had room for.
    pub shed: u64,
    /// How busy the least and the most busy backend are; `None` where that is not known of all.
    pub busy: Option<(f64, f64)>,
    /// Backends that may be picked.
    pub usable: usize,
}

impl Evidence {
    /// What the windows show. Cost: well under a microsecond a backend.
    pub fn of(windows: &Windows) -> Self {
        let recent = windows.recent(KEPT);
        let eligible = windows.tracks().filter(|track| track.last().eligible);
        let eligible: Vec<&Track> = eligible.collect();
        let in_flight = recent.in_flight();
        let answers_a_second = recent.counts.answers / recent.length.as_secs_f64().max(1.0);
        Evidence {
            answers: recent.counts.answers,
            in_flight,
            streaming: recent.streaming() / in_flight.max(1e-9),
            lasting: recent.streaming() / answers_a_second.max(1e-3),
            spread: spread(&eligible),
            variation: recent.variation(),
            error_rate: recent.counts.error_rate().unwrap_or(0.0),
            ejections: recent.counts.ejections,
            shed: recent.shed,
            busy: busy(&eligible, &recent),
            usable: eligible.len(),
        }
    }

    /// What it shows, judged by who is in `present` now.
    fn regime(&self, present: Regime) -> Regime {
        let held = |regime| present == regime;
        let fewer = |bound: f64, held: bool| if held { bound * APART } else { bound };
        let more = |bound: f64, held: bool| if held { bound / APART } else { bound };
        let streams = held(Regime::Streams);
        if self.in_flight >= more(MANY_STREAMS, streams)
            && self.streaming >= more(STREAMING, streams)
            && self.lasting >= more(LONG, streams)
        {
            return Regime::Streams;
        }
        if self.answers < fewer(FEW, held(Regime::TooFew)) {
            return Regime::TooFew;
        }
        let saturated = SATURATED[usize::from(held(Regime::Saturated))];
        if self.shed > 0 || self.busy.is_some_and(|(least, _)| least > saturated) {
            return Regime::Saturated;
        }
        match self.is_alike(held(Regime::Calm)) {
            true => Regime::Calm,
            false => Regime::Varied,
        }
    }

    fn is_alike(&self, held: bool) -> bool {
        let bound = |bound: f64| if held { bound * APART } else { bound };
        self.ejections == 0.0
            && self.error_rate < bound(ERRORS)
            && self.spread.is_some_and(|spread| spread < bound(SPREAD))
            && self.variation.is_some_and(|cv| cv < bound(VARIATION))
            && self
                .busy
                .is_some_and(|(_, most)| most < BUSY[usize::from(held)])
    }

    /// The evidence for `regime`, each figure with the threshold that it is held against.
    pub fn facts(&self, regime: Regime) -> Vec<Fact> {
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        let number =
            |number: Option<f64>| number.map_or("unknown".to_owned(), |n| format!("{n:.2}"));
        let share = |pick: fn((f64, f64)) -> f64| {
            self.busy
                .map_or("unknown".to_owned(), |busy| percent(pick(busy)))
        };
        let alike = || {
            vec![
                Fact::new(
                    "spread",
                    number(self.spread),
                    format!("< {SPREAD} is alike"),
                ),
                Fact::new(
                    "variation",
                    number(self.variation),
                    format!("< {VARIATION} is alike"),
                ),
                Fact::new("error_rate", percent(self.error_rate), "< 1% is calm"),
                Fact::new(
                    "ejections",
                    format!("{:.0}", self.ejections),
                    "none is calm",
                ),
                Fact::new("busiest", share(|busy| busy.1), "< 90% is calm"),
            ]
        };
        match regime {
            Regime::TooFew => vec![Fact::new(
                "answers",
                format!("{:.0}", self.answers),
                format!("< {FEW} in a minute"),
            )],
            Regime::Streams => vec![
                Fact::new(
                    "streaming",
                    percent(self.streaming),
                    ">= 60% of what is in flight",
                ),
                Fact::new(
                    "lasting",
                    format!("{:.1}s", self.lasting),
                    format!(">= {LONG}s"),
                ),
            ],
            Regime::Saturated => vec![
                Fact::new("least_busy", share(|busy| busy.0), "> 95%"),
                Fact::new("shed", self.shed.to_string(), "> 0"),
            ],
            Regime::Calm | Regime::Varied => alike(),
        }
    }
}

fn spread(eligible: &[&Track]) -> Option<f64> {
    /// Answers in a minute from which on a mean is one.
    const ENOUGH: f64 = 20.0;
    let learned = eligible.iter().all(|track| track.last().pace.is_some());
    let (mut least, mut most) = (f64::INFINITY, 0.0f64);
    for track in eligible {
        let pace = match track.last().pace {
            Some(pace) if learned => f64::from(pace),
            _ => track
                .sum()
                .mean()
                .filter(|_| track.sum().answers >= ENOUGH)?,
        };
        (least, most) = (least.min(pace), most.max(pace));
    }
    (least > 0.0 && least.is_finite()).then(|| most / least)
}

fn busy(eligible: &[&Track], recent: &Recent) -> Option<(f64, f64)> {
    if recent.ticks < KEPT / 2 {
        return None;
    }
    let (mut least, mut most) = (1.0f64, 0.0f64);
    for track in eligible {
        let busy = if track.is_full() {
            1.0
        } else {
            capacity(track)?.busy
        };
        (least, most) = (least.min(busy), most.max(busy));
    }
    (!eligible.is_empty()).then_some((least, most))
}

/// The regime that is believed, and the one that is on its way.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    believed: Regime,
    /// When it began to be.
    since: Duration,
    seen: Regime,
    ticks: u32,
    alike_since: Option<Duration>,
}

impl Judge {
    /// Takes in one tick's evidence.
    pub fn judge(&mut self, evidence: &Evidence, now: Duration) -> Regime {
        let mut seen = evidence.regime(self.believed);
        if seen == Regime::Calm {
            let since = *self.alike_since.get_or_insert(now);
            if now.saturating_sub(since) < CALM {
                seen = Regime::Varied;
            }
        } else {
            self.alike_since = None;
        }
        self.ticks = if seen == self.seen { self.ticks + 1 } else { 1 };
        self.seen = seen;
        if self.ticks >= AGREE && self.believed != seen {
            (self.believed, self.since) = (seen, now);
        }
        self.believed
    }

    /// For how long the present one has been believed.
    pub fn held(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    /// Ticks in which each backend answers so many, in as many milliseconds as it is told; what is believed after.
    fn after(scene: &mut Scene, judge: &mut Judge, ticks: usize, each: &[(u64, u64)]) -> Regime {
        let mut regime = Regime::default();
        for _ in 0..ticks {
            for (place, (count, millis)) in each.iter().enumerate() {
                scene.answer(place, *count, *millis);
            }
            scene.tick();
            regime = judge.judge(&Evidence::of(&scene.windows), scene.now);
        }
        regime
    }

    #[test]
    fn calm_takes_five_minutes_of_likeness() {
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        let alike = [(50, 20), (50, 21)];
        assert_eq!(after(&mut scene, &mut judge, 60, &alike), Regime::Varied);
        assert_eq!(after(&mut scene, &mut judge, 230, &alike), Regime::Varied);
        assert_eq!(after(&mut scene, &mut judge, 50, &alike), Regime::Calm);
        scene.fail(0, 1);
        scene.sample.backends[0].ejections += 1;
        assert_eq!(after(&mut scene, &mut judge, 2, &alike), Regime::Calm);
        assert_eq!(after(&mut scene, &mut judge, 1, &alike), Regime::Varied);
    }

    #[test]
    fn unequal_backends_are_varied() {
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        let unequal = [(50, 20), (50, 40)];
        assert_eq!(after(&mut scene, &mut judge, 400, &unequal), Regime::Varied);
    }

    #[test]
    fn few_requests_say_nothing() {
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        let few = [(1, 20), (1, 200)];
        assert_eq!(after(&mut scene, &mut judge, 400, &few), Regime::TooFew);
    }

    #[test]
    fn long_answers_are_streams_and_hung_requests_are_not() {
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        for _ in 0..90 {
            scene.answer(0, 2, 5);
            scene.sample.backends[0].in_flight += 2;
            scene.tick();
            judge.judge(&Evidence::of(&scene.windows), scene.now);
        }
        assert_eq!(judge.believed, Regime::Streams);
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        for _ in 0..90 {
            scene.answer(1, 20, 5);
            scene.sample.backends[0].in_flight += 2;
            scene.sample.backends[0].begun += 2;
            scene.tick();
            judge.judge(&Evidence::of(&scene.windows), scene.now);
        }
        assert_eq!(judge.believed, Regime::Varied);
    }

    #[test]
    fn requests_without_room_are_saturation() {
        let (mut scene, mut judge) = (Scene::new(2), Judge::default());
        let each = [(50, 20), (50, 20)];
        after(&mut scene, &mut judge, 30, &each);
        scene.sample.shed += 1;
        assert_eq!(after(&mut scene, &mut judge, 3, &each), Regime::Saturated);
        assert_eq!(after(&mut scene, &mut judge, 56, &each), Regime::Saturated);
        assert_eq!(after(&mut scene, &mut judge, 4, &each), Regime::Varied);
    }

    #[test]
    fn threshold_is_wider_for_who_is_within() {
        let evidence = |spread| Evidence {
            answers: 1e4,
            spread: Some(spread),
            variation: Some(0.1),
            busy: Some((0.1, 0.5)),
            usable: 2,
            ..Evidence::default()
        };
        assert_eq!(evidence(1.3).regime(Regime::Varied), Regime::Varied);
        assert_eq!(evidence(1.3).regime(Regime::Calm), Regime::Calm);
        assert_eq!(evidence(1.45).regime(Regime::Calm), Regime::Varied);
    }
}
