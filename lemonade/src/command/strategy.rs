//! `lemonade strategy`: which strategy picks, and the switch.

use super::backends::persisting;
use super::text::cell;
use super::{Failure, ask};
use crate::cli::{self, Change, Reach, StrategyAction};
use crate::client::Body;
use hyper::Method;
use serde_json::{Value, json};

pub(crate) fn run(options: cli::Strategy) -> Result<(), Failure> {
    match options.action {
        None => get(&options.reach),
        Some(StrategyAction::Get { reach }) => get(&reach),
        Some(StrategyAction::Set { name, ttl, change }) => {
            let Change { persist, reach } = change;
            let path = format!("/strategy{}", persisting(persist));
            let body = Body::json(&json!({ "name": name, "ttl": ttl }));
            ask(&reach, Method::PUT, &path, body, show)
        }
    }
}

fn get(reach: &Reach) -> Result<(), Failure> {
    ask(reach, Method::GET, "/strategy", Body::none(), show)
}

fn show(strategy: &Value) -> String {
    let (name, configured) = (cell(&strategy["name"]), cell(&strategy["configured"]));
    let picks = cell(&strategy["picks"]);
    let mut text = name.clone();
    if picks != name {
        text += &format!(": {picks} picks");
    }
    if let Some(left) = strategy["cooldown_left_seconds"]
        .as_f64()
        .filter(|left| *left > 0.0)
    {
        text += &format!("; no other for {left:.0}s");
    }
    if name != configured {
        let hold = match strategy["override_left_seconds"].as_f64() {
            Some(left) => format!(" for {left:.0}s more"),
            None => String::new(),
        };
        text += &format!(" (set by hand{hold}; the configuration says {configured})");
    }
    text + "\n"
}
