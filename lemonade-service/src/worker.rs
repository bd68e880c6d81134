//! The worker itself: one request in, one answer out, whatever the framework.
//!
//! The adapters call [`Worker::handle`] for each request and run inside [`Worker::serve`]. Promise: every decision
//! is taken here; an adapter only translates.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::answer::{Answer, faulty, not_allowed, problem, reply};
use crate::chaos::{Change, Chaos};
use crate::config::WorkerConfig;
use crate::framework::Framework;
use crate::overrides::Overrides;
use crate::route::Route;
use crate::scenario::Scenario;
use crate::slots::Slots;

/// A chaos document is far smaller; a larger one is refused.
const MAX_DOCUMENT: usize = 64 << 10;

/// A request without its body, as its framework spells it.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// `GET`
    pub method: &'a str,
    /// `/v1/work`, as it came: nothing decoded.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
}

/// A worker; clones are the same one.
#[derive(Debug, Clone)]
pub struct Worker(Arc<State>);

#[derive(Debug)]
struct State {
    name: String,
    framework: Framework,
    /// What a reset returns to.
    start: Chaos,
    chaos: watch::Sender<Chaos>,
    slots: Slots,
    scenario: Option<Scenario>,
    drain_timeout: Duration,
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    worker: &'a str,
    framework: &'static str,
}

#[derive(Serialize)]
struct Done<'a> {
    worker: &'a str,
    framework: &'static str,
    /// From the request's head to its answer, waiting included.
    took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_bytes: Option<u64>,
}

impl Worker {
    /// A worker that has not begun its scenario.
    pub fn new(config: WorkerConfig) -> Worker {
        let start = Chaos {
            delay: config.delay,
            jitter: config.jitter,
            speed: config.speed,
            error_rate: config.error_rate,
            error_status: 500,
            error_after: Duration::ZERO,
            hang: false,
            refuse_health: false,
            close: false,
            paused_until: None,
            capacity: config.capacity,
        };
        Worker(Arc::new(State {
            name: config.name,
            framework: config.framework,
            start,
            chaos: watch::Sender::new(start),
            slots: Slots::new(config.capacity),
            scenario: config.scenario,
            drain_timeout: config.drain_timeout,
        }))
    }

    /// How long requests in flight may take after shutdown began, for frameworks that want to know.
    pub fn drain_timeout(&self) -> Duration {
        self.0.drain_timeout
    }

    /// Runs `serving`, and the scenario beside it, until `shutdown`; then calls `stop`, which must make `serving`
    /// end once its requests are answered, and gives it the drain timeout to do so.
    pub async fn serve(
        &self,
        serving: impl Future<Output = io::Result<()>>,
        shutdown: impl Future<Output = ()>,
        stop: impl FnOnce(),
    ) -> io::Result<()> {
        let mut serving = pin!(serving);
        tokio::select! {
            result = &mut serving => return result,
            never = self.play() => match never {},
            () = shutdown => {}
        }
        stop();
        let drain_timeout = self.0.drain_timeout;
        timeout(drain_timeout, serving).await.unwrap_or_else(|_| {
            warn!(?drain_timeout, "requests were still in flight");
            Ok(())
        })
    }

