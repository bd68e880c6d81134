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
        Some(StrategyAction::Set { name, change }) => {
            let Change { persist, reach } = change;
            let path = format!("/strategy{}", persisting(persist));
            let body = Body::json(&json!({ "name": name }));
            ask(&reach, Method::PUT, &path, body, show)
        }
    }
}

fn get(reach: &Reach) -> Result<(), Failure> {
    ask(reach, Method::GET, "/strategy", Body::none(), show)
}

fn show(strategy: &Value) -> String {
    let (name, configured) = (cell(&strategy["name"]), cell(&strategy["configured"]));
    match name == configured {
        true => format!("{name}\n"),
        false => format!("{name} (set by hand; the configuration says {configured})\n"),
    }
}
