//! A sample of real picks, with what everybody stood for at the time.
//!
//! The shard that picks drafts a [`Sketch`]: numbers, and who they are of. The control task makes it a [`Pick`] that can be read
//! without it: names, a time, a reason.

use super::reason::{Candidate, reason, score};
use crate::snapshot::Snapshot;
use crate::strategy::{Name, Term};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Candidates that are kept of one pick, besides the one that was picked.
const MOST: usize = 16;

/// One pick as its shard saw it.
#[derive(Debug)]
pub(crate) struct Sketch {
    snapshot: Arc<Snapshot>,
    /// Since the process began.
    pub(crate) at: Duration,
    /// Places in the pool, the best first, with their ranks.
    candidates: Vec<(usize, usize, Vec<Term>)>,
    picked: usize,
}

impl Sketch {
    /// Of a pick from the pool of `snapshot`; `terms`: what the strategy went by. Cost: O(n log n).
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        at: Duration,
        terms: Vec<Vec<Term>>,
        picked: usize,
    ) -> Self {
        let mut candidates: Vec<(usize, Vec<Term>)> = terms.into_iter().enumerate().collect();
        let worth = |terms: &[Term]| score(terms).unwrap_or(0.0);
        // Stable: of equals the first remain.
        candidates.sort_by(|one, other| worth(&one.1).total_cmp(&worth(&other.1)));
        let candidates = candidates.into_iter().enumerate();
        let candidates = candidates.filter(|(order, (place, _))| *order < MOST || *place == picked);
        Sketch {
            candidates: candidates
                .map(|(order, (place, terms))| (place, order + 1, terms))
                .collect(),
            snapshot,
            at,
            picked,
        }
    }

    /// The whole of it, for people.
    pub(crate) fn told(self, time: String) -> Pick {
        let pool = self.snapshot.pool.backends();
        let name = |place: usize| {
            let backend = pool.get(place);
            backend.map_or_else(String::new, |backend| self.snapshot.name_of(backend))
        };
        let of = |(place, rank, terms): (usize, usize, Vec<Term>)| PickCandidate {
            name: name(place),
            rank: score(&terms).map(|_| rank),
            picked: place == self.picked,
            terms,
        };
        let candidates: Vec<PickCandidate> = self.candidates.into_iter().map(of).collect();
        let by = self.snapshot.picks_by;
        Pick {
            time,
            strategy: by,
            picked: name(self.picked),
            why: why(by, &candidates, pool.len()),
            of: pool.len(),
            candidates,
        }
    }
}

fn why(by: Name, candidates: &[PickCandidate], all: usize) -> String {
    let seen: Vec<Candidate<'_>> = candidates
        .iter()
        .map(|candidate| Candidate {
            name: &candidate.name,
            terms: &candidate.terms,
        })
        .collect();
    let picked = candidates.iter().position(|candidate| candidate.picked);
    reason(by, &seen, picked.unwrap_or(usize::MAX), all)
}

/// A real pick.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Pick {
    /// When, RFC 3339.
    time: String,
    /// Who picked.
    #[schema(value_type = String)]
    strategy: Name,
    /// The backend.
    picked: String,
    /// Why.
    why: String,
    /// So many could have been picked.
    of: usize,
    /// The 16 best of them, and the one that was picked.
    candidates: Vec<PickCandidate>,
}

/// One that could have been picked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PickCandidate {
    /// Its name.
    name: String,
    /// Its place by what is compared, 1 being the best; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    /// This is the one.
    picked: bool,
    /// What the strategy went by; units are in the names.
    terms: Vec<Term>,
}
