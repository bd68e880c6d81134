//! What an operator may change from here: what is asked before it is done, and how the API is asked to do it. Pure.

use super::figures::count;
use super::watched::Watched;
use crate::command::backends::segment;
use crate::command::text::{self, Tense, cell};
use hyper::Method;
use serde_json::{Value, json};

/// What asks the configuration for the strategy.
pub(super) const AUTO: &str = "auto";

/// A change that was chosen and not made yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Drain(String),
    Enable(String),
    Weight(String, u16),
    Strategy(String),
}

impl Change {
    /// In a few words, for a title.
    pub(super) fn title(&self) -> String {
        match self {
            Change::Drain(backend) => format!("drain {backend}?"),
            Change::Enable(backend) => format!("enable {backend}?"),
            Change::Weight(backend, weight) => format!("weight of {backend}: {weight}?"),
            Change::Strategy(name) if name == AUTO => "strategy of the configuration?".to_owned(),
            Change::Strategy(name) => format!("strategy {name}?"),
        }
    }

    /// What will happen, a sentence each.
    pub(super) fn consequences(&self, watched: &Watched) -> Vec<String> {
        let mut told = match self {
            Change::Drain(backend) => drain(backend, watched),
            Change::Enable(backend) => enable(backend, watched),
            Change::Weight(..) => vec![
                "It counts with the next request, where the strategy looks at weights.".to_owned(),
                "It holds until its source names another weight than now.".to_owned(),
            ],
            Change::Strategy(name) => strategy(name, watched),
        };
        told.push(
            "It is not kept beyond the process (the commands' --persist does that).".to_owned(),
        );
        told
    }

    /// The call that makes it.
    pub(super) fn call(&self) -> (Method, String, Option<Value>) {
        match self {
            Change::Drain(backend) => (
                Method::POST,
                format!("/backends{}/drain", segment(backend)),
                None,
            ),
            Change::Enable(backend) => (
                Method::POST,
                format!("/backends{}/enable", segment(backend)),
                None,
            ),
            Change::Weight(backend, weight) => {
                let path = format!("/backends{}/weight", segment(backend));
                (Method::PUT, path, Some(json!({ "weight": weight })))
            }
            Change::Strategy(name) => (
                Method::PUT,
                "/strategy".to_owned(),
                Some(json!({ "name": name })),
            ),
        }
    }

    /// The API's answer in lines.
    pub(super) fn answered(&self, answer: &Value) -> Vec<String> {
        let told = match self {
            Change::Strategy(_) => {
                let (name, picks) = (cell(&answer["name"]), cell(&answer["picks"]));
                match name == picks {
                    true => name,
                    false => format!("{name}: {picks} picks"),
                }
            }
            _ => text::plan(answer, Tense::Did),
        };
        told.lines().map(str::to_owned).collect()
    }
}

fn drain(backend: &str, watched: &Watched) -> Vec<String> {
    let in_flight = watched.backend(backend).map_or(0, |it| it.in_flight);
    let mut told = vec![match in_flight {
        0 => "It gets no new request; none is in flight.".to_owned(),
        1 => "It gets no new request; 1 in flight finishes.".to_owned(),
        many => format!("It gets no new request; {many} in flight finish."),
    }];
    let eligible = |it: &&super::sample::Backend| it.eligible && it.name != backend;
    told.push(match watched.backends.iter().filter(eligible).count() {
        0 => "NOBODY ELSE may be picked: requests would be answered 503.".to_owned(),
        1 => "1 other backend takes its share.".to_owned(),
        many => format!("{many} other backends take its share."),
    });
    told
}

fn enable(backend: &str, watched: &Watched) -> Vec<String> {
    let takers = watched.backends.iter().filter(|it| it.eligible).count() as u64;
    let is_drained = watched
        .backend(backend)
        .is_some_and(|it| it.state == super::sample::State::Draining);
    match is_drained {
        true => vec![format!(
            "It gets requests again, beside {}, once it is known to be well.",
            count(takers, "other")
        )],
        false => vec!["It is not drained: nothing would change.".to_owned()],
    }
}

fn strategy(name: &str, watched: &Watched) -> Vec<String> {
    let last = watched.last();
    let now = last.map_or("-", |last| last.strategy.as_str());
    if name == AUTO {
        return vec![format!(
            "What the configuration names takes the place of {now}."
        )];
    }
    let mut told = vec![
        format!(
            "It takes the place of {now} with the next request; those on their way keep theirs."
        ),
        "It holds until the configuration names another than now.".to_owned(),
    ];
    if now == "adaptive" && name != "adaptive" {
        told.push("The engine only advises while it does.".to_owned());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::watched::tests::watched;
    use super::*;

    fn told(change: &Change, backends: &[(&str, &str, u64, u64)]) -> String {
        change.consequences(&watched(backends)).join(" ")
    }

    #[test]
    fn question_says_what_will_happen() {
        let drain = Change::Drain("w3".to_owned());
        let three = [
            ("w1", "healthy", 1, 0),
            ("w2", "ejected", 0, 0),
            ("w3", "healthy", 1, 0),
        ];
        let words = told(&drain, &three);
        assert!(
            words.starts_with("It gets no new request; 3 in flight finish. 1 other backend takes"),
            "{words}"
        );
        let alone = told(&drain, &three[1..]);
        assert!(alone.contains("NOBODY ELSE"), "{alone}");
        let drained = [("w1", "healthy", 1, 0), ("w3", "draining", 0, 0)];
        let enable = told(&Change::Enable("w3".to_owned()), &drained);
        assert!(
            enable.starts_with("It gets requests again, beside 1 other"),
            "{enable}"
        );
        let nothing = told(&Change::Enable("w1".to_owned()), &drained);
        assert!(nothing.contains("nothing would change"), "{nothing}");
        let random = told(&Change::Strategy("random".to_owned()), &three);
        assert!(
            random.contains("takes the place of adaptive") && random.contains("only advises"),
            "{random}"
        );
    }

    #[test]
    fn changes_are_calls_of_the_api() {
        let (method, path, body) = Change::Weight("a b".to_owned(), 5).call();
        assert_eq!(
            (method, path.as_str()),
            (Method::PUT, "/backends/a%20b/weight")
        );
        assert_eq!(body, Some(json!({ "weight": 5 })));
        assert_eq!(
            Change::Drain("w1".to_owned()).call().1,
            "/backends/w1/drain"
        );
    }

    #[test]
    fn answer_is_that_of_the_api() {
        let plan = json!({ "changed": [{ "name": "w1", "address": "w1", "changes": ["drained"] }], "untouched": 1 });
        let told = Change::Drain("w1".to_owned()).answered(&plan);
        assert_eq!(told, ["~ w1: drained", "  1 backend is untouched"]);
        let told = Change::Strategy(AUTO.to_owned())
            .answered(&json!({ "name": "adaptive", "picks": "random" }));
        assert_eq!(told, ["adaptive: random picks"]);
    }
}
