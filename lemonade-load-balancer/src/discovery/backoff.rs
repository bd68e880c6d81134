//! How long to wait before a source that failed is asked again.

use std::time::Duration;

/// Doubles from `first` to `most`, each time with up to half as much again by chance, so that many load balancers do
/// not ask a database that comes back in the same instant.
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff {
            first,
            most,
            next: first,
        }
    }

    /// The wait after one more failure; never longer than `most`.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(1.0 + fastrand::f64() / 2.0);
        self.next = self.next.saturating_mul(2).min(self.most);
        wait.min(self.most)
    }

    /// The source answered: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_again() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 3);
        for least in [1, 2, 3, 3] {
            let wait = backoff.next();
            assert!(wait >= second * least && wait <= second * 3, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() < second * 2);
    }
}
