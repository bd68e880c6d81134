//! How long to leave a server alone that did not take what it was sent.

use fastrand::Rng;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
/// A server that asks for less, or for more, gets this.
const ASKED: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(300)];

/// Doubles with each failure in a row.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(FIRST)
    }
}

impl Backoff {
    /// How long to wait after one more failure: what the server asked for, or a little more or less than the last time's
    /// double, so that balancers which lost their server together do not come back together.
    pub(super) fn after(&mut self, asked: Option<Duration>, rng: &mut Rng) -> Duration {
        let wait = self.0.mul_f64(0.8 + 0.4 * rng.f64());
        self.0 = (self.0 * 2).min(LONGEST);
        let [least, most] = ASKED;
        asked.map_or(wait, |asked| asked.clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_to_a_bound_and_yields_to_what_is_asked() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = Backoff::default();
        for expected in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let share = backoff.after(None, &mut rng).as_secs_f64() / expected;
            assert!((0.8..=1.2).contains(&share), "{share}");
        }
        let asked = Some(Duration::from_secs(3));
        assert_eq!(backoff.after(asked, &mut rng), Duration::from_secs(3));
        let asked = Some(Duration::from_secs(1 << 40));
        assert_eq!(backoff.after(asked, &mut rng), ASKED[1]);
        let asked = Some(Duration::ZERO);
        assert_eq!(backoff.after(asked, &mut rng), ASKED[0]);
    }
}
