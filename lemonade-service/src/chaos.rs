//! How the worker misbehaves, and the document that changes it while it runs.
//!
//! `PUT /chaos` and scenario steps bring a [`Change`]; the worker applies it to the one [`Chaos`] it has, and `GET`
//! shows that. Promise: a change with a fault changes nothing, and what `GET` shows can be `PUT` back.

use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use lemonade_config::{
    Document, Environment, Faults, Format, Percent, ShortOr, Switch, format_duration,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::Instant;

use crate::delay::Delay;
use crate::speed::Speed;
use crate::wait::Wait;

/// The faults in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chaos {
    pub(crate) delay: Delay,
    pub(crate) jitter: Duration,
    /// Divides every delay, the requests' own included.
    pub(crate) speed: Speed,
    pub(crate) error_rate: Percent,
    pub(crate) error_status: u16,
    /// How long an error takes: it waits in no queue and takes no slot.
    pub(crate) error_after: Duration,
    /// `/work` is accepted and never answered.
    pub(crate) hang: bool,
    /// `/health` answers 503.
    pub(crate) refuse_health: bool,
    /// Connections are closed where an answer is due.
    pub(crate) close: bool,
    /// Everything waits until then.
    pub(crate) paused_until: Option<Instant>,
    /// How many `/work` requests are worked on at once; None for any number.
    pub(crate) capacity: Option<NonZeroUsize>,
}

impl Chaos {
    /// `start` is what a reset returns to; a pause counts from `now`.
    pub(crate) fn apply(&mut self, change: &Change, start: &Chaos, now: Instant) {
        if change.reset {
            *self = *start;
        }
        if let Some(ShortOr(delay)) = change.delay {
            self.delay = delay;
        }
        if let Some(Wait(pause)) = change.pause {
            self.paused_until = (!pause.is_zero()).then(|| now + pause);
        }
        if let Some(Capacity(capacity)) = change.capacity {
            self.capacity = capacity;
        }
        self.jitter = change.jitter.map_or(self.jitter, |Wait(jitter)| jitter);
        self.speed = change.speed.unwrap_or(self.speed);
        self.error_after = change
            .error_after
            .map_or(self.error_after, |Wait(after)| after);
        self.error_rate = change.error_rate.unwrap_or(self.error_rate);
        self.error_status = change
            .error_status
            .map_or(self.error_status, |status| status.0);
        self.hang = change.hang.unwrap_or(self.hang);
        self.refuse_health = change.refuse_health.unwrap_or(self.refuse_health);
        self.close = change.close.unwrap_or(self.close);
    }

    /// How much of a pause is left; zero when there is none.
    pub(crate) fn pause_left(&self, now: Instant) -> Duration {
        let until = self.paused_until.unwrap_or(now);
        until.saturating_duration_since(now)
    }

    /// The document of `GET`.
    pub(crate) fn show(&self, now: Instant) -> Value {
        json!({
            "delay": self.delay,
            "jitter": format_duration(self.jitter),
            "speed": self.speed,
            "error_rate": self.error_rate.to_string(),
            "error_status": self.error_status,
            "error_after": format_duration(self.error_after),
            "hang": self.hang,
            "refuse_health": self.refuse_health,
            "pause": format_duration(self.pause_left(now)),
            "close": self.close,
            "capacity": Capacity(self.capacity),
        })
    }
}

/// A partial document: what is not mentioned keeps its value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    /// Back to the start state, before the rest of this change.
    pub(crate) reset: bool,
    delay: Option<ShortOr<Delay>>,
    jitter: Option<Wait>,
    speed: Option<Speed>,
    error_rate: Option<Percent>,
    error_status: Option<ErrorStatus>,
    error_after: Option<Wait>,
    hang: Option<bool>,
    refuse_health: Option<bool>,
    pause: Option<Wait>,
    close: Option<bool>,
    capacity: Option<Capacity>,
}

