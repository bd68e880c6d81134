//! The checks of what is said about failures.

use super::super::raw::{RawHedge, RawId, RawOutlier, RawRetries, RawTier};
use super::super::{Hedge, IN_FLIGHT, MAX_RETRIES, MaxInFlight, Retries, RetryOn, Tier};
use super::Check;
use crate::outlier::Rules;
use lemonade_config::{Percent, RawDuration, Switch};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

impl Check<'_> {
    pub(super) fn outlier(&mut self, raw: Option<Switch<RawOutlier>>) -> Option<Rules> {
        let raw = match raw {
            Some(Switch::Off) => return None,
            Some(Switch::Set(raw)) => raw,
            _ => RawOutlier::default(),
        };
        let default = Rules::default();
        let share = |written: Option<Percent>, default| written.map_or(default, Percent::fraction);
        let times = |written: Option<RawDuration>| written.map(RawDuration::or_millis);
        let window = Duration::from_secs(1)..=Duration::from_secs(600);
        let eject = Duration::from_millis(10)..=Duration::from_secs(600);
        let eject = self.duration("outlier.eject", times(raw.eject), &eject, default.eject);
        let max_eject = times(raw.max_eject);
        let rules = Rules {
            consecutive: self.within(
                "outlier.consecutive",
                raw.consecutive,
                1..=1000,
                default.consecutive,
            ),
            failure_rate: share(raw.failure_rate, default.failure_rate),
            window: self.duration("outlier.window", times(raw.window), &window, default.window),
            min_requests: self.within(
                "outlier.min_requests",
                raw.min_requests,
                1..=1_000_000,
                default.min_requests,
            ),
            eject,
            // Whoever asks for longer ejections than the longest means the longest to be as long.
            max_eject: self.duration(
                "outlier.max_eject",
                max_eject,
                &(eject..=HOUR),
                default.max_eject.max(eject),
            ),
            max_ejected: share(raw.max_ejected, default.max_ejected),
        };
        if rules.failure_rate == 0.0 {
            self.fault(
                "outlier.failure_rate",
                "at 0% a backend without any failure would be ejected",
            );
        }
        Some(rules)
    }

    pub(super) fn slow_start(
        &mut self,
        raw: Option<Switch<RawDuration>>,
        default: Duration,
    ) -> Duration {
        match raw {
            Some(Switch::Off) => Duration::ZERO,
            Some(Switch::Set(raw)) => self.duration(
                "slow_start",
                Some(raw.or_millis()),
                &(Duration::from_millis(100)..=HOUR),
                default,
            ),
            _ => default,
        }
    }

    pub(super) fn panic_threshold(raw: Option<Switch<Percent>>, default: f64) -> f64 {
        match raw {
            Some(Switch::Off) => 0.0,
            Some(Switch::Set(share)) => share.fraction(),
            _ => default,
        }
    }

    pub(super) fn retries(&mut self, raw: Option<Switch<RawRetries>>) -> Retries {
        let default = Retries::default();
        let raw = match raw {
            Some(Switch::Off) => {
                return Retries {
                    attempts: 0,
                    ..default
                };
            }
            Some(Switch::Set(raw)) => raw,
            _ => return default,
        };
        Retries {
            attempts: self.within(
                "retries.attempts",
                raw.attempts,
                0..=MAX_RETRIES,
                default.attempts,
            ),
            on: match raw.on.0.is_empty() {
                true => default.on,
                false => self.retry_on(raw.on.0),
            },
            budget: raw.budget.map_or(default.budget, Percent::fraction),
            min_per_second: self.within(
                "retries.min_per_second",
                raw.min_per_second,
                0..=100_000,
                default.min_per_second,
            ),
            non_idempotent: raw.non_idempotent.unwrap_or(default.non_idempotent),
        }
    }

    fn retry_on(&mut self, written: Vec<RawId>) -> RetryOn {
        let mut on = RetryOn {
            connect_failure: false,
            reset: false,
            timeout: false,
            statuses: Vec::new(),
        };
        for (index, word) in written.into_iter().enumerate() {
            let word = word.0.0.0;
            match (word.as_str(), word.parse::<u16>()) {
                ("connect_failure", _) => on.connect_failure = true,
                ("reset", _) => on.reset = true,
                ("timeout", _) => on.timeout = true,
                (_, Ok(status @ 400..=599)) => on.statuses.push(status),
                _ => self.fault(
                    &format!("retries.on[{index}]"),
                    format!("expected `connect_failure`, `reset`, `timeout` or a status from 400 to 599, found `{word}`"),
                ),
            }
        }
        on.statuses.sort_unstable();
        on.statuses.dedup();
        on
    }

    pub(super) fn hedge(&mut self, raw: Option<Switch<RawHedge>>) -> Option<Hedge> {
        let Some(Switch::Set(raw)) = raw else {
            return None;
        };
        let Some(after) = raw.after else {
            self.fault(
                "hedge",
                "expected `after`, a duration such as `100ms`: the 95th percentile of the response times is a good one",
            );
            return None;
        };
        let bounds = Duration::from_millis(1)..=HOUR;
        let after = after.or_millis();
        Some(Hedge {
            after: self.duration("hedge.after", Some(after), &bounds, after),
            budget: raw.budget.map_or(0.02, Percent::fraction),
        })
    }

    pub(super) fn max_in_flight(&mut self, raw: Option<RawId>) -> MaxInFlight {
        let Some(word) = raw.map(|raw| raw.0.0.0) else {
            return MaxInFlight::Unlimited;
        };
        match (word.as_str(), word.parse()) {
            ("off", _) => MaxInFlight::Unlimited,
            ("adaptive", _) => MaxInFlight::Adaptive,
            (_, Ok(limit)) if IN_FLIGHT.contains(&limit) => MaxInFlight::Fixed(limit),
            _ => {
                let problem = format!("expected 1 to 1000000, `adaptive` or `off`, found `{word}`");
                self.fault("limits.max_in_flight", problem);
                MaxInFlight::Unlimited
            }
        }
    }

    pub(super) fn tier(raw: Option<&RawTier>) -> Tier {
        match raw {
            Some(RawTier::Backup) => Tier::Backup,
            Some(RawTier::Primary) | None => Tier::Primary,
        }
    }
}
