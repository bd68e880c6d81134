//! From the hosts of rows to endpoints, all at once and within one bound.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::rows::Worker;
use crate::discovery::found::Found;

/// Each occupies a thread of the runtime's pool while the system's resolver thinks.
const AT_ONCE: usize = 64;

/// Literal addresses at once, names through the system's resolver, within [`super::PATIENCE`] altogether.
///
/// Of several addresses, the one of `last` stays while it is among them: resolvers rotate their answers, and a worker
/// must not seem to move each time. It also stays when the name does not resolve any more: name servers fail more often
/// than workers move, and must not take all of them along. Gives a sentence about each name that does not resolve now.
pub(super) async fn resolve(workers: Vec<Worker>, last: &[Found]) -> (Vec<Found>, Vec<String>) {
    let deadline = Instant::now() + super::PATIENCE;
    let resolved = stream::iter(workers)
        .map(|worker| async move {
            let endpoint = endpoint(&worker, last, deadline).await;
            (worker, endpoint)
        })
        // Ordered, as the rows are.
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for (worker, resolved) in resolved {
        let endpoint = match resolved {
            Ok(endpoint) => endpoint,
            Err(why) => {
                let Some(before) = before(&worker, last) else {
                    left_out.push(format!("row `{}`: {why}", worker.address));
                    continue;
                };
                left_out.push(format!(
                    "row `{}`: {why}; it stays {before}",
                    worker.address
                ));
                before
            }
        };
        found.push(Found {
            address: worker.address,
            endpoint,
            name: worker.name,
            weight: worker.weight,
        });
    }
    (found, left_out)
}

async fn endpoint(
    worker: &Worker,
    last: &[Found],
    deadline: Instant,
) -> Result<SocketAddr, &'static str> {
    let address = &worker.address;
    if let Some(endpoint) = address.to_socket_addr() {
        return Ok(endpoint);
    }
    let asked = tokio::net::lookup_host((address.host(), address.port()));
    let answer = timeout_at(deadline, asked)
        .await
        .map_err(|_| "its host did not resolve in time")?
        .map_err(|_| "its host does not resolve")?;
    let answer: Vec<SocketAddr> = answer.collect();
    before(worker, last)
        .filter(|before| answer.contains(before))
        .or(answer.first().copied())
        .ok_or("its host does not resolve")
}

/// Where it was when it last resolved.
fn before(worker: &Worker, last: &[Found]) -> Option<SocketAddr> {
    let index = last.binary_search_by(|found| found.address.cmp(&worker.address));
    Some(last.get(index.ok()?)?.endpoint)
}
