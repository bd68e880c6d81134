//! Times as people and programs both read them.

use crate::digits::six;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-21T06:44:12.123456Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(27);
    Stamp::default().write(since_1970(time), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Nothing of a clock that is set to before then.
pub(crate) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time to the nanosecond in half of the place that a [`Duration`] takes: 584 years at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nanos(u64);

impl From<Duration> for Nanos {
    fn from(time: Duration) -> Self {
        let seconds = time.as_secs().wrapping_mul(1_000_000_000);
        Nanos(seconds.wrapping_add(u64::from(time.subsec_nanos())))
    }
}

impl Nanos {
    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// Writes times, most of them in the same second as the one before: only then is it cheap.
#[derive(Debug)]
pub(crate) struct Stamp {
    /// Since 1970.
    second: u64,
    /// As far as its point.
    text: [u8; 20],
}

impl Default for Stamp {
    fn default() -> Self {
        Stamp {
            second: 0,
            text: *b"1970-01-01T00:00:00.",
        }
    }
}

impl Stamp {
    /// The same as [`rfc3339`], of a time since 1970.
    pub(crate) fn write(&mut self, time: Duration, out: &mut Vec<u8>) {
        if time.as_secs() != self.second {
            self.second = time.as_secs();
            self.renew();
        }
        out.extend_from_slice(&self.text);
        // Not by way of the text: bytes that were written one moment ago are not read as a part of more without waiting for them.
        out.extend_from_slice(&six(time.subsec_micros()));
        out.push(b'Z');
    }

    /// By Howard Hinnant's days-to-civil algorithm.
    fn renew(&mut self) {
        let (days, second) = (self.second / 86_400, self.second % 86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        for (place, number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
        ] {
            decimals(&mut self.text[place], number);
        }
    }
}

/// Fills `digits` with as many of the number's last decimal digits.
fn decimals(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits::tests::written;

    #[test]
    fn time_is_written_as_rfc_3339() {
        let mut stamp = Stamp::default();
        for (seconds, micros, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 7, "2000-02-29T00:00:00.000007Z"),
            (951_782_400, 999_999, "2000-02-29T00:00:00.999999Z"),
            (1_795_243_452, 0, "2026-11-21T06:44:12.000000Z"),
        ] {
            let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
            assert_eq!(rfc3339(UNIX_EPOCH + time), text);
            let written = written(|out| stamp.write(time, out));
            assert_eq!(written, text, "after another time");
        }
    }
}