    /// Answers one request. The body is read to its end and counted, never kept. Dropping the future is what happens
    /// when a client leaves: it frees the request's slot, or its place in the queue.
    pub async fn handle<B, P, E>(&self, head: RequestHead<'_>, body: B) -> Answer
    where
        B: Stream<Item = Result<P, E>>,
        P: AsRef<[u8]>,
        E: Display,
    {
        let arrived = Instant::now();
        let route = Route::find(head.path);
        let allowed = route.is_none_or(|route| route.allows(head.method));
        if route == Some(Route::Chaos) && allowed {
            return self.chaos(head.method, body).await;
        }
        self.until_pause_is_over().await;
        if self.now().close {
            return Answer::Close;
        }
        let received = match count(body).await {
            Ok(received) => received,
            Err(answer) => return answer,
        };
        match route {
            None => problem(StatusCode::NOT_FOUND, "there are /health, /work and /chaos"),
            Some(route) if !allowed => not_allowed(route.allow()),
            Some(Route::Work) => {
                self.work(head.query.unwrap_or_default(), received, arrived)
                    .await
            }
            Some(_) => self.health(),
        }
    }

    fn health(&self) -> Answer {
        let (status, word) = match self.now().refuse_health {
            true => (StatusCode::SERVICE_UNAVAILABLE, "refused"),
            false => (StatusCode::OK, "healthy"),
        };
        let content = Health {
            status: word,
            worker: &self.0.name,
            framework: self.0.framework.name(),
        };
        reply(status, &content, 0)
    }

    async fn work(&self, query: &str, received: u64, arrived: Instant) -> Answer {
        let overrides = match Overrides::parse(query) {
            Ok(overrides) => overrides,
            Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let mut rng = Rng::new();
        let chaos = self.now();
        if chaos.hang {
            self.until_hang_is_over().await;
            return Answer::Close;
        }
        // Past the queue, and at once unless told otherwise: a worker that fails fast is the one that balancers fall for.
        if overrides.status.is_none() && rng.f64() < chaos.error_rate.fraction() {
            if !chaos.error_after.is_zero() {
                sleep(chaos.error_after).await;
            }
            let status = StatusCode::from_u16(chaos.error_status).unwrap_or_default();
            return problem(status, "an error, as `error_rate` asks for");
        }
        let slot = self.0.slots.enter().await;
        let chaos = self.now();
        let delay = overrides
            .delay
            .unwrap_or_else(|| chaos.delay.draw(chaos.jitter, &mut rng));
        slot.work(chaos.speed.applied(delay)).await;
        let content = Done {
            worker: &self.0.name,
            framework: self.0.framework.name(),
            took_ms: arrived.elapsed().as_micros() as f64 / 1000.0,
            received_bytes: (received > 0).then_some(received),
        };
        reply(
            overrides.status.unwrap_or(StatusCode::OK),
            &content,
            overrides.size,
        )
    }

    async fn chaos<B, P, E>(&self, method: &str, body: B) -> Answer
    where
        B: Stream<Item = Result<P, E>>,
        P: AsRef<[u8]>,
        E: Display,
    {
        let document = match collect(body).await {
            Ok(document) => document,
            Err(answer) => return answer,
        };
        match method {
            "PUT" => match Change::parse(&document) {
                Ok(change) => self.change(&change),
                Err(faults) => return faulty(&faults),
            },
            "DELETE" => self.change(&Change::to_start()),
            _ => {}
        }
        reply(StatusCode::OK, &self.now().show(Instant::now()), 0)
    }

    fn change(&self, change: &Change) {
        let now = Instant::now();
        self.0
            .chaos
            .send_modify(|chaos| chaos.apply(change, &self.0.start, now));
        let chaos = self.now();
        self.0.slots.resize(chaos.capacity);
        info!(worker = %self.0.name, chaos = %chaos.show(now), "chaos changed");
    }

    /// After the last step there is only waiting.
    async fn play(&self) -> Infallible {
        let begun = Instant::now();
        let steps = self
            .0
            .scenario
            .iter()
            .flat_map(|scenario| (0..).map_while(|number| scenario.step(number)));
        for (at, change) in steps {
            sleep_until(begun + at).await;
            self.change(change);
        }
        std::future::pending().await
    }

    fn now(&self) -> Chaos {
        *self.0.chaos.borrow()
    }

    async fn until_pause_is_over(&self) {
        // Looked at first, so that requests in peaceful times do not subscribe.
        if self.now().paused_until.is_none() {
            return;
        }
        let mut chaos = self.0.chaos.subscribe();
        loop {
            let until = chaos.borrow_and_update().paused_until;
            match until {
                // Either the pause ends, or it is changed and looked at again.
                Some(until) if until > Instant::now() => {
                    let _ = timeout_at(until, chaos.changed()).await;
                }
                _ => return,
            }
        }
    }

    /// Requests that hang are let go when the hang is lifted: unanswered still, but not kept for nothing.
    async fn until_hang_is_over(&self) {
        // The sender lives as long as `self`, so the wait ends only with the hang.
        let _ = self.0.chaos.subscribe().wait_for(|chaos| !chaos.hang).await;
    }
}

/// Reads a body to its end; how many bytes it had.
async fn count<P: AsRef<[u8]>, E: Display>(
    body: impl Stream<Item = Result<P, E>>,
) -> Result<u64, Answer> {
    let mut body = pin!(body);
    let mut bytes = 0;
    while let Some(piece) = body.next().await {
        bytes += piece.map_err(|error| unreadable(&error))?.as_ref().len() as u64;
    }
    Ok(bytes)
}

async fn collect<P: AsRef<[u8]>, E: Display>(
    body: impl Stream<Item = Result<P, E>>,
) -> Result<String, Answer> {
    let mut body = pin!(body);
    let mut document = Vec::new();
    let mut fits = true;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| unreadable(&error))?;
        fits &= document.len() + piece.as_ref().len() <= MAX_DOCUMENT;
        if fits {
            document.extend_from_slice(piece.as_ref());
        }
    }
    if !fits {
        let detail = format!("expected at most {} KiB", MAX_DOCUMENT >> 10);
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    String::from_utf8(document)
        .map_err(|_| problem(StatusCode::BAD_REQUEST, "the document is not UTF-8"))
}

fn unreadable(error: &impl Display) -> Answer {
    problem(
        StatusCode::BAD_REQUEST,
        &format!("the body cannot be read: {error}"),
    )
}
