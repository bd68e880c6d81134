//! The load: requests that are sent when they are due, whatever became of those before (an open loop).
//!
//! Their times are drawn beforehand. A request's latency counts from the time at which it should have been sent: where a slow
//! answer, a want of connections or a late generator holds it up, that is part of what its sender would have waited. A client that
//! sends its next request only after an answer leaves just those out ("coordinated omission", Gil Tene).
//!
//! It runs on a thread of its own, so that nothing else that the command does makes it late.

use super::clock;
use super::wire::{NoAnswer, Wire};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout_at;

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Planned {
    /// Since the beginning.
    pub(super) due: Duration,
    /// How long a worker of speed 1 is to work on it.
    pub(super) cost: Duration,
    /// Which of the balancers it is sent to.
    pub(super) balancer: usize,
    /// The worker is to answer with an error once it has done its work.
    pub(super) doomed: bool,
}

/// What is sent where.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// In the order in which they are due.
    pub(super) requests: Arc<[Planned]>,
    pub(super) balancers: Vec<SocketAddr>,
    /// From when a request is due to when its client gives it up.
    pub(super) patience: Duration,
    /// The most connections that are open at once; requests beyond them wait for one.
    pub(super) connections: usize,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this status.
    Answered(u16),
    Without(NoAnswer),
    /// Not within the client's patience.
    TimedOut,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// From when it was due to its answer's last byte, or to its failure.
    pub(super) latency: Duration,
    pub(super) end: End,
    /// By how much later than due the generator came to it.
    pub(super) late: Duration,
    /// All connections were in use when it was due.
    pub(super) without_connection: bool,
}

/// The load while it is offered. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Load {
    done: Arc<AtomicUsize>,
    samples: oneshot::Receiver<io::Result<Vec<Sample>>>,
    /// Its end is what stops the thread.
    _stop: oneshot::Sender<()>,
}

impl Load {
    /// Begins to offer it; `start` is the time from which requests are due.
    pub(super) fn begin(offer: Offer, start: Instant) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let done = Arc::<AtomicUsize>::default();
        let (tell, samples) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let progress = done.clone();
        let run = move || {
            let everything = send_all(offer, start, progress);
            let sent = runtime.block_on(LocalSet::new().run_until(async {
                tokio::select! {
                    samples = everything => Some(samples),
                    _ = stopped => None,
                }
            }));
            if let Some(samples) = sent {
                // Whoever asked may have left.
                let _ = tell.send(samples);
            }
        };
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(run)?;
        Ok(Load {
            done,
            samples,
            _stop: stop,
        })
    }

    /// Requests that have ended.
    pub(super) fn done(&self) -> usize {
        self.done.load(Relaxed)
    }

    /// Waits until every request has ended: one sample each, in the order in which they were due.
    pub(super) async fn finished(&mut self) -> io::Result<Vec<Sample>> {
        let samples = (&mut self.samples).await;
        samples.map_err(|_| io::Error::other("the load's thread has ended early"))?
    }
}

/// The clients, which share their connections.
struct Clients {
    balancers: Vec<SocketAddr>,
    /// Connections between two requests, of each balancer.
    idle: RefCell<Vec<Vec<Wire>>>,
    room: Semaphore,
    samples: RefCell<Vec<Option<Sample>>>,
}

async fn send_all(offer: Offer, start: Instant, done: Arc<AtomicUsize>) -> io::Result<Vec<Sample>> {
    let clients = Rc::new(Clients {
        idle: RefCell::new(offer.balancers.iter().map(|_| Vec::new()).collect()),
        balancers: offer.balancers,
        room: Semaphore::new(offer.connections),
        samples: RefCell::new(vec![None; offer.requests.len()]),
    });
    let mut asking = JoinSet::new();
    let mut due = clock::start(offer.requests.clone(), start)?;
    while let Some(number) = due.recv().await {
        let planned = offer.requests[number];
        let due = start + planned.due;
        let (clients, done) = (clients.clone(), done.clone());
        asking.spawn_local(async move {
            let sample = clients.send(number, planned, due, offer.patience).await;
            clients.samples.borrow_mut()[number] = Some(sample);
            done.fetch_add(1, Relaxed);
        });
        while asking.try_join_next().is_some() {}
    }
    while let Some(ended) = asking.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    // Each task that has ended has left one.
    Ok(clients.samples.borrow().iter().flatten().copied().collect())
}

impl Clients {
    async fn send(
        &self,
        number: usize,
        planned: Planned,
        due: Instant,
        patience: Duration,
    ) -> Sample {
        let late = due.elapsed();
        let waited = Cell::new(false);
        let asked = self.ask(number, planned, &waited);
        let end = match timeout_at((due + patience).into(), asked).await {
            Ok(Ok(status)) => End::Answered(status),
            Ok(Err(none)) => End::Without(none),
            Err(_) => End::TimedOut,
        };
        Sample {
            latency: due.elapsed(),
            end,
            late,
            without_connection: waited.get(),
        }
    }

