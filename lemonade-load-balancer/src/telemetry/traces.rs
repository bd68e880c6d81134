//! Traces on their way to an OTLP server, in batches. One batch is kept while its server is away, a few times over; what comes
//! meanwhile waits in the shards' queue, which is bounded.

use super::Exporter;
use super::backoff::Backoff;
use super::identity::Identity;
use super::server::{PushError, Server, shortened};
use super::signal::{Signal, Taken};
use crate::config::{Config, OtlpConfig};
use crate::otlp::{Clock, open};
use crate::traces::spans::Spans;
use crate::traces::{BATCH, Receiver};
use fastrand::Rng;
use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{sleep, timeout};

/// How long traces wait for others to make a batch with: a push costs as much as a few dozen traces.
const PATIENCE: Duration = Duration::from_secs(1);
/// The bytes from which on a batch is full, however few traces it has.
const FULL: usize = 1 << 20;
/// How often a batch is sent before it is dropped.
const TRIES: u32 = 5;

/// Pushes traces.
pub(super) struct Traces {
    traced: Receiver,
    /// How an encoded [`ResourceSpans`] begins, and a [`ScopeSpans`].
    resource: Vec<u8>,
    scope: Vec<u8>,
    signal: Signal,
    rng: Rng,
    /// Only storage.
    spans: Spans,
    batch: Option<Batch>,
    backoff: Backoff,
}

struct Batch {
    message: Bytes,
    traces: usize,
    /// More may wait.
    is_full: bool,
    tried: u32,
}

impl Traces {
    pub(super) fn new(traced: Receiver, identity: Identity) -> Self {
        let resource = ResourceSpans {
            resource: Some(identity.resource),
            ..ResourceSpans::default()
        };
        let scope = ScopeSpans {
            scope: Some(identity.scope),
            ..ScopeSpans::default()
        };
        Traces {
            traced,
            resource: resource.encode_to_vec(),
            scope: scope.encode_to_vec(),
            signal: Signal::new("traces"),
            rng: Rng::new(),
            spans: Spans::default(),
            batch: None,
            backoff: Backoff::default(),
        }
    }

    /// Waits until something may be worth a push.
    async fn wait(&self) {
        // Either will do.
        let _ = timeout(PATIENCE, self.traced.batch()).await;
    }

    /// What is to be sent next: what was not taken yet, or else what waits.
    fn next(&mut self) -> Option<Bytes> {
        self.signal.dropped(self.traced.dropped());
        if self.batch.is_none() {
            self.batch = self.gather();
        }
        self.batch.as_ref().map(|batch| batch.message.clone())
    }

    /// Makes a batch of what waits, as far as there is room.
    fn gather(&mut self) -> Option<Batch> {
        let clock = Clock {
            wall: SystemTime::now(),
            steady: Instant::now(),
        };
        self.spans.begin(&self.scope);
        let (mut traces, mut is_full) = (0, false);
        while !is_full && let Some(trace) = self.traced.next() {
            self.spans.add(&trace, &clock, &mut self.rng);
            traces += 1;
            is_full = traces >= BATCH || self.spans.encoded().len() >= FULL;
        }
        (traces > 0).then(|| Batch {
            message: self.message(),
            traces,
            is_full,
            tried: 0,
        })
    }

    /// An encoded `ExportTraceServiceRequest` of the spans.
    fn message(&self) -> Bytes {
        let scope_spans = self.spans.encoded();
        let mut before = self.resource.clone();
        open(2, scope_spans.len(), &mut before);
        let length = before.len() + scope_spans.len();
        let mut request = Vec::with_capacity(length + 16);
        open(1, length, &mut request);
        request.extend_from_slice(&before);
        request.extend_from_slice(scope_spans);
        request.into()
    }

    /// Takes note of what became of the batch. If it was not taken: how long to leave the server alone.
    fn settle(&mut self, pushed: Result<Bytes, PushError>) -> Option<Duration> {
        let pushed = pushed.and_then(answered);
        self.signal.settled(&pushed);
        let error = match pushed {
            Ok(_) => {
                self.batch = None;
                self.backoff = Backoff::default();
                return None;
            }
            Err(error) => error,
        };
        if let Some(batch) = &mut self.batch {
            batch.tried += 1;
            if matches!(error, PushError::Refused(_)) || batch.tried >= TRIES {
                self.drop_batch();
            }
        }
        Some(self.backoff.after(error.asked(), &mut self.rng))
    }

