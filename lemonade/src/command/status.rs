//! `lemonade status`: how the running balancer is doing.

use super::text::cell;
use super::{Failure, ask};
use crate::cli::Reach;
use crate::client::Body;
use hyper::Method;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

pub(crate) fn run(reach: &Reach) -> Result<(), Failure> {
    ask(reach, Method::GET, "/status", Body::none(), show)
}

fn show(status: &Value) -> String {
    let uptime = Duration::from_secs(status["uptime_seconds"].as_f64().unwrap_or(0.0) as u64);
    let mut text = format!(
        "lemonade {}, {} for {}, pid {}\n",
        cell(&status["version"]),
        cell(&status["phase"]),
        lemonade_config::format_duration(uptime),
        status["pid"],
    );
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<12} {value}");
    };
    line("listen", cell(&status["listen"]));
    line("admin", cell(&status["admin"]));
    if let Some(file) = status["config_file"].as_str() {
        line("config", file.to_owned());
    }
    let (strategy, picks) = (cell(&status["strategy"]), cell(&status["picks"]));
    let strategy = match strategy == picks {
        true => strategy,
        false => format!("{strategy}: {picks} picks"),
    };
    line("strategy", strategy);
    line("connections", cell(&status["connections"]));
    let eligible = &status["backends_eligible"];
    line(
        "backends",
        format!("{eligible} of {} may be picked", status["backends"]),
    );
    if let Some(reason) = status["panic"].as_str() {
        let what = match reason {
            "few_usable" => "few are usable, so those that only fail health checks are used too",
            _ => "requests fail at every backend, so all are tried",
        };
        line("PANIC", what.to_owned());
    }
    for source in status["sources"].as_array().into_iter().flatten() {
        let state = match source["away"].as_str() {
            None => format!("{} backends", source["backends"]),
            Some(why) => format!("{} backends; away: {why}", source["backends"]),
        };
        line(
            &cell(&source["source"]),
            format!("{}: {state}", cell(&source["at"])),
        );
        for entry in source["left_out"].as_array().into_iter().flatten() {
            line("", format!("left out: {}", cell(entry)));
        }
    }
    text
}
