//! How slowly a client may move: when the idle deadline of an exchange is set anew.
//!
//! While a client is waited for, a byte now and then is not enough, or a few thousand clients that take one a minute would
//! hold a few thousand answers for ever. Asked only when an exchange has to wait, so a request that does not wait pays nothing.

use crate::config::{Limits, Timeouts};

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(super) struct Pace {
    counted: Moved,
    waits_for_client: bool,
}

/// Bytes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Between the client and us.
    pub(super) client: u64,
    /// Between us and the backend.
    pub(super) backend: u64,
}

impl Pace {
    /// Whether enough has moved since the last time that it did, or whoever is waited for has changed. A backend may be as
    /// slow as it likes as long as something comes; a client moves at least `least` bytes.
    pub(super) fn earns_time(&mut self, moved: Moved, waits_for_client: bool, least: u64) -> bool {
        let earned = if waits_for_client && self.waits_for_client {
            moved.client - self.counted.client >= least
        } else {
            moved != self.counted
        };
        if earned {
            *self = Pace {
                counted: moved,
                waits_for_client,
            };
        }
        earned
    }
}

/// What a client has to move in one idle timeout.
pub(super) fn least(limits: &Limits, timeouts: &Timeouts) -> u64 {
    let millis = timeouts.idle.as_millis() as u64;
    (limits.min_rate.saturating_mul(millis) / 1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn moved(client: u64, backend: u64) -> Moved {
        Moved { client, backend }
    }

    #[test]
    fn client_that_is_waited_for_has_to_move_enough() {
        let mut pace = Pace::default();
        assert!(
            pace.earns_time(moved(100, 900), true, 50),
            "its turn begins"
        );
        assert!(!pace.earns_time(moved(149, 900), true, 50));
        assert!(pace.earns_time(moved(150, 900), true, 50));
        assert!(!pace.earns_time(moved(199, 5000), true, 50), "counted anew");
    }

    #[test]
    fn backend_that_is_waited_for_has_to_move_at_all() {
        let mut pace = Pace::default();
        assert!(!pace.earns_time(moved(0, 0), false, 50));
        assert!(pace.earns_time(moved(0, 1), false, 50));
        assert!(!pace.earns_time(moved(0, 1), false, 50));
        assert!(pace.earns_time(moved(1, 1), false, 50));
    }

    #[test]
    fn least_is_the_rate_over_an_idle_timeout() {
        let (mut limits, mut timeouts) = (Limits::default(), Timeouts::default());
        assert_eq!(least(&limits, &timeouts), 14_400);
        timeouts.idle = Duration::from_millis(150);
        assert_eq!(least(&limits, &timeouts), 36);
        limits.min_rate = 0;
        assert_eq!(least(&limits, &timeouts), 1, "off: anything will do");
    }
}
