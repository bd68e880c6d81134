//! Probes of the standard health protocol of gRPC, against a real HTTP/2 server.

use crate::balancer::{Balancer, Nobody, balancer_at};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{HealthConfig, Probe};
use lemonade_test::{Origin, until};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the server says of the service `known`, and of the server as a whole.
#[derive(Clone, Copy)]
enum Says {
    /// This number, as `HealthCheckResponse.status`.
    Status(u8),
    /// A failed call: `grpc-status` in an answer of trailers only.
    Fails(&'static str),
    /// An answer as good as any, without `grpc-status`.
    NoTrailers,
    /// Another HTTP status.
    Http(u16),
    /// Nothing, ever.
    Nothing,
}

struct Server {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    /// Heads and messages of the calls so far.
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: JoinSet<()>,
}

type Call = (String, HeaderMap, Bytes);

impl Server {
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, says.clone(), calls.clone()));
        Server {
            address,
            says,
            calls,
            _serving: serving,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

async fn serve(listener: TcpListener, says: Arc<Mutex<Says>>, calls: Arc<Mutex<Vec<Call>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (says, calls) = (says.clone(), calls.clone());
        let service =
            service_fn(move |request| answer(request, *says.lock().unwrap(), calls.clone()));
        let server = http2::Builder::new(TokioExecutor::new());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // Ends with an error when the prober is done with it.
            let _ = connection.await;
        });
    }
}

type Answer = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    says: Says,
    calls: Arc<Mutex<Vec<Call>>>,
) -> Result<Response<Answer>, hyper::Error> {
    let (head, body) = request.into_parts();
    let message = body.collect().await?.to_bytes();
    let target = format!("{} {}", head.method, head.uri);
    calls
        .lock()
        .unwrap()
        .push((target, head.headers, message.clone()));
    let known = matches!(&message[5..], b"" | b"\x0a\x05known");
    let says = if known { says } else { Says::Fails("5") };
    Ok(match says {
        Says::Nothing => std::future::pending().await,
        Says::Fails(status) => whole(200, b"", &[("grpc-status", status), ("grpc-message", "no")]),
        Says::Http(status) => whole(status, b"", &[]),
        Says::NoTrailers => whole(200, b"\0\0\0\0\x02\x08\x01", &[]),
        Says::Status(number) => {
            let body = Full::from(vec![0, 0, 0, 0, 2, 8, number]);
            let end = [(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )];
            let trailers = async { Some(Ok(HeaderMap::from_iter(end))) };
            Response::new(body.with_trailers(trailers).boxed_unsync())
        }
    })
}

fn whole(status: u16, body: &'static [u8], headers: &[(&str, &str)]) -> Response<Answer> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::from(body).boxed_unsync()).unwrap()
}

fn probing(backends: &[SocketAddr], service: &str) -> Balancer {
    balancer_at(backends, |config| {
        config.health = Some(HealthConfig {
            probe: Probe::Grpc {
                service: service.to_owned(),
            },
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(300),
            rise: 1,
            fall: 1,
            ..HealthConfig::default()
        });
    })
}

const SERVING: Says = Says::Status(1);

#[tokio::test]
async fn serving_alone_is_a_sign_of_health() {
    let server = Server::start(SERVING).await;
    let balancer = probing(&[server.address], "");
    for says in [
        Says::Status(0),
        Says::Status(2),
        Says::Status(9),
        Says::Fails("12"),
        Says::NoTrailers,
        Says::Http(503),
        Says::Nothing,
    ] {
        balancer.reaches(&[State::Healthy]).await;
        server.say(says);
        balancer.reaches(&[State::Unhealthy]).await;
        server.say(SERVING);
    }
    balancer.reaches(&[State::Healthy]).await;
}

#[tokio::test]
async fn call_is_as_the_protocol_has_it() {
    let server = Server::start(SERVING).await;
    let balancer = probing(&[server.address], "known");
    balancer.reaches(&[State::Healthy]).await;
    let (target, headers, message) = server.calls.lock().unwrap()[0].clone();
    let address = server.address;
    assert_eq!(
        target,
        format!("POST http://{address}/grpc.health.v1.Health/Check")
    );
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(message[..], *b"\0\0\0\0\x07\x0a\x05known");
}

#[tokio::test]
async fn unknown_service_and_servers_that_speak_no_http_2_are_unhealthy() {
    let server = Server::start(SERVING).await;
    let http1 = Origin::named("http1").await;
    let nobody = Nobody::new();
    let backends = [server.address, http1.address(), nobody.address()];
    let balancer = probing(&backends, "unknown");
    balancer.reaches(&[State::Unhealthy; 3]).await;
}

#[tokio::test]
async fn connections_of_probes_are_closed() {
    let quiet =
        Origin::start(async |mut connection: lemonade_test::Connection| connection.gone().await)
            .await;
    let _balancer = probing(&[quiet.address()], "");
    until("several probes have come", || quiet.connections() > 3).await;
    until("all but the last are gone", || quiet.open() <= 1).await;
}
