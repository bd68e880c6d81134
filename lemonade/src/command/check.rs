//! `lemonade check`: what is wrong with a configuration, what it would change, what editors should know.

use super::text::{self, Tense};
use super::{Failure, runtime};
use crate::cli;
use crate::client::{Body, Client};
use hyper::Method;
use lemonade_config::{Document, Environment, Faults};
use lemonade_load_balancer::config::{self, Inputs};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(options: cli::Check) -> Result<(), Failure> {
    if options.schema {
        return text::print(&format!("{:#}\n", config::schema()));
    }
    let path = options.file.unwrap_or_default();
    let inputs = Inputs {
        path: Some(path.clone()),
        environment: Environment::from_process()?,
        ..Inputs::default()
    };
    let checked = inputs.load().and_then(|loaded| {
        inputs.overlay()?;
        Ok(loaded)
    });
    let loaded = match checked {
        Ok(loaded) => loaded,
        Err(faults) if options.json => {
            text::print(&format!("{:#}\n", report(&faults)))?;
            let count = faults.iter().count();
            return Err(Failure::Usage(format!(
                "{count} fault{}",
                if count == 1 { "" } else { "s" }
            )));
        }
        Err(faults) => return Err(faults.into()),
    };
    for warning in &loaded.warnings {
        eprintln!("lemonade: {warning}");
    }
    if options.diff {
        return diff(&inputs, &path, options.admin.as_deref(), options.json);
    }
    match options.json {
        true => text::print(&format!("{:#}\n", json!({ "faults": [] }))),
        false => text::print(&format!("{} is a good configuration\n", path.display())),
    }
}

fn report(faults: &Faults) -> Value {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| {
            json!({
                "file": fault.file,
                "line": fault.position.map(|position| position.line),
                "column": fault.position.map(|position| position.column),
                "path": fault.path,
                "problem": fault.problem,
                "help": fault.help,
            })
        })
        .collect();
    json!({ "faults": faults })
}

/// Variables are expanded here: the balancer does not expand them in what callers send.
fn diff(
    inputs: &Inputs,
    path: &Path,
    admin: Option<&str>,
    wants_json: bool,
) -> Result<(), Failure> {
    let document = Document::load(path, &inputs.environment)?;
    let client = Client::new(admin, Some(path))?;
    let body = Body {
        kind: "application/json;expanded=true",
        ..Body::json(&document.to_json())
    };
    let plan = runtime()?.block_on(client.call(Method::POST, "/config/check", body))?;
    match wants_json {
        true => text::print(&format!("{plan:#}\n"))?,
        false => text::print(&text::plan(&plan, Tense::Would))?,
    }
    match plan["refused"].as_array() {
        Some(refused) if !refused.is_empty() => Err(Failure::Usage(
            "the running balancer cannot change to it".to_owned(),
        )),
        _ => Ok(()),
    }
}
