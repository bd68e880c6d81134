//! The checks of what is said about the access log.

use super::super::raw::{RawAccessLog, RawAlways, RawFormat, RawSyslog};
use super::super::{AccessLog, AccessLogFormat, Always, Syslog, SyslogAddress};
use super::Check;
use lemonade_config::{Address, RawDuration, ShortOr, Switch};
use std::time::Duration;

/// RFC 5424 6: `APP-NAME`.
const LONGEST_TAG: usize = 48;
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Check<'_> {
    pub(super) fn access_log(&mut self, raw: Option<Switch<ShortOr<RawAccessLog>>>) -> AccessLog {
        let raw = match raw {
            None | Some(Switch::Off) => return AccessLog::default(),
            Some(Switch::On) => RawAccessLog::default(),
            Some(Switch::Set(raw)) => raw.0,
        };
        // Whoever says what is always logged means that the rest is not.
        let sample = if raw.always.is_some() { 0.0 } else { 1.0 };
        let syslog = raw.syslog.and_then(|raw| self.syslog(raw));
        if syslog.is_some() && raw.file.is_some() {
            self.fault(
                "access_log.syslog",
                "expected `file` or `syslog`, found both",
            );
        }
        AccessLog {
            sample: raw.sample.map_or(sample, |sample| sample.fraction()),
            always: raw.always.map(|raw| self.always(raw)).unwrap_or_default(),
            format: match raw.format {
                Some(RawFormat::Text) => AccessLogFormat::Text,
                _ => AccessLogFormat::Json,
            },
            file: raw.file.map(Into::into),
            syslog,
            truncate_clients: matches!(raw.redact.client, Some(Switch::On | Switch::Set(_))),
        }
    }

    fn always(&mut self, raw: RawAlways) -> Always {
        let path = "access_log.always.slower_than";
        let bounds = Duration::ZERO..=LONGEST;
        let slower_than = raw.slower_than.map(RawDuration::or_millis);
        Always {
            statuses: match raw.status.0.is_empty() {
                true => None,
                false => Some(self.statuses(raw.status.0)),
            },
            slower_than: slower_than.map(|it| self.duration(path, Some(it), &bounds, it)),
            retried: raw.retried.unwrap_or(false),
        }
    }

    fn syslog(&mut self, raw: Switch<ShortOr<RawSyslog>>) -> Option<Syslog> {
        let raw = raw.or(ShortOr(RawSyslog::default()))?.0;
        let mut syslog = Syslog::default();
        if let Some(address) = raw.address {
            syslog.address = self.syslog_address(address);
        }
        if let Some(word) = raw.facility {
            match word.parse() {
                Ok(facility) => syslog.facility = facility,
                Err(_) => {
                    let problem = format!(
                        "expected `local0` to `local7`, `daemon`, `user` or another facility; found `{word}`"
                    );
                    self.fault("access_log.syslog.facility", problem);
                }
            }
        }
        if let Some(tag) = raw.tag {
            let plain = tag.bytes().all(|byte| byte.is_ascii_graphic());
            if !plain || !(1..=LONGEST_TAG).contains(&tag.len()) {
                let problem = format!("expected 1 to {LONGEST_TAG} visible ASCII characters");
                self.fault("access_log.syslog.tag", problem);
            }
            syslog.tag = tag;
        }
        Some(syslog)
    }

    fn syslog_address(&mut self, address: String) -> SyslogAddress {
        if address.starts_with('/') {
            return SyslogAddress::Socket(address.into());
        }
        if address.parse::<Address>().is_err() {
            let problem =
                format!("expected the path of a socket, or `host:port`; found `{address}`");
            self.fault("access_log.syslog", problem);
        }
        SyslogAddress::Udp(address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, good};
    use super::*;

    fn access_log(value: &str) -> AccessLog {
        good(&format!(
            "backends: [\"127.0.0.1:2\"]\naccess_log: {value}\n"
        ))
        .access_log
    }

    #[test]
    fn access_log_is_all_a_share_or_what_is_always_logged() {
        for (value, sample) in [
            ("all", 1.0),
            ("on", 1.0),
            ("25%", 0.25),
            ("{format: text}", 1.0),
            ("{always: {retried: true}}", 0.0),
            ("{always: {retried: true}, sample: 1%}", 0.01),
        ] {
            let found = access_log(value);
            assert!((found.sample - sample).abs() < 1e-9, "{value}");
            assert!(!found.is_off(), "{value}");
        }
        assert!(access_log("off").is_off() && access_log("0%").is_off());
        let found = access_log("{always: {status: [500-599, 429], slower_than: 1s}}");
        let statuses = found.always.statuses.unwrap();
        assert!(statuses.contain(599) && statuses.contain(429) && !statuses.contain(404));
        assert_eq!(found.always.slower_than, Some(Duration::from_secs(1)));
    }

    #[test]
    fn syslog_is_a_socket_or_an_address() {
        let address = |value| access_log(value).syslog.unwrap().address;
        assert_eq!(address("{syslog: on}"), Syslog::default().address);
        let socket = SyslogAddress::Socket("/run/log".into());
        assert_eq!(address("{syslog: /run/log}"), socket);
        let udp = SyslogAddress::Udp("logs.example:514".to_owned());
        assert_eq!(address("{syslog: {address: \"logs.example:514\"}}"), udp);
        assert_eq!(access_log("{syslog: off}").syslog, None);
    }

    #[test]
    fn faults_of_the_access_log_are_found() {
        for (value, expected) in [
            ("{syslog: on, file: x}", "found both"),
            ("{syslog: {facility: local8}}", "`local8`"),
            (
                "{syslog: {tag: \"a b\"}}",
                "access_log.syslog.tag: expected 1 to 48",
            ),
            ("{syslog: nowhere}", "expected the path of a socket"),
            ("{always: {status: 99}}", "expected final statuses"),
            ("{always: {slower_than: 25h}}", "expected 0s to 24h"),
            ("{redact: {client: hide}}", "access_log.redact.client"),
        ] {
            let found = faults(&format!(
                "backends: [\"127.0.0.1:2\"]\naccess_log: {value}\n"
            ));
            assert!(found.contains(expected), "{value}: {found}");
        }
    }
}
