//! Why a strategy picks the one that it picks, in words.

use super::time;
use crate::strategy::{ALIKE, LEFT_OUT, Name, Term};

/// One that could have been picked.
pub(super) struct Candidate<'c> {
    pub(super) name: &'c str,
    pub(super) terms: &'c [Term],
}

impl Candidate<'_> {
    /// What it is compared by.
    pub(super) fn score(&self) -> Option<f64> {
        score(self.terms)
    }

    fn term(&self, name: &str) -> f64 {
        let term = self.terms.iter().find(|term| term.name == name);
        term.map_or(0.0, |term| term.value)
    }
}

/// What backends are compared by, the lowest being the best.
pub(super) fn score(terms: &[Term]) -> Option<f64> {
    let last = terms.last().filter(|term| term.is_compared());
    last.map(|term| term.value)
}

/// Why the strategy `by` picks the one at `picked` of these, which are the best of `all`.
pub(super) fn reason(by: Name, candidates: &[Candidate<'_>], picked: usize, all: usize) -> String {
    let Some(own) = candidates.get(picked) else {
        return String::new();
    };
    match by {
        _ if all == 1 => "there is no other".to_owned(),
        Name::RoundRobin | Name::WeightedRoundRobin => "its turn".to_owned(),
        Name::Random => "drawn, as any could have been".to_owned(),
        Name::Weighted => "drawn, with a chance in proportion to its weight".to_owned(),
        Name::ConsistentHash | Name::Maglev => {
            "the key leads there, or to others that are over their bound".to_owned()
        }
        Name::PowerOfTwo | Name::PeakEwma => "the better of two that were drawn".to_owned(),
        Name::LeastDelay | Name::Adaptive => least_delay(candidates, own, all),
        Name::LeastConnections | Name::FastestResponseTime => lowest(candidates, own, all),
    }
}

fn lowest(candidates: &[Candidate<'_>], own: &Candidate<'_>, all: usize) -> String {
    let score = own.score();
    let equals = candidates.iter().filter(|other| other.score() == score);
    match equals.count() {
        0 | 1 => format!("the lowest of {all}"),
        _ if candidates.len() < all => format!("among the lowest of {all}, and its turn"),
        equals => format!(
            "the lowest of {all}, with {} more, and its turn",
            equals - 1
        ),
    }
}

fn least_delay(candidates: &[Candidate<'_>], own: &Candidate<'_>, all: usize) -> String {
    let seconds = |candidate: &Candidate<'_>| candidate.score().unwrap_or(0.0) as f32;
    let scores = candidates.iter().map(seconds);
    let least = scores.fold(f32::INFINITY, f32::min);
    let idle = own.term("idle_seconds");
    if own.term("places") == 1.0 && idle > LEFT_OUT as f64 * 1e-9 {
        return format!("it is idle and was left out for {}", time(idle));
    }
    let alike =
        |other: &&Candidate<'_>| !std::ptr::eq(*other, own) && seconds(other) <= least * ALIKE;
    let alike: Vec<&str> = candidates.iter().filter(alike).map(|it| it.name).collect();
    let lowest = time(f64::from(least));
    let mut reason = match seconds(own) {
        own if own <= least => format!("the lowest of {all}, {lowest}"),
        own if own <= least * ALIKE => format!("within 10 % of the lowest, {lowest}"),
        // Of a large pool a sample is looked at.
        _ => return format!("the lowest of those of {all} that were looked at"),
    };
    match alike[..] {
        [] => {}
        [other] => reason += &format!("; {other} is within 10 % and was picked more recently"),
        [first, second] => {
            reason +=
                &format!("; {first} and {second} are within 10 % and were picked more recently");
        }
        [first, second, ..] => {
            let more = alike.len() - 2;
            reason += &format!(
                "; {first}, {second} and {more} more are within 10 % and were picked more recently"
            );
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(by: Name, terms: &[&[(&'static str, f64)]], picked: usize) -> String {
        let terms: Vec<Vec<Term>> = terms
            .iter()
            .map(|own| {
                own.iter()
                    .map(|(name, value)| Term::new(name, *value))
                    .collect()
            })
            .collect();
        let names = ["a", "b", "c", "d", "e"];
        let candidates: Vec<_> = names
            .iter()
            .zip(&terms)
            .map(|(name, terms)| Candidate { name, terms })
            .collect();
        reason(by, &candidates, picked, candidates.len())
    }

    fn delays(scores: &[f64], idle: f64) -> Vec<[(&'static str, f64); 3]> {
        let terms = |score: &f64| {
            [
                ("places", 1.0),
                ("idle_seconds", idle),
                ("score_seconds", *score),
            ]
        };
        scores.iter().map(terms).collect()
    }

    fn least(scores: &[f64], idle: f64, picked: usize) -> String {
        let terms = delays(scores, idle);
        let terms: Vec<&[_]> = terms.iter().map(|terms| &terms[..]).collect();
        of(Name::LeastDelay, &terms, picked)
    }

    #[test]
    fn least_delay_says_who_was_near() {
        assert_eq!(least(&[0.01, 0.02], 0.1, 0), "the lowest of 2, 10.0 ms");
        assert_eq!(
            least(&[0.0105, 0.02, 0.01], 0.1, 2),
            "the lowest of 3, 10.0 ms; a is within 10 % and was picked more recently"
        );
        assert_eq!(
            least(&[0.0105, 0.02, 0.01], 0.1, 0),
            "within 10 % of the lowest, 10.0 ms; c is within 10 % and was picked more recently"
        );
        assert_eq!(
            least(&[1.0, 1.0, 1.0, 1.0, 1.0], 0.1, 4),
            "the lowest of 5, 1.0 s; a, b and 2 more are within 10 % and were picked more recently"
        );
        assert_eq!(
            least(&[0.01, 9.0], 5.0, 1),
            "it is idle and was left out for 5.0 s"
        );
        assert_eq!(least(&[0.01], 5.0, 0), "there is no other");
    }

    #[test]
    fn ties_are_said() {
        let score = |score: f64| [("score", score)];
        let [one, two, three] = [score(1.0), score(2.0), score(1.0)];
        let of = |terms: &[&[_]]| of(Name::LeastConnections, terms, 0);
        assert_eq!(of(&[&one, &two]), "the lowest of 2");
        assert_eq!(
            of(&[&one, &two, &three]),
            "the lowest of 3, with 1 more, and its turn"
        );
    }
}
