//! What a running balancer is asked to do as a whole.

use super::{Failure, ask, runtime};
use crate::cli::Reach;
use crate::client::{Body, Client};
use hyper::Method;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a new process may take to be the one that answers.
const PATIENCE: Duration = Duration::from_secs(40);

/// `lemonade upgrade`: asks for a new process, and waits until it is the one that answers.
pub(crate) fn upgrade(reach: &Reach) -> Result<(), Failure> {
    let client = Client::reach(reach)?;
    let pid = || -> Result<Option<u64>, Failure> {
        let status = client.call(Method::GET, "/status", Body::none());
        Ok(runtime()?.block_on(status)?["pid"].as_u64())
    };
    let old = pid()?;
    ask(
        reach,
        Method::POST,
        "/upgrade",
        Body::none(),
        |_: &Value| String::new(),
    )?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        // In the moment of the change a connection may be cut.
        match pid() {
            Ok(new) if new != old => {
                println!("process {} has taken over", new.unwrap_or_default());
                return Ok(());
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Err(Failure::Failed(
        "no new process has taken over: the balancer's log says why".to_owned(),
    ))
}