impl Change {
    pub(crate) fn to_start() -> Change {
        Change {
            reset: true,
            ..Change::default()
        }
    }

    /// From the body of a `PUT`. Variables in it do not expand: it comes from the network.
    pub(crate) fn parse(body: &str) -> Result<Change, Faults> {
        let document = Document::parse("chaos", Format::Json, body, &Environment::default())?;
        let (change, faults) = document.decode();
        Faults::check(faults)?;
        Ok(change.unwrap_or_default())
    }
}

/// The status of the errors that `error_rate` asks for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u16")]
struct ErrorStatus(u16);

#[derive(Debug, Error)]
#[error("expected a status from 400 to 599, found {0}")]
struct NoErrorStatus(u16);

impl TryFrom<u16> for ErrorStatus {
    type Error = NoErrorStatus;

    fn try_from(status: u16) -> Result<ErrorStatus, NoErrorStatus> {
        match status {
            400..=599 => Ok(ErrorStatus(status)),
            _ => Err(NoErrorStatus(status)),
        }
    }
}

/// How many at once, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Switch<NonZeroU32>")]
pub(crate) struct Capacity(pub(crate) Option<NonZeroUsize>);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a whole number from 1, or `off`")]
pub(crate) struct NoCapacity;

impl TryFrom<Switch<NonZeroU32>> for Capacity {
    type Error = NoCapacity;

    fn try_from(switch: Switch<NonZeroU32>) -> Result<Capacity, NoCapacity> {
        match switch {
            Switch::Off => Ok(Capacity(None)),
            Switch::On => Err(NoCapacity),
            Switch::Set(limit) => Ok(Capacity(Some(limit.try_into().map_err(|_| NoCapacity)?))),
        }
    }
}

impl FromStr for Capacity {
    type Err = NoCapacity;

    fn from_str(text: &str) -> Result<Capacity, NoCapacity> {
        match text.trim() {
            "off" => Ok(Capacity(None)),
            number => {
                let limit: NonZeroU32 = number.parse().map_err(|_| NoCapacity)?;
                Capacity::try_from(Switch::Set(limit))
            }
        }
    }
}