    fn drop_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.signal.dropped(batch.traces as u64);
        }
    }
}

fn answered(answer: Bytes) -> Result<Taken, PushError> {
    let answer = ExportTraceServiceResponse::decode(answer)?;
    let partly = answer.partial_success.unwrap_or_default();
    Ok(Taken {
        rejected: u64::try_from(partly.rejected_spans).unwrap_or(0),
        why: shortened(&partly.error_message),
    })
}

impl Exporter for Traces {
    type Config = OtlpConfig;

    fn wanted(config: &Config) -> Option<OtlpConfig> {
        config.tracing.as_ref().map(|tracing| tracing.otlp.clone())
    }

    async fn export(&mut self, config: &OtlpConfig) {
        self.backoff = Backoff::default();
        let mut server = Server::new(config, "/v1/traces");
        loop {
            let Some(message) = self.next() else {
                self.wait().await;
                continue;
            };
            let pushed = match &server {
                Ok(server) => server.push(message).await,
                Err(error) => Err(PushError::NoAnswer(error.to_string())),
            };
            let was_full = self.batch.as_ref().is_some_and(|batch| batch.is_full);
            match self.settle(pushed) {
                Some(wait) => sleep(wait).await,
                None if was_full => {}
                None => self.wait().await,
            }
            if server.is_err() {
                server = Server::new(config, "/v1/traces");
            }
        }
    }

    fn rest(&mut self) {
        self.drop_batch();
        self.spans = Spans::default();
        let waiting = std::iter::from_fn(|| self.traced.next()).count();
        self.signal.dropped(self.traced.dropped() + waiting as u64);
    }

    async fn flush(&mut self, config: &OtlpConfig) {
        if let Ok(server) = Server::new(config, "/v1/traces") {
            while let Some(message) = self.next() {
                let pushed = server.push(message).await;
                if self.settle(pushed).is_some() {
                    break;
                }
            }
        }
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OtlpUrl, ResourceConfig};
    use crate::traces::{self, example};
    use lemonade_test::{Connection, Gate, Message as Received, Origin, until};
    use metrics::LocalRecorderGuard;
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::task::JoinHandle;

    /// What one test's thread records.
    struct Recorded {
        handle: PrometheusHandle,
        _recording: LocalRecorderGuard<'static>,
    }

    impl Recorded {
        fn begin() -> Self {
            // Leaked: the guard lives as long as the test.
            let recorder: &'static PrometheusRecorder =
                Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
            Recorded {
                handle: recorder.handle(),
                _recording: metrics::set_default_local_recorder(recorder),
            }
        }

        fn count(&self, name: &str, labels: &str) -> u64 {
            let series = format!("lemonade_telemetry_{name}_total{{signal=\"traces\"{labels}}} ");
            let text = self.handle.render();
            let count = text.lines().find_map(|line| line.strip_prefix(&series));
            count.map_or(0, |count| count.parse().unwrap())
        }

        fn exports(&self, result: &str) -> u64 {
            self.count("exports", &format!(",result=\"{result}\""))
        }
    }

    fn otlp(server: SocketAddr) -> OtlpConfig {
        let url = format!("http://{server}");
        let mut config = OtlpConfig::at(OtlpUrl::parse(&url).unwrap());
        config.timeout = Duration::from_millis(300);
        config
    }

    fn exporter() -> (traces::Traces, Traces) {
        let (sender, traced) = traces::channel();
        let identity = Identity::new(&ResourceConfig::default(), &mut Rng::with_seed(1));
        (sender, Traces::new(traced, identity))
    }

    fn exporting(server: SocketAddr) -> (traces::Traces, JoinHandle<()>) {
        let (sender, mut exporter) = exporter();
        let config = otlp(server);
        let task = tokio::spawn(async move { exporter.export(&config).await });
        (sender, task)
    }

    fn send(traces: &traces::Traces, paths: impl IntoIterator<Item = String>) {
        for path in paths {
            let path = path.into();
            traces.send(Box::new(crate::traces::Trace { path, ..example() }));
        }
    }

