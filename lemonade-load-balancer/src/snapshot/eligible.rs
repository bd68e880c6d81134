//! Who may be picked: the one rule that turns states, tiers and the panic threshold into a pool. Pure.
//!
//! Backends count as *usable* when they are healthy or degraded. Of those about which nothing is known yet nothing follows:
//! they neither help nor hurt a share.
//! 1. The usable primary backends. If they are fewer than the threshold's share of the known ones, usable backups join them.
//! 2. If that is nobody, those about which nothing is known: unknown beats refusing.
//! 3. If those are still fewer than the threshold's share (Envoy's panic mode), also those that only health checks speak
//!    against: when most of a pool looks ill, either the checks are wrong or the few well ones are about to be crushed. Whoever
//!    cannot be reached or has been ejected stays out: requests have shown that nothing is gained by asking it.
//! 4. If that is nobody, everybody: one of them may just have come back.

use crate::backend::State;
use crate::config::Tier;

/// One backend as this rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) state: State,
    pub(super) tier: Tier,
    /// Requests have shown that it is of no use.
    pub(super) distrusted: bool,
}

/// Why backends are picked that are not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// Too few are usable: those that only health checks speak against are picked too.
    FewUsable,
    /// Requests have shown that none is of use: all are tried.
    NoneTrusted,
}

impl Panic {
    /// In logs, events and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Panic::FewUsable => "few_usable",
            Panic::NoneTrusted => "none_trusted",
        }
    }
}

/// Who may be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Places, in order.
    pub(super) places: Vec<usize>,
    pub(super) panic: Option<Panic>,
}

/// Chooses. `threshold`, from 0 to 1; at 0 there is no panic.
pub(super) fn choose(candidates: &[Candidate], threshold: f64) -> Choice {
    let places = |wanted: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        let all = candidates.iter().enumerate();
        all.filter(|(_, candidate)| candidate.state != State::Draining && wanted(candidate))
            .map(|(place, _)| place)
            .collect()
    };
    let with_backups = is_low(candidates, threshold, &|candidate| {
        candidate.tier == Tier::Primary
    });
    let in_tier = |candidate: &Candidate| with_backups || candidate.tier == Tier::Primary;
    let mut chosen = places(&|candidate| in_tier(candidate) && candidate.state.is_usable());
    if chosen.is_empty() {
        chosen = places(&|candidate| in_tier(candidate) && candidate.state == State::Starting);
    }
    let mut panic = None;
    let too_few = chosen.is_empty() || is_low(candidates, threshold, &in_tier);
    if threshold > 0.0 && too_few {
        let trusted = places(&|candidate| {
            in_tier(candidate) && (candidate.state.is_usable() || !candidate.distrusted)
        });
        if trusted.len() > chosen.len() {
            (chosen, panic) = (trusted, Some(Panic::FewUsable));
        }
        if chosen.is_empty() {
            chosen = places(&|_| true);
            panic = (!chosen.is_empty()).then_some(Panic::NoneTrusted);
        }
    }
    Choice {
        places: chosen,
        panic,
    }
}

/// Of the known ones in question, fewer are usable than the threshold asks, or none.
fn is_low(candidates: &[Candidate], threshold: f64, of: &dyn Fn(&Candidate) -> bool) -> bool {
    let known = |candidate: &&Candidate| {
        of(candidate) && !matches!(candidate.state, State::Draining | State::Starting)
    };
    let known = candidates.iter().filter(known);
    let (mut usable, mut all) = (0u32, 0u32);
    for candidate in known {
        usable += u32::from(candidate.state.is_usable());
        all += 1;
    }
    // Where nothing is known, those in question count if there are any.
    let nobody = all == 0
        && !candidates
            .iter()
            .any(|candidate| of(candidate) && candidate.state == State::Starting);
    nobody || (all > 0 && (usable == 0 || f64::from(usable) < threshold * f64::from(all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `h`ealthy, `d`egraded, `u`nhealthy, `x` unhealthy and distrusted, `e`jected, `s`tarting, `-` draining; upper case is a backup.
    fn candidates(text: &str) -> Vec<Candidate> {
        let candidate = |letter: char| Candidate {
            state: match letter.to_ascii_lowercase() {
                'h' => State::Healthy,
                'd' => State::Degraded,
                'e' => State::Ejected,
                's' => State::Starting,
                '-' => State::Draining,
                _ => State::Unhealthy,
            },
            tier: match letter.is_ascii_uppercase() {
                true => Tier::Backup,
                false => Tier::Primary,
            },
            distrusted: matches!(letter.to_ascii_lowercase(), 'x' | 'e'),
        };
        text.chars().map(candidate).collect()
    }

    fn chosen(text: &str, threshold: f64) -> (String, Option<Panic>) {
        let choice = choose(&candidates(text), threshold);
        let letters: Vec<char> = text.chars().collect();
        let names = choice.places.iter().map(|place| letters[*place]);
        (names.collect(), choice.panic)
    }

    #[test]
    fn rule_by_example() {
        let few = Some(Panic::FewUsable);
        let none = Some(Panic::NoneTrusted);
        for (pool, expected, panic) in [
            ("hhd", "hhd", None),
            ("hhu", "hh", None),
            ("hhH", "hh", None),
            // Half is enough; less is not.
            ("hheu", "hh", None),
            ("heeu", "hu", few),
            // Backups before panic, and panic over both.
            ("heeuHHHH", "hHHHH", None),
            ("uuuH", "uuuH", few),
            ("xxxH", "H", None),
            // The distrusted stay out while anyone is left.
            ("hxxxx", "h", None),
            ("hexxx", "h", None),
            ("eee", "eee", none),
            ("xxx", "xxx", none),
            ("xxX", "xxX", none),
            // Unknown beats refusing, and says nothing against the known.
            ("sss", "sss", None),
            ("hsss", "h", None),
            ("xsS", "sS", None),
            ("--h", "h", None),
            ("---", "", None),
            ("HH", "HH", None),
        ] {
            assert_eq!(chosen(pool, 0.5), (expected.to_owned(), panic), "{pool}");
        }
        for (pool, expected) in [("heeu", "h"), ("uuu", ""), ("xxH", "H"), ("hHu", "h")] {
            assert_eq!(chosen(pool, 0.0), (expected.to_owned(), None), "{pool}");
        }
    }

    proptest! {
        #[test]
        fn someone_is_picked_whenever_someone_could_answer(pool in "[-hduxesHDUXES]{0,12}", threshold in 0.01f64..=1.0) {
            let candidates = candidates(&pool);
            let choice = choose(&candidates, threshold);
            let draining = |place: &usize| candidates[*place].state == State::Draining;
            prop_assert!(!choice.places.iter().any(draining));
            prop_assert!(choice.places.is_sorted());
            let anyone = candidates.iter().any(|candidate| candidate.state != State::Draining);
            prop_assert_eq!(choice.places.is_empty(), !anyone);
            // Every usable primary is in, whatever the others are like.
            for (place, candidate) in candidates.iter().enumerate() {
                if candidate.state.is_usable() && candidate.tier == Tier::Primary {
                    prop_assert!(choice.places.contains(&place), "{}", pool);
                }
            }
            if choice.panic.is_none() {
                let known = choice.places.iter().filter(|place| candidates[**place].state != State::Starting);
                prop_assert!(known.into_iter().all(|place| candidates[*place].state.is_usable()));
            }
        }
    }
}