impl Serialize for Capacity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(limit) => limit.serialize(serializer),
            None => serializer.serialize_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Chaos {
        Chaos {
            delay: Delay::Constant(Duration::from_millis(10)),
            jitter: Duration::ZERO,
            speed: Speed::USUAL,
            error_rate: "0%".parse().unwrap(),
            error_status: 500,
            error_after: Duration::ZERO,
            hang: false,
            refuse_health: false,
            close: false,
            paused_until: None,
            capacity: None,
        }
    }

    fn changed(body: &str) -> Chaos {
        let mut chaos = start();
        chaos.apply(&Change::parse(body).unwrap(), &start(), Instant::now());
        chaos
    }

    #[test]
    fn what_is_not_mentioned_keeps_its_value() {
        let changed = changed(r#"{"error_rate": "50%", "hang": true}"#);
        let expected = Chaos {
            error_rate: "50%".parse().unwrap(),
            hang: true,
            ..start()
        };
        assert_eq!(changed, expected);
    }

    #[test]
    fn every_form_of_a_delay_is_taken() {
        let ms = Duration::from_millis;
        for (delay, expected) in [
            ("20", Delay::Constant(ms(20))),
            (r#""20ms""#, Delay::Constant(ms(20))),
            (r#"{"constant": "20ms"}"#, Delay::Constant(ms(20))),
            (
                r#"{"uniform": {"min": 5, "max": "1s"}}"#,
                Delay::Uniform {
                    min: ms(5),
                    max: ms(1000),
                },
            ),
            (
                r#"{"exponential": {"mean": "5ms"}}"#,
                Delay::Exponential { mean: ms(5) },
            ),
            (
                r#"{"lognormal": {"median": 5, "sigma": 1}}"#,
                Delay::LogNormal {
                    median: ms(5),
                    sigma: 1.0,
                },
            ),
            (
                r#"{"pareto": {"min": 5, "shape": 1.5}}"#,
                Delay::Pareto {
                    min: ms(5),
                    shape: 1.5,
                },
            ),
        ] {
            assert_eq!(
                changed(&format!(r#"{{"delay": {delay}}}"#)).delay,
                expected,
                "{delay}"
            );
        }
    }

    #[test]
    fn faults_name_the_field_and_what_would_be_right() {
        for (body, message) in [
            (
                r#"{"hng": true}"#,
                "chaos:1:2: hng: unknown key (did you mean `hang`?)",
            ),
            (
                r#"{"hang": 1}"#,
                "chaos:1:10: hang: expected `true` or `false`, found the number 1",
            ),
            (
                r#"{"error_rate": "200%"}"#,
                "chaos:1:16: error_rate: expected a percentage from 0% to 100%, found `200%`",
            ),
            (
                r#"{"error_status": 200}"#,
                "chaos:1:18: error_status: expected a status from 400 to 599, found 200",
            ),
            (
                r#"{"delay": "2h"}"#,
                "chaos:1:11: delay: expected at most 1h, found 2h",
            ),
            (
                r#"{"delay": {"uniform": {"min": 9, "max": 5}}}"#,
                "chaos:1:11: delay: expected `min` to be at most `max`",
            ),
            (
                r#"{"delay": {"pareto": {"min": 9, "shape": 0}}}"#,
                "chaos:1:11: delay: expected a `shape` from 0.1 to 100, found 0",
            ),
            (
                r#"{"speed": 0}"#,
                "chaos:1:11: speed: expected a speed from 0.001 to 1000, where 1 is the usual one, found 0",
            ),
            (
                r#"{"capacity": "on"}"#,
                "chaos:1:14: capacity: expected a whole number from 1, or `off`",
            ),
        ] {
            assert_eq!(Change::parse(body).unwrap_err().to_string(), message);
        }
        assert!(Change::parse("nonsense").is_err());
        assert!(Change::parse(r#"{"hang": "${HOME}"}"#).is_err());
    }

    #[test]
    fn state_that_was_shown_can_be_put_back() {
        let now = Instant::now();
        for body in [
            "{}",
            r#"{"delay": {"lognormal": {"median": 5, "sigma": 1.5}}, "jitter": "1ms", "capacity": 3}"#,
            r#"{"error_rate": "7%", "error_status": 503, "error_after": "5ms", "speed": 0.25, "close": true, "refuse_health": true}"#,
            r#"{"pause": "2s", "hang": true, "capacity": "off"}"#,
        ] {
            let mut original = start();
            original.apply(&Change::parse(body).unwrap(), &start(), now);
            let mut copy = start();
            let shown = original.show(now).to_string();
            copy.apply(&Change::parse(&shown).unwrap(), &start(), now);
            assert_eq!(copy, original, "{shown}");
        }
    }

    #[test]
    fn reset_comes_before_the_rest_of_its_change() {
        let mut chaos = changed(r#"{"hang": true, "close": true, "pause": "1m"}"#);
        let change = Change::parse(r#"{"close": true, "reset": true}"#).unwrap();
        chaos.apply(&change, &start(), Instant::now());
        assert_eq!(
            chaos,
            Chaos {
                close: true,
                ..start()
            }
        );
    }

    #[test]
    fn pause_runs_out() {
        let now = Instant::now();
        let mut chaos = start();
        chaos.apply(&Change::parse(r#"{"pause": "2s"}"#).unwrap(), &start(), now);
        assert_eq!(
            chaos.pause_left(now + Duration::from_millis(500)),
            Duration::from_millis(1500)
        );
        assert_eq!(
            chaos.pause_left(now + Duration::from_secs(3)),
            Duration::ZERO
        );
    }
}
