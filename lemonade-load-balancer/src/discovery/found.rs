//! What a source of workers says: who is there, or that it cannot be asked.

use std::net::SocketAddr;
use std::time::Duration;

use lemonade_config::Address;

/// One worker that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// As the source writes it, in its one form; no two of a set are equal.
    pub address: Address,
    /// Where it was resolved to.
    pub endpoint: SocketAddr,
    /// What to call it, when the source says.
    pub name: Option<String>,
    /// 1 to 65535.
    pub weight: u32,
}

/// What a source has to say. A set follows an equal one only when the source was away in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The whole present set.
    Set {
        /// Ordered by address.
        found: Vec<Found>,
        /// A sentence about each entry that was left out, and why.
        left_out: Vec<String>,
    },
    /// The source cannot be asked; the last set stays in use. One for each failed attempt.
    Away {
        /// One sentence, without secrets.
        error: String,
        /// When it is asked next.
        again_in: Duration,
    },
}
