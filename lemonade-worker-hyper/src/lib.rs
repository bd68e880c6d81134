#![doc = include_str!("../README.md")]

use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::MapOk;
use http_body_util::{BodyDataStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lemonade_service::{Answer, KEEP_ALIVE, Payload, RequestHead, Worker, each, listener};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Serves until `shutdown`, then until the requests in flight are answered or the drain timeout is over; connections
/// that are left then are dropped.
///
/// Runs on the tokio runtime it is called in, of either flavour.
pub async fn run(
    listener: StdListener,
    worker: Worker,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = self::listener(listener)?;
    let (stop, stopped) = watch::channel(());
    let serving = each(listener, stopped, |stream, stopped| {
        connection(stream, worker.clone(), stopped)
    });
    worker.serve(serving, shutdown, || drop(stop)).await
}

async fn connection(stream: TcpStream, worker: Worker, mut stopped: watch::Receiver<()>) {
    let worker = Arc::new(worker);
    let service = service_fn(move |request| {
        let worker = worker.clone();
        async move { answer(&worker, request).await }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // Errors are the peer's or a `Closed`: nobody is left to be told.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Payload pieces as frames of a body.
type Body = StreamBody<MapOk<Payload, fn(Bytes) -> Frame<Bytes>>>;

/// hyper drops the connection without a response when a service fails.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer, as `close` asks for")
    }
}

impl std::error::Error for Closed {}

async fn answer(worker: &Worker, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let head = RequestHead {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    };
    match worker.handle(head, BodyDataStream::new(body)).await {
        Answer::Reply(response) => Ok(response.map(framed)),
        Answer::Close => Err(Closed),
    }
}

fn framed(payload: Payload) -> Body {
    let frame: fn(Bytes) -> Frame<Bytes> = Frame::data;
    StreamBody::new(payload.map_ok(frame))
}
