#![doc = include_str!("../README.md")]

use std::io;
use std::net::TcpListener;

use actix_web::body::{BoxBody, SizedStream};
use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Payload as Body};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::stream;
use lemonade_service::{Answer, KEEP_ALIVE, RequestHead, Worker};

/// Serves until `shutdown`, then until the requests in flight are answered or the drain timeout is over.
///
/// Runs on the tokio runtime it is called in, of either flavour, and starts a thread for each core: actix has no
/// other way. It installs no signal handlers.
pub async fn run(
    listener: TcpListener,
    worker: Worker,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let state = Data::new(worker.clone());
    let app = move || {
        App::new()
            .app_data(state.clone())
            .default_service(web::to(answer))
    };
    let drain_timeout = worker.drain_timeout();
    let server = HttpServer::new(app)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        // Whole seconds only; ours, which ends the wait, is exact.
        .shutdown_timeout(drain_timeout.as_secs() + 1)
        .listen(listener)?
        .run();
    let handle = server.handle();
    worker.serve(server, shutdown, || stop(&handle)).await
}

/// Stops accepting, answers what is in flight, closes what is idle.
fn stop(handle: &ServerHandle) {
    // The command is given by the call; the server's own end tells when it was obeyed.
    drop(handle.stop(true));
}

async fn answer(worker: Data<Worker>, request: HttpRequest, body: Body) -> HttpResponse {
    let uri = request.uri();
    let head = RequestHead {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query(),
    };
    match worker.handle(head, body).await {
        Answer::Reply(response) => translated(response),
        Answer::Close => broken(),
    }
}

/// The same response in actix's types, which are those of an older `http`.
fn translated(response: http::Response<lemonade_service::Payload>) -> HttpResponse {
    let (parts, payload) = response.into_parts();
    // Both `http`s know the same statuses.
    let status = StatusCode::from_u16(parts.status.as_u16()).unwrap_or(StatusCode::OK);
    let mut builder = HttpResponse::build(status);
    for (name, value) in &parts.headers {
        // The body's own size says it, and actix would write it twice.
        if name != http::header::CONTENT_LENGTH {
            builder.append_header((name.as_str(), value.as_bytes()));
        }
    }
    builder.body(SizedStream::new(payload.length(), payload))
}

/// A body that fails at once. actix asks for its first piece before it flushes the head, and gives the connection up on
/// an error, so that not a byte is sent.
fn broken() -> HttpResponse {
    let piece = Err::<web::Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted));
    HttpResponse::Ok().body(BoxBody::new(SizedStream::new(1, stream::iter([piece]))))
}
