//! The requests of a scenario for those who send them instead of simulating them: the same, to the last digit.

use crate::scenario::Scenario;
use crate::world::{Drawn, LONGEST};
use std::time::Duration;

/// A request as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// When it comes, since the beginning.
    pub at: Duration,
    /// Which replica its client asks: below [`Scenario::replicas`].
    pub replica: usize,
    /// How long a backend of speed 1 takes for it; at most an hour.
    pub cost: Duration,
    /// It ends in an error whoever serves it, once the work is done.
    pub doomed: bool,
}

/// The requests of a scenario, in the order of time.
pub fn requests(scenario: &Scenario) -> impl Iterator<Item = Planned> {
    Drawn::new(scenario).map(|request| Planned {
        at: request.at,
        replica: request.replica,
        cost: Duration::from_secs_f64(request.size.min(LONGEST)),
        doomed: request.doomed,
    })
}
