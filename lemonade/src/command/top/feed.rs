//! Brings news of the balancer, and goes on trying while it is away.
//!
//! Three tasks, because a stream that stalls must not hold up another: samples, which also say whether the balancer is there;
//! events; its status. They end with the runtime, or when nobody listens any more.

use super::sample::{Columns, Sample, Totals};
use super::watched::{MINUTES, Update};
use crate::client::{Body, Client, Feed};
use crate::command::Failure;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

/// How long after a failure the next try is.
const RETRY: Duration = Duration::from_secs(1);
/// A sample comes every second: after so much silence the balancer is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Events may be rare; a stream says at least every 15 seconds that it lives.
const SILENCE_OF_EVENTS: Duration = Duration::from_secs(40);
/// How often sources and the last reload are looked at.
const STATUS: Duration = Duration::from_secs(2);

type Tell = UnboundedSender<Update>;

/// Starts telling. Unbounded: who listens draws between two takes, and a second has a handful of updates.
pub(super) fn start(client: &Arc<Client>, tell: &Tell) {
    tokio::spawn(samples(client.clone(), tell.clone()));
    tokio::spawn(events(client.clone(), tell.clone()));
    tokio::spawn(status(client.clone(), tell.clone()));
}

async fn samples(client: Arc<Client>, tell: Tell) {
    while !tell.is_closed() {
        let why = match follow_samples(&client, &tell).await {
            Ok(()) => "it closed the connection".to_owned(),
            Err(failure) => first_line(&failure),
        };
        let _ = tell.send(Update::Away(why));
        sleep(RETRY).await;
    }
}

/// What was before, and then every second as it comes.
async fn follow_samples(client: &Client, tell: &Tell) -> Result<(), Failure> {
    let strategy = get(client, "/strategy").await?;
    let known = Vec::<String>::deserialize(&strategy["known"]).unwrap_or_default();
    let _ = tell.send(Update::Strategies(known));
    let totals = get(client, &format!("/history?seconds={MINUTES}")).await?;
    let columns = get(client, "/history/backends?seconds=60").await?;
    let _ = tell.send(Update::Began {
        totals: Vec::<Totals>::deserialize(&totals["samples"]).unwrap_or_default(),
        columns: Columns::deserialize(columns).unwrap_or_default(),
    });
    let feed = Feed {
        path: "/live",
        after: None,
        silence: Some(SILENCE),
    };
    let told = |event: &crate::client::Event| {
        if event.kind == "sample" {
            let sample: Sample =
                serde_json::from_slice(&event.data).map_err(|error| not_a_sample(&error))?;
            let _ = tell.send(Update::Sample(Box::new(sample)));
        }
        Ok(())
    };
    client.follow(&feed, told).await
}

fn not_a_sample(error: &serde_json::Error) -> Failure {
    Failure::Failed(format!("what it tells is no sample: {error}"))
}

/// After every break the past ones come again: who listens knows which are known.
async fn events(client: Arc<Client>, tell: Tell) {
    let feed = Feed {
        path: "/events",
        after: None,
        silence: Some(SILENCE_OF_EVENTS),
    };
    while !tell.is_closed() {
        let told = |event: &crate::client::Event| {
            let _ = tell.send(Update::Event(event.json()));
            Ok(())
        };
        // That it is away is told with the samples.
        let _ = client.follow(&feed, told).await;
        sleep(RETRY).await;
    }
}

async fn status(client: Arc<Client>, tell: Tell) {
    while !tell.is_closed() {
        if let Ok(status) = get(&client, "/status").await {
            let _ = tell.send(Update::Status(status));
        }
        sleep(STATUS).await;
    }
}

pub(super) async fn get(client: &Client, path: &str) -> Result<Value, Failure> {
    client.call(Method::GET, path, Body::none()).await
}

/// What follows is advice for who types commands.
fn first_line(failure: &Failure) -> String {
    let text = failure.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
