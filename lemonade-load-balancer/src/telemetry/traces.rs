//! Traces on their way to an OTLP server, in batches. One batch is kept while its server is away, a few times over; what comes
//! meanwhile waits in the shards' queue, which is bounded.

use super::Exporter;
use super::backoff::Backoff;
use super::identity::Identity;
use super::server::{PushError, Server, shortened};
use super::signal::{Signal, Taken};
use crate::config::{Config, OtlpConfig};
use crate::otlp::Clock;
use crate::traces::{Receiver, spans};
use fastrand::Rng;
use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep;

/// How often the queue is looked at: nobody says that something is in it.
const LOOK: Duration = Duration::from_millis(250);
/// Traces of one batch,
const MOST: u64 = 512;
/// and the bytes from which on it is full.
const FULL: usize = 1 << 20;
/// How often a batch is sent before it is dropped.
const TRIES: u32 = 5;

/// Pushes traces.
pub(super) struct Traces {
    traced: Receiver,
    identity: Identity,
    signal: Signal,
    rng: Rng,
    batch: Option<Batch>,
    backoff: Backoff,
}

struct Batch {
    message: Bytes,
    traces: u64,
    tried: u32,
}

impl Traces {
    pub(super) fn new(traced: Receiver, identity: Identity) -> Self {
        Traces {
            traced,
            identity,
            signal: Signal::new("traces"),
            rng: Rng::new(),
            batch: None,
            backoff: Backoff::default(),
        }
    }

    /// What is to be sent next: what was not taken yet, or what waits.
    fn next(&mut self) -> Option<Bytes> {
        self.signal.dropped(self.traced.dropped());
        if self.batch.is_none() {
            self.batch = self.collect();
        }
        self.batch.as_ref().map(|batch| batch.message.clone())
    }

    fn collect(&mut self) -> Option<Batch> {
        let clock = Clock {
            wall: SystemTime::now(),
            steady: Instant::now(),
        };
        let (mut all, mut traces, mut bytes) = (Vec::new(), 0, 0);
        while traces < MOST
            && bytes < FULL
            && let Some(trace) = self.traced.next()
        {
            let written = spans::write(&trace, &clock, &mut self.rng);
            bytes += written.iter().map(Message::encoded_len).sum::<usize>();
            traces += 1;
            all.extend(written);
        }
        (traces > 0).then(|| Batch {
            message: self.message(all),
            traces,
            tried: 0,
        })
    }

    fn message(&self, spans: Vec<opentelemetry_proto::tonic::trace::v1::Span>) -> Bytes {
        let scope_spans = ScopeSpans {
            scope: Some(self.identity.scope.clone()),
            spans,
            ..ScopeSpans::default()
        };
        let resource_spans = ResourceSpans {
            resource: Some(self.identity.resource.clone()),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource_spans],
        };
        request.encode_to_vec().into()
    }

    /// Takes note of what became of the batch. How long to leave the server alone then.
    fn settle(&mut self, pushed: Result<Bytes, PushError>) -> Duration {
        let pushed = pushed.and_then(answered);
        self.signal.settled(&pushed);
        let error = match pushed {
            Ok(_) => {
                self.batch = None;
                self.backoff = Backoff::default();
                return Duration::ZERO;
            }
            Err(error) => error,
        };
        if let Some(batch) = &mut self.batch {
            batch.tried += 1;
            if matches!(error, PushError::Refused(_)) || batch.tried >= TRIES {
                self.drop_batch();
            }
        }
        self.backoff.after(error.asked(), &mut self.rng)
    }

    fn drop_batch(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.signal.dropped(batch.traces);
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
                sleep(LOOK).await;
                continue;
            };
            let pushed = match &server {
                Ok(server) => server.push(message).await,
                Err(error) => Err(PushError::NoAnswer(error.to_string())),
            };
            let wait = self.settle(pushed);
            if !wait.is_zero() {
                sleep(wait).await;
            }
            if server.is_err() {
                server = Server::new(config, "/v1/traces");
            }
        }
    }

    fn rest(&mut self) {
        self.drop_batch();
        let waiting = std::iter::from_fn(|| self.traced.next()).count();
        self.signal.dropped(self.traced.dropped() + waiting as u64);
    }

    async fn flush(&mut self, config: &OtlpConfig) {
        if let Ok(server) = Server::new(config, "/v1/traces") {
            while let Some(message) = self.next() {
                let pushed = server.push(message).await;
                if !self.settle(pushed).is_zero() {
                    break;
                }
            }
        }
        self.rest();
    }
}
