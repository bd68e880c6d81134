//! Active health checks, as seen by those who ask for an answer.

use crate::balancer::{balancer_with, ok};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{HealthConfig, Probe};
use lemonade_test::{Connection, Gate, Origin, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const PROBED: &str = "/up";

fn checks() -> Option<HealthConfig> {
    Some(HealthConfig {
        probe: Probe::Http {
            path: PROBED.to_owned(),
        },
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        rise: 2,
        fall: 3,
    })
}

/// Answers requests 200, and the n-th probe with `status(n)`.
async fn probed(
    status: impl Fn(usize) -> u16 + Send + Sync + 'static,
) -> (Origin, Arc<AtomicUsize>) {
    let probes = Arc::<AtomicUsize>::default();
    let (count, status) = (probes.clone(), Arc::new(status));
    let origin = Origin::start(move |mut connection: Connection| {
        let (count, status) = (count.clone(), status.clone());
        async move {
            while let Ok(request) = connection.request().await {
                let answer = match request.target() {
                    PROBED => {
                        let status = status(count.fetch_add(1, SeqCst));
                        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
                    }
                    _ => ok("served"),
                };
                connection.send(answer).await;
            }
        }
    })
    .await;
    (origin, probes)
}

fn served(origin: &Origin) -> usize {
    let requests = origin.requests();
    requests
        .iter()
        .filter(|request| request.target() != PROBED)
        .count()
}

#[tokio::test]
async fn verdict_needs_its_probes_in_a_row() {
    // Up at once; two failures are not three; three are; one success is not two; two are.
    const SCRIPT: [u16; 11] = [200, 500, 500, 200, 500, 500, 500, 200, 500, 200, 200];
    let (origin, probes) = probed(|index| SCRIPT.get(index).copied().unwrap_or(200)).await;
    let balancer = balancer_with(&[&origin], |config| config.health = checks());
    let first = balancer.generation();
    until("the script is over", || {
        probes.load(SeqCst) > SCRIPT.len() + 1
    })
    .await;
    balancer.reaches(&[State::Healthy]).await;
    let changes = balancer.generation() - first;
    assert!(
        matches!(changes, 2 | 3),
        "in, out, in again; found {changes} changes"
    );
}

#[tokio::test]
async fn unhealthy_backend_gets_no_requests_until_it_is_back() {
    let well = Arc::new(AtomicUsize::new(200));
    let status = well.clone();
    let (sick, _) = probed(move |_| status.load(SeqCst) as u16).await;
    let (sound, _) = probed(|_| 200).await;
    let balancer = balancer_with(&[&sick, &sound], |config| config.health = checks());
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((served(&sick), served(&sound)), (5, 5));
    well.store(503, SeqCst);
    balancer.reaches(&[State::Unhealthy, State::Healthy]).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((served(&sick), served(&sound)), (5, 15));
    let ready = balancer.admin("GET /ready", "").await;
    assert_eq!(ready.status(), 200, "one is enough");
    well.store(200, SeqCst);
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((served(&sick), served(&sound)), (10, 20));
}

#[tokio::test]
async fn backend_that_is_not_known_yet_is_better_than_none() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            while let Ok(request) = connection.request().await {
                if request.target() == PROBED {
                    held.passed().await;
                }
                connection.send(ok("served")).await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| config.health = checks());
    assert_eq!(balancer.states(), [State::Starting]);
    assert_eq!(balancer.admin("GET /ready", "").await.status(), 503);
    assert_eq!(balancer.get("/").await.status(), 200);
    gate.open();
    balancer.reaches(&[State::Healthy]).await;
    assert_eq!(balancer.admin("GET /ready", "").await.status(), 200);
}

#[tokio::test]
async fn without_a_healthy_backend_and_without_panic_nobody_is_sent_anywhere() {
    let (origin, _) = probed(|_| 500).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.health = checks();
        config.panic_threshold = 0.0;
    });
    balancer.reaches(&[State::Unhealthy]).await;
    let answer = balancer.get("/").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.has("retry-after"));
    assert_eq!(balancer.admin("GET /ready", "").await.status(), 503);
    assert_eq!(served(&origin), 0);
}

#[tokio::test]
async fn probe_that_is_not_answered_in_time_fails() {
    let origin = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.health = checks().map(|health| HealthConfig {
            timeout: Duration::from_millis(50),
            ..health
        });
    });
    balancer.reaches(&[State::Unhealthy]).await;
}

#[tokio::test]
async fn killed_backend_is_out_until_its_checks_succeed_again() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = balancer_with(&[&a, &b], |config| config.health = checks());
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    let address = a.address();
    a.kill().await;
    balancer.reaches(&[State::Unhealthy, State::Healthy]).await;
    for _ in 0..5 {
        assert_eq!(balancer.get("/").await.text(), "b");
    }
    let _back = Origin::named_at(address, "back").await;
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    let mut got = [
        balancer.get("/").await.text(),
        balancer.get("/").await.text(),
    ];
    got.sort();
    assert_eq!(got, ["b", "back"]);
}

#[tokio::test]
async fn redirect_is_no_sign_of_health() {
    let (origin, _) = probed(|_| 302).await;
    let balancer = balancer_with(&[&origin], |config| config.health = checks());
    balancer.reaches(&[State::Unhealthy]).await;
}

#[tokio::test]
async fn tcp_probe_asks_for_a_connection_only() {
    let origin = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.health = checks().map(|health| HealthConfig {
            probe: Probe::Tcp,
            ..health
        });
    });
    balancer.reaches(&[State::Healthy]).await;
    let address = origin.address();
    origin.kill().await;
    balancer.reaches(&[State::Unhealthy]).await;
    let _back = Origin::named_at(address, "back").await;
    balancer.reaches(&[State::Healthy]).await;
    assert_eq!(balancer.get("/").await.text(), "back");
}

#[tokio::test]
async fn refused_connection_takes_a_healthy_backend_out_before_the_next_probe() {
    let (origin, other) = (probed(|_| 200).await.0, probed(|_| 200).await.0);
    let balancer = balancer_with(&[&origin, &other], |config| {
        config.health = checks().map(|health| HealthConfig {
            interval: Duration::from_secs(60),
            ..health
        });
    });
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    origin.kill().await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "served");
    }
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
}
