//! Which requests are logged, how, and where to.

use super::Statuses;
pub use crate::access_log::AccessLogFormat;
use crate::log_file::Destination;
pub use crate::log_file::{Facility, Syslog, SyslogAddress, UnknownFacility};
use std::path::PathBuf;
use std::time::Duration;

/// Which requests are logged, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessLog {
    /// Share of requests that are logged: 0 is none (the default), 1 is all.
    pub sample: f64,
    /// Requests that are logged besides those of the sample.
    pub always: Always,
    /// JSON lines (the default) or text.
    pub format: AccessLogFormat,
    /// Where to; `None` is standard output, unless there is [`Self::syslog`].
    pub file: Option<PathBuf>,
    /// Where to, instead of a file.
    pub syslog: Option<Syslog>,
    /// Clients are logged as their network only: /24, of IPv6 /48. Default off.
    pub truncate_clients: bool,
}

/// Requests that are logged whether they are in the sample or not: those of which one of these holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Always {
    /// Statuses that clients got, 499 among them. Default none.
    pub statuses: Option<Statuses>,
    /// It took longer, from its head to the last byte of its answer. Tunnels are not meant. Default: never.
    pub slower_than: Option<Duration>,
    /// More than one attempt was made. Default off.
    pub retried: bool,
}

impl AccessLog {
    /// No request can ever be logged.
    pub(crate) fn is_off(&self) -> bool {
        self.sample <= 0.0 && self.always == Always::default()
    }

    pub(crate) fn destination(&self) -> Destination {
        match (&self.syslog, &self.file) {
            (Some(syslog), _) => Destination::Syslog(syslog.clone()),
            (None, Some(file)) => Destination::File(file.clone()),
            (None, None) => Destination::StandardOutput,
        }
    }
}

impl Always {
    /// What is known when a request has ended. A tunnel is long, not slow.
    pub(crate) fn wants(&self, status: u16, took: Duration, attempts: usize) -> bool {
        self.statuses
            .as_ref()
            .is_some_and(|statuses| statuses.contain(status))
            || (status != 101 && self.slower_than.is_some_and(|bound| took > bound))
            || (self.retried && attempts > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_enough_to_be_logged() {
        let always = Always {
            statuses: Some(Statuses::new(vec![500..=599, 429..=429])),
            slower_than: Some(Duration::from_secs(1)),
            retried: true,
        };
        let (quick, slow) = (Duration::from_secs(1), Duration::from_millis(1001));
        for (status, took, attempts, wanted) in [
            (200, quick, 1, false),
            (428, quick, 0, false),
            (429, quick, 0, true),
            (503, quick, 1, true),
            (200, slow, 1, true),
            (101, slow, 1, false),
            (200, quick, 2, true),
        ] {
            let found = always.wants(status, took, attempts);
            assert_eq!(found, wanted, "{status} {took:?} {attempts}");
            assert!(!Always::default().wants(status, took, attempts));
        }
    }
}