    /// The paths of the requests that a push is about.
    fn paths(pushed: &Received) -> Vec<String> {
        assert_eq!(pushed.start, "POST /v1/traces HTTP/1.1");
        assert_eq!(pushed.field("content-type"), Some(PROTOBUF));
        let request = ExportTraceServiceRequest::decode(&*pushed.body).unwrap();
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(
            resource.attributes[0],
            crate::otlp::text("service.name", "lemonade")
        );
        let scopes = &request.resource_spans[0].scope_spans;
        let attributes = scopes[0].spans.iter().flat_map(|span| &span.attributes);
        let paths = attributes.filter(|pair| pair.key == "url.path");
        let paths = paths.map(|pair| match pair.value.clone().unwrap().value.unwrap() {
            Value::StringValue(path) => path,
            other => panic!("{other:?}"),
        });
        paths.collect()
    }

    const PROTOBUF: &str = "application/x-protobuf";

    fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {PROTOBUF}\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// Answers with the first, then with the second, and so on; with the last for ever.
    async fn answering(answers: Vec<Vec<u8>>) -> Origin {
        let (answers, given) = (Arc::new(answers), Arc::new(AtomicUsize::new(0)));
        Origin::start(move |mut connection: Connection| {
            let (answers, given) = (answers.clone(), given.clone());
            async move {
                while connection.request().await.is_ok() {
                    let place = given.fetch_add(1, Relaxed).min(answers.len() - 1);
                    connection.send(&answers[place]).await;
                }
            }
        })
        .await
    }

    #[tokio::test]
    async fn traces_arrive_in_batches() {
        let recorded = Recorded::begin();
        let server = answering(vec![answer("200 OK", "", b"")]).await;
        let (traces, _task) = exporting(server.address());
        let sent: Vec<String> = (0..1000).map(|index| format!("/{index}")).collect();
        send(&traces, sent.clone());
        until("two pushes are answered", || recorded.exports("ok") == 2).await;
        let pushed = server.requests();
        assert_eq!(
            [paths(&pushed[0]).len(), paths(&pushed[1]).len()],
            [512, 488]
        );
        let arrived: Vec<String> = pushed.iter().flat_map(paths).collect();
        assert_eq!(arrived, sent);
        assert_eq!(server.connections(), 1);
    }

    #[tokio::test]
    async fn traces_that_come_one_by_one_are_pushed_together() {
        let recorded = Recorded::begin();
        let gate = Gate::shut();
        let server = Origin::behind(&gate, "").await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        server.request(1).await;
        // One that waits when the first is taken does not go alone.
        send(&traces, ["/b".to_owned()]);
        gate.open();
        until("the first is taken", || recorded.exports("ok") == 1).await;
        send(&traces, ["/c".to_owned()]);
        until("the others are taken", || recorded.exports("ok") == 2).await;
        assert_eq!(paths(&server.requests()[1]), ["/b", "/c"]);
    }

    #[tokio::test]
    async fn batch_is_sent_again_when_the_server_says_so() {
        let recorded = Recorded::begin();
        let mut answers: Vec<_> = ["429 Oh", "502 Oh", "503 Oh", "504 Oh"]
            .map(|status| answer(status, "Retry-After: 0\r\n", b""))
            .into();
        answers.push(answer("200 OK", "", b""));
        let server = answering(answers).await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        until("the batch is taken", || recorded.exports("ok") == 1).await;
        let pushed = server.requests();
        assert!(pushed.iter().all(|request| paths(request) == ["/a"]));
        assert_eq!((pushed.len(), recorded.exports("away")), (5, 4));
        assert_eq!(recorded.count("dropped", ""), 0);
    }

