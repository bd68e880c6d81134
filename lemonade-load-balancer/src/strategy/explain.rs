//! What a strategy sees and would do, in numbers: for whoever asks why.
//!
//! A dry run: it changes nothing, so that asking does not move the next real pick. It may allocate, unlike a pick.

use serde::Serialize;
use utoipa::ToSchema;

/// One number that a strategy goes by, of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Term {
    /// What it is, and its unit if it has one: `cost_seconds`.
    pub name: &'static str,
    /// How much.
    pub value: f64,
}

impl Term {
    /// Backends are compared by it, and the lowest is the best.
    pub fn is_compared(&self) -> bool {
        self.name.starts_with("score") || self.name == "turns_until"
    }

    /// A term of this name.
    pub fn new(name: &'static str, value: impl Into<f64>) -> Self {
        let value = value.into();
        Term { name, value }
    }
}

/// Who would be picked.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The one at this place in the pool.
    This(usize),
    /// Any, each with its chance, in the pool's order.
    Chances(Vec<f64>),
}

impl Choice {
    /// The chance of the backend at `place`.
    pub fn chance(&self, place: usize) -> f64 {
        match self {
            Choice::This(picked) => f64::from(u8::from(*picked == place)),
            Choice::Chances(chances) => chances.get(place).copied().unwrap_or_default(),
        }
    }
}

/// A strategy's view of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// How the strategy decides, in a sentence.
    pub rule: &'static str,
    /// What it goes by: [`super::Strategy::terms`].
    pub terms: Vec<Vec<Term>>,
    /// Who would be picked.
    pub choice: Choice,
}

/// The lowest of `scores`, the first along from `start` if several are.
pub(super) fn lowest_from(scores: &[f64], start: usize) -> usize {
    let places = (start..scores.len()).chain(0..start);
    places
        .reduce(|best, place| {
            if scores[place] < scores[best] {
                place
            } else {
                best
            }
        })
        .unwrap_or_default()
}

/// Each one's chance where two are drawn and the second wins if it is better than the first. Cost: O(n^2).
pub(super) fn chances_of_pairs(size: usize, is_better: &dyn Fn(usize, usize) -> bool) -> Vec<f64> {
    let pairs = (size * (size - 1)).max(1) as f64;
    let won = |place: usize| {
        let others = (0..size).filter(|other| *other != place);
        let won = others.map(|other| {
            let first = u32::from(!is_better(other, place));
            first + u32::from(is_better(place, other))
        });
        if size == 1 {
            1.0
        } else {
            f64::from(won.sum::<u32>()) / pairs
        }
    };
    (0..size).map(won).collect()
}
