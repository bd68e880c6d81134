//! What happens, as it happens: server-sent events.

use super::super::Admin;
use crate::control::Event;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The last events, and then every one as it happens. `Last-Event-ID` leaves out those up to that number.
#[utoipa::path(
    get,
    path = "/events",
    params(("last-event-id" = Option<u64>, Header, description = "The number of the last event seen")),
    responses((
        status = 200,
        body = String,
        content_type = "text/event-stream",
        description = "One event a change: `id`, `event` (its type) and `data` (JSON)"
    ))
)]
pub(super) async fn follow(
    State(admin): State<Admin>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let after = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    let (past, next) = admin.events.follow(after);
    let events = stream::unfold((VecDeque::from(past), next), following);
    Sse::new(events).keep_alive(KeepAlive::default())
}

type Following = (VecDeque<Arc<Event>>, Receiver<Arc<Event>>);

async fn following(
    (mut past, mut next): Following,
) -> Option<(Result<sse::Event, Infallible>, Following)> {
    loop {
        if let Some(event) = past.pop_front() {
            return Some((Ok(sent(&event)), (past, next)));
        }
        match next.recv().await {
            Ok(event) => past.push_back(event),
            // The numbers tell the reader that some are missing.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

fn sent(event: &Event) -> sse::Event {
    // Strings and numbers always serialize, and their JSON has no line break.
    let json = serde_json::to_value(event).unwrap_or_default();
    let kind = json["type"].as_str().unwrap_or("event");
    sse::Event::default()
        .id(event.id.to_string())
        .event(kind)
        .data(json.to_string())
}
