//! A decision as it is told: what it rests on, what else there was, and what came of it.

use super::Regime;
use crate::strategy::Name;
use serde::{Serialize, Serializer};
use std::fmt;

/// One figure that a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Fact {
    /// What was measured.
    pub what: String,
    /// What it came to.
    pub value: String,
    /// What it is held against.
    pub threshold: String,
}

impl Fact {
    pub(super) fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        threshold: impl Into<String>,
    ) -> Self {
        Fact {
            what: what.into(),
            value: value.into(),
            threshold: threshold.into(),
        }
    }
}

/// A strategy that was looked at, what was foretold of it, and why it was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Alternative {
    /// Its name.
    #[schema(value_type = String)]
    pub strategy: Name,
    /// The time to first byte, in seconds, that half of the answers would stay within; absent where nothing was played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    /// That 99 of 100 would stay within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
    /// The share of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<f64>,
    /// Why not; absent for the one that was decided for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// Why a switch was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The last one was too short a while ago.
    Cooldown,
    /// It broke its promise not long ago.
    Barred,
    /// The configuration does not name it.
    NotACandidate,
    /// It would not be better by enough.
    NoGain,
    /// The engine only advises.
    Advise,
    /// Somebody set the strategy by hand.
    ByHand,
}

impl Why {
    /// Every reason.
    pub const ALL: [Why; 6] = [
        Why::Cooldown,
        Why::Barred,
        Why::NotACandidate,
        Why::NoGain,
        Why::Advise,
        Why::ByHand,
    ];

    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Cooldown => "cooldown",
            Why::Barred => "barred",
            Why::NotACandidate => "not_a_candidate",
            Why::NoGain => "no_gain",
            Why::Advise => "advise",
            Why::ByHand => "by_hand",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What came of a switch, half a minute later.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Effect {
    /// The time to first byte, in seconds, that 99 of 100 answers stayed within, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_p99_seconds: Option<f64>,
    /// The same after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_p99_seconds: Option<f64>,
    /// Requests a second before.
    pub before_rate: f64,
    /// Requests a second after.
    pub after_rate: f64,
    /// What it comes to: `kept`, `broken`, `load_changed`, `too_few`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
}

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is no worse than before.
    Kept,
    /// It is worse than before by a fifth, at like load.
    Broken,
    /// The load is another, so nothing can be compared.
    LoadChanged,
    /// There were too few answers.
    TooFew,
}

/// A switch, or one that was not made; all that is needed to explain it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Decision {
    /// Rises by one with every decision of this process.
    pub id: u64,
    /// When, RFC 3339; written by whoever keeps it.
    pub time: String,
    /// Who picked.
    #[schema(value_type = String)]
    pub from: Name,
    /// Who picks from now on, or would.
    #[schema(value_type = String)]
    pub to: Name,
    /// The operator's rule of that name, or a built-in one: `streams`, `calm`, `saturated`, `varied`, `promise`, `candidates`, `rule_over`.
    pub rule: String,
    /// What kind of traffic it is.
    #[schema(value_type = String)]
    #[serde(serialize_with = "as_word")]
    pub regime: Regime,
    /// What it rests on.
    pub evidence: Vec<Fact>,
    /// Everyone who was considered.
    pub alternatives: Vec<Alternative>,
    /// What was foretold, scaled by what is measured now: the time to first byte, in seconds, that 99 of 100 answers stay within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promised_p99_seconds: Option<f64>,
    /// Until the next switch may be made, in seconds, at the time of the decision and not counting it.
    pub cooldown_left_seconds: f64,
    /// Why the switch was not made; absent where it was.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Why>,
    /// What came of it; absent until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

fn as_word<S: Serializer>(regime: &Regime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(regime.as_str())
}
