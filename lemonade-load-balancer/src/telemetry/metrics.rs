//! Metrics on their way to an OTLP server: a reading now and then. One that is not taken is dropped, not repeated: the next one
//! says the same and more, since sums are cumulative.

use super::Exporter;
use super::backoff::Backoff;
use super::identity::Identity;
use super::server::{PushError, Server, shortened};
use super::signal::{Signal, Taken};
use crate::config::{Config, OtlpConfig};
use crate::metrics::otlp::{self, Starts};
use crate::metrics::{Sources, scrape};
use fastrand::Rng;
use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use prost::Message;
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// Pushes metrics.
pub(super) struct Metrics {
    sources: Sources,
    identity: Identity,
    signal: Signal,
    starts: Starts,
    backoff: Backoff,
    rng: Rng,
}

impl Metrics {
    pub(super) fn new(sources: Sources, identity: Identity) -> Self {
        Metrics {
            starts: Starts::new(sources.since),
            sources,
            identity,
            signal: Signal::new("metrics"),
            backoff: Backoff::default(),
            rng: Rng::new(),
        }
    }

    fn read(&mut self) -> Bytes {
        let reading = scrape(&self.sources);
        let scope_metrics = ScopeMetrics {
            scope: Some(self.identity.scope.clone()),
            metrics: otlp::write(&reading, &mut self.starts, SystemTime::now()),
            ..ScopeMetrics::default()
        };
        let resource_metrics = ResourceMetrics {
            resource: Some(self.identity.resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![resource_metrics],
        };
        request.encode_to_vec().into()
    }

    /// Takes note of what became of a reading. How long to leave the server alone at least.
    fn settle(&mut self, pushed: Result<Bytes, PushError>) -> Duration {
        let pushed = pushed.and_then(answered);
        self.signal.settled(&pushed);
        match pushed {
            Ok(_) => {
                self.backoff = Backoff::default();
                Duration::ZERO
            }
            Err(error) => {
                self.signal.dropped(1);
                self.backoff.after(error.asked(), &mut self.rng)
            }
        }
    }
}

fn answered(answer: Bytes) -> Result<Taken, PushError> {
    let answer = ExportMetricsServiceResponse::decode(answer)?;
    let partly = answer.partial_success.unwrap_or_default();
    Ok(Taken {
        rejected: u64::try_from(partly.rejected_data_points).unwrap_or(0),
        why: shortened(&partly.error_message),
    })
}

/// Where to, and how often.
#[derive(PartialEq)]
pub(super) struct Wanted {
    otlp: OtlpConfig,
    interval: Duration,
}

impl Exporter for Metrics {
    type Config = Wanted;

    fn wanted(config: &Config) -> Option<Wanted> {
        let otlp = config.metrics.otlp.clone()?;
        let interval = config.metrics.interval;
        Some(Wanted { otlp, interval })
    }

    /// The first reading goes at once: a server that moved shows that it is there.
    async fn export(&mut self, config: &Wanted) {
        self.backoff = Backoff::default();
        let mut server = Server::new(&config.otlp, "/v1/metrics");
        loop {
            let due = tokio::time::Instant::now() + config.interval;
            let pushed = match &server {
                Ok(server) => server.push(self.read()).await,
                Err(error) => Err(PushError::NoAnswer(error.to_string())),
            };
            let wait = self.settle(pushed);
            tokio::join!(tokio::time::sleep_until(due), sleep(wait));
            if server.is_err() {
                server = Server::new(&config.otlp, "/v1/metrics");
            }
        }
    }

    fn rest(&mut self) {}

    async fn flush(&mut self, config: &Wanted) {
        if let Ok(server) = Server::new(&config.otlp, "/v1/metrics") {
            let pushed = server.push(self.read()).await;
            self.settle(pushed);
        }
    }
}
