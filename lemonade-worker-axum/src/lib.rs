#![doc = include_str!("../README.md")]

use std::io;
use std::net::TcpListener;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use futures_util::stream;
use lemonade_service::{Answer, RequestHead, Worker, listener, prompt};
use tokio::sync::oneshot;

/// Serves until `shutdown`, then until the requests in flight are answered or the drain timeout is over.
///
/// Runs on the tokio runtime it is called in, of either flavour. axum spawns its connections itself: those that
/// outlive the drain timeout end with the runtime.
pub async fn run(
    listener: TcpListener,
    worker: Worker,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = self::listener(listener)?.tap_io(|stream| prompt(stream));
    let router = Router::new().fallback(answer).with_state(worker.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    worker
        .serve(serving.into_future(), shutdown, || drop(stop))
        .await
}

/// A fallback rather than routes: the service knows the paths and methods.
async fn answer(State(worker): State<Worker>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let head = RequestHead {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    };
    match worker.handle(head, body.into_data_stream()).await {
        Answer::Reply(response) => response.map(Body::from_stream),
        Answer::Close => Response::new(broken()),
    }
}

/// A body that fails at once. hyper asks for its first piece before it flushes the head, and gives the connection up
/// on an error, so that not a byte is sent.
fn broken() -> Body {
    Body::from_stream(stream::iter([Err::<Vec<u8>, _>(io::Error::from(
        io::ErrorKind::ConnectionAborted,
    ))]))
}