    #[tokio::test]
    async fn batch_is_dropped_after_five_tries() {
        let recorded = Recorded::begin();
        let busy = answer("503 Oh", "Retry-After: 0\r\n", b"");
        let mut answers = vec![busy; TRIES as usize];
        answers.push(answer("200 OK", "", b""));
        let server = answering(answers).await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned(), "/b".to_owned()]);
        until("it is dropped", || recorded.count("dropped", "") == 2).await;
        send(&traces, ["/c".to_owned()]);
        until("the next is taken", || recorded.exports("ok") == 1).await;
        assert_eq!(paths(&server.requests()[5]), ["/c"]);
    }

    #[tokio::test]
    async fn server_is_left_alone_as_long_as_it_asks_for() {
        let recorded = Recorded::begin();
        let busy = answer("503 Oh", "Retry-After: 1\r\n", b"");
        let server = answering(vec![busy, answer("200 OK", "", b"")]).await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        server.request(1).await;
        let asked = Instant::now();
        until("the batch is taken", || recorded.exports("ok") == 1).await;
        assert!(asked.elapsed() > Duration::from_millis(900));
    }

    #[tokio::test]
    async fn what_is_refused_is_not_sent_again() {
        for refusal in [
            answer("400 No", "", b""),
            answer("404 No", "Retry-After: 0\r\n", b""),
            answer("500 Oh", "", b""),
            answer("302 Elsewhere", "Location: /\r\n", b""),
            answer("200 OK", "", b"\xff\xff\xff"),
        ] {
            let recorded = Recorded::begin();
            let server = answering(vec![refusal, answer("200 OK", "", b"")]).await;
            let (traces, task) = exporting(server.address());
            send(&traces, ["/a".to_owned()]);
            until("it is dropped", || recorded.count("dropped", "") == 1).await;
            send(&traces, ["/b".to_owned()]);
            until("the next is taken", || recorded.exports("ok") == 1).await;
            assert_eq!(paths(&server.requests()[1]), ["/b"]);
            assert_eq!(
                (recorded.exports("refused"), server.requests().len()),
                (1, 2)
            );
            task.abort();
        }
    }

    #[tokio::test]
    async fn what_a_server_leaves_out_is_counted() {
        let recorded = Recorded::begin();
        let partly = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too many".to_owned(),
            }),
        };
        let server = answering(vec![answer("200 OK", "", &partly.encode_to_vec())]).await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        until("it is counted", || recorded.count("rejected", "") == 3).await;
        assert_eq!(
            (recorded.exports("partial"), server.requests().len()),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn taken_is_taken_whatever_is_said_beside() {
        let recorded = Recorded::begin();
        let server = Origin::named("thanks").await;
        let (traces, _task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        until("it is taken", || recorded.exports("ok") == 1).await;
    }

    #[tokio::test]
    async fn server_that_never_answers_fills_nothing_but_the_queue() {
        let recorded = Recorded::begin();
        let server =
            Origin::start(async |mut connection: Connection| connection.gone().await).await;
        let (traces, task) = exporting(server.address());
        send(&traces, ["/a".to_owned()]);
        until("a push is given up", || recorded.exports("away") == 1).await;
        send(&traces, (0..10_000).map(|index| format!("/{index}")));
        until("drops are counted", || {
            recorded.count("dropped", "") > 5_000
        })
        .await;
        assert!(!task.is_finished());
        assert!(recorded.exports("away") <= 3);
    }

    #[tokio::test]
    async fn what_waited_arrives_when_the_server_is_back() {
        let recorded = Recorded::begin();
        let server = answering(vec![answer("200 OK", "", b"")]).await;
        let address = server.address();
        server.kill().await;
        let (traces, _task) = exporting(address);
        send(&traces, ["/a".to_owned()]);
        until("the server is missed", || recorded.exports("away") == 1).await;
        send(&traces, ["/b".to_owned()]);
        let script = async |mut connection: Connection| {
            while connection.request().await.is_ok() {
                connection.send(answer("200 OK", "", b"")).await;
            }
        };
        let server = Origin::start_at(address, script).await;
        until("both are taken", || recorded.exports("ok") == 2).await;
        let arrived: Vec<String> = server.requests().iter().flat_map(paths).collect();
        assert_eq!(arrived, ["/a", "/b"]);
        assert_eq!(recorded.count("dropped", ""), 0);
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_pushed_or_counted() {
        let recorded = Recorded::begin();
        let server = answering(vec![answer("200 OK", "", b"")]).await;
        let (traces, mut exporter) = exporter();
        send(&traces, (0..700).map(|index| format!("/{index}")));
        exporter.flush(&otlp(server.address())).await;
        assert_eq!(server.requests().iter().flat_map(paths).count(), 700);
        let address = server.address();
        server.kill().await;
        send(&traces, (0..700).map(|index| format!("/{index}")));
        exporter.flush(&otlp(address)).await;
        assert_eq!(recorded.count("dropped", ""), 700);
    }
}
