#![doc = include_str!("../README.md")]

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream;
use lemonade_service::{Answer, KEEP_ALIVE, Payload, RequestHead, Worker};
use rocket::config::{Ident, LogLevel, Shutdown};
use rocket::data::{Data, DataStream, ToByteUnit};
use rocket::http::{Header, Method, Status};
use rocket::response::Response;
use rocket::route::{Handler, Outcome, Route};
use rocket::{Config, Request};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Bodies are counted, never kept, so nothing is gained by a bound.
const BODY_LIMIT: u64 = u64::MAX;

/// The methods that Rocket routes; it refuses others by itself.
const METHODS: [Method; 7] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Delete,
    Method::Options,
    Method::Patch,
];

/// Serves until `shutdown`, then until the requests in flight are answered or the drain timeout is over.
///
/// Runs on the tokio runtime it is called in. Rocket 0.5 takes no listener that was bound elsewhere: `listener` is let go
/// and Rocket binds its address anew, so for an instant connections are refused.
pub async fn run(
    listener: TcpListener,
    worker: Worker,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let seconds = u32::try_from(worker.drain_timeout().as_secs()).unwrap_or(u32::MAX);
    let config = Config {
        address: address.ip(),
        port: address.port(),
        ident: Ident::none(),
        keep_alive: u32::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u32::MAX),
        shutdown: Shutdown {
            ctrlc: false,
            signals: Default::default(),
            // Whole seconds only; the worker's own bound, which ends the wait, is exact.
            grace: seconds.saturating_add(1),
            mercy: 0,
            force: false,
            ..Shutdown::default()
        },
        log_level: LogLevel::Off,
        cli_colors: false,
        ..Config::release_default()
    };
    let routes = METHODS.map(|method| {
        let mut route = Route::new(method, "/<_..>", Adapter(worker.clone()));
        route.rank = 0;
        route
    });
    let rocket = rocket::custom(config).mount("/", routes);
    let rocket = rocket.ignite().await.map_err(refused)?;
    let stop = rocket.shutdown();
    drop(listener);
    let serving = async { rocket.launch().await.map(drop).map_err(refused) };
    worker.serve(serving, shutdown, || stop.notify()).await
}

/// Rocket's errors panic when dropped unread; reading one is enough.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping the error here, read, is what it is for"
)]
fn refused(error: rocket::Error) -> io::Error {
    io::Error::other(format!("{}", error.kind()))
}

/// Answers every route: the service knows the paths and methods.
#[derive(Clone)]
struct Adapter(Worker);

#[rocket::async_trait]
impl Handler for Adapter {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let uri = request.uri();
        let head = RequestHead {
            method: request.method().as_str(),
            path: uri.path().as_str(),
            query: uri.query().map(|query| query.as_str()),
        };
        let body = pieces(data.open(BODY_LIMIT.bytes()));
        Outcome::Success(match self.0.handle(head, body).await {
            Answer::Reply(response) => translated(response),
            Answer::Close => broken(),
        })
    }
}

/// A body as a stream of what was read at a time.
fn pieces(data: DataStream<'_>) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> {
    stream::try_unfold(data, |mut data| async move {
        let mut piece = Vec::with_capacity(16 << 10);
        let count = data.read_buf(&mut piece).await?;
        Ok((count > 0).then_some((piece, data)))
    })
}

fn translated<'r>(response: http::Response<Payload>) -> Response<'r> {
    let (parts, payload) = response.into_parts();
    let mut builder = Response::build();
    builder.status(Status::new(parts.status.as_u16()));
    for (name, value) in &parts.headers {
        // The service's values are text.
        let value = value.to_str().unwrap_or_default().to_owned();
        builder.header(Header::new(name.as_str().to_owned(), value));
    }
    if payload.length() > 0 {
        builder.streamed_body(PayloadReader {
            payload,
            piece: Vec::new(),
            sent: 0,
        });
    }
    builder.finalize()
}

/// A response that cannot be built: its header's value holds a line break. Rocket then gives the connection up before a
/// byte was sent, which is what `close` asks for and Rocket has no word for.
fn broken<'r>() -> Response<'r> {
    Response::build().raw_header("Close", "\n").finalize()
}

/// A payload as Rocket reads it.
struct PayloadReader {
    payload: Payload,
    piece: Vec<u8>,
    sent: usize,
}

impl AsyncRead for PayloadReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.sent == self.piece.len() {
            self.piece = self
                .payload
                .next_piece()
                .map(|piece| piece.to_vec())
                .unwrap_or_default();
            self.sent = 0;
        }
        let part = room.remaining().min(self.piece.len() - self.sent);
        room.put_slice(&self.piece[self.sent..self.sent + part]);
        self.sent += part;
        Poll::Ready(Ok(()))
    }
}