    async fn ask(
        &self,
        number: usize,
        planned: Planned,
        waited: &Cell<bool>,
    ) -> Result<u16, NoAnswer> {
        let _room = match self.room.try_acquire() {
            Ok(room) => Ok(room),
            Err(_) => {
                waited.set(true);
                self.room.acquire().await
            }
        };
        let request = format!(
            "GET /work?delay={}ns{} HTTP/1.1\r\nHost: bench\r\nX-Request-Id: {number}\r\n\r\n",
            planned.cost.as_nanos(),
            if planned.doomed { "&status=500" } else { "" },
        );
        let idle = self.idle.borrow_mut()[planned.balancer].pop();
        if let Some(mut wire) = idle {
            match wire.ask(request.as_bytes()).await {
                // It was closed for its idleness while the request was on its way: any client would ask again.
                Err(NoAnswer::Unanswered) => {}
                Err(other) => return Err(other),
                Ok(answer) => return Ok(self.keep(wire, answer.kept, answer.status, planned)),
            }
        }
        let mut wire = Wire::connect(self.balancers[planned.balancer]).await?;
        let answer = wire.ask(request.as_bytes()).await?;
        Ok(self.keep(wire, answer.kept, answer.status, planned))
    }

    fn keep(&self, wire: Wire, kept: bool, status: u16, planned: Planned) -> u16 {
        if kept {
            self.idle.borrow_mut()[planned.balancer].push(wire);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lemonade_test::{Gate, Origin, until};

    const MS: Duration = Duration::from_millis(1);
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn requests(count: u32) -> Arc<[Planned]> {
        let planned = |number| Planned {
            due: 5 * MS * number,
            cost: Duration::ZERO,
            balancer: 0,
            doomed: false,
        };
        (0..count).map(planned).collect()
    }

    fn offer(server: SocketAddr, count: u32) -> Offer {
        Offer {
            requests: requests(count),
            balancers: vec![server],
            patience: Duration::from_secs(10),
            connections: 64,
        }
    }

    async fn samples(offer: Offer) -> Vec<Sample> {
        let mut load = Load::begin(offer, Instant::now()).unwrap();
        load.finished().await.unwrap()
    }

    /// A server that stalls: a client in a closed loop would send one request and see one slow answer.
    #[tokio::test]
    async fn slow_server_shows_as_latency_and_not_as_fewer_requests() {
        let gate = Gate::shut();
        let opened = gate.clone();
        let origin = Origin::start(move |mut connection| {
            let gate = opened.clone();
            async move {
                while connection.request().await.is_ok() {
                    gate.passed().await;
                    connection.send(OK).await;
                }
            }
        })
        .await;
        let start = Instant::now();
        let offer = Offer {
            connections: 1,
            ..offer(origin.address(), 40)
        };
        let planned = offer.requests.clone();
        let mut load = Load::begin(offer, start).unwrap();
        let last_due = planned[39].due;
        until("the last request is due", || start.elapsed() > last_due).await;
        gate.open();
        let samples = load.finished().await.unwrap();
        assert_eq!(samples.len(), 40);
        for (sample, planned) in samples.iter().zip(planned.iter()) {
            assert_eq!(sample.end, End::Answered(200));
            assert!(sample.latency >= last_due - planned.due, "{sample:?}");
        }
        assert!(!samples[0].without_connection && samples[39].without_connection);
        assert_eq!(origin.connections(), 1, "the bound holds");
    }

    #[tokio::test]
    async fn requests_say_what_they_cost_and_who_they_are() {
        let origin = Origin::answering(OK).await;
        let mut offer = offer(origin.address(), 1);
        offer.requests = vec![Planned {
            due: Duration::ZERO,
            cost: 12_500 * Duration::from_nanos(1_000),
            balancer: 0,
            doomed: true,
        }]
        .into();
        let samples = samples(offer).await;
        assert_eq!(samples[0].end, End::Answered(200));
        let request = origin.request(1).await;
        assert_eq!(
            request.start,
            "GET /work?delay=12500000ns&status=500 HTTP/1.1"
        );
        assert_eq!(request.field("x-request-id"), Some("0"));
    }

    #[tokio::test]
    async fn client_gives_up_when_its_patience_ends() {
        let origin = Origin::start(|mut connection| async move { connection.gone().await }).await;
        let offer = Offer {
            patience: 30 * MS,
            ..offer(origin.address(), 4)
        };
        for sample in samples(offer).await {
            assert_eq!(sample.end, End::TimedOut);
            assert!(sample.latency >= 30 * MS);
        }
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let failing = Origin::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
        let closing = Origin::start(|mut connection| async move {
            let _ = connection.request().await;
        })
        .await;
        let garbage = Origin::answering("nonsense\r\n\r\n").await;
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = nobody.local_addr().unwrap();
        drop(nobody);
        for (server, end) in [
            (failing.address(), End::Answered(503)),
            (closing.address(), End::Without(NoAnswer::Unanswered)),
            (garbage.address(), End::Without(NoAnswer::Broken)),
            (refused, End::Without(NoAnswer::Refused)),
        ] {
            let samples = samples(offer(server, 1)).await;
            assert_eq!(samples[0].end, end);
        }
    }

    #[tokio::test]
    async fn connection_that_was_closed_between_requests_costs_no_error() {
        let origin = Origin::start(|mut connection| async move {
            if connection.request().await.is_ok() {
                connection.send(OK).await;
            }
        })
        .await;
        for sample in samples(offer(origin.address(), 10)).await {
            assert_eq!(sample.end, End::Answered(200));
        }
    }

    #[tokio::test]
    async fn dropped_load_stops() {
        let origin = Origin::answering(OK).await;
        let load = Load::begin(offer(origin.address(), 100_000), Instant::now()).unwrap();
        origin.request(3).await;
        drop(load);
        until("its connections are closed", || origin.open() == 0).await;
    }
}
