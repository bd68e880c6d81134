//! Active health checks, as seen by those who ask for an answer.

use crate::balancer::{balancer_with, ok};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{HealthConfig, HttpProbe, Initial, Method, Probe, Statuses};
use lemonade_test::{Connection, Gate, Origin, PATIENCE, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PROBED: &str = "/up";

fn checks() -> Option<HealthConfig> {
    Some(HealthConfig {
        probe: Probe::Http(HttpProbe {
            path: PROBED.to_owned(),
            ..HttpProbe::default()
        }),
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        rise: 2,
        fall: 3,
        initial: Initial::Checking,
    })
}

/// The same with a request of the test's own.
fn asking(change: impl FnOnce(&mut HttpProbe)) -> Option<HealthConfig> {
    let mut probe = HttpProbe {
        path: PROBED.to_owned(),
        ..HttpProbe::default()
    };
    change(&mut probe);
    checks().map(|health| HealthConfig {
        probe: Probe::Http(probe),
        ..health
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

/// Answers everything with these bytes.
async fn always(answer: impl Into<Vec<u8>>) -> Origin {
    Origin::answering(answer).await
}

#[tokio::test]
async fn expected_statuses_alone_are_signs_of_health() {
    let (odd, _) = probed(|_| 418).await;
    let (even, _) = probed(|_| 204).await;
    let balancer = balancer_with(&[&odd, &even], |config| {
        config.health = asking(|probe| probe.expect = Statuses::new(vec![300..=399, 418..=418]));
    });
    balancer.reaches(&[State::Healthy, State::Unhealthy]).await;
}

#[tokio::test]
async fn text_is_looked_for_in_the_first_64_kib_of_a_body() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n4\r\n wel\r\n1\r\nl\r\n0\r\n\r\n";
    let far = |before: usize| ok(&format!("{}all well", " ".repeat(before)));
    let origins = [
        always(ok("all well")).await,
        always(chunked).await,
        always(far((64 << 10) - 8)).await,
        always(far((64 << 10) - 7)).await,
        always(ok("all is lost")).await,
        always(ok("")).await,
    ];
    let balancer = balancer_with(&origins.each_ref(), |config| {
        config.health = asking(|probe| probe.body = Some("all well".to_owned()));
    });
    let (well, not) = (State::Healthy, State::Unhealthy);
    balancer.reaches(&[well, well, well, not, not, not]).await;
}

#[tokio::test]
async fn body_that_does_not_end_fails_a_probe_only_if_the_text_was_not_in_it() {
    let endless = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{body}");
    let (good, bad) = (
        always(endless("all well")).await,
        always(endless("x")).await,
    );
    let balancer = balancer_with(&[&good, &bad], |config| {
        config.health =
            asking(|probe| probe.body = Some("all well".to_owned())).map(|health| HealthConfig {
                timeout: Duration::from_millis(200),
                ..health
            });
    });
    balancer.reaches(&[State::Healthy, State::Unhealthy]).await;
}

#[tokio::test]
async fn probe_asks_as_it_is_told_to() {
    let origin = always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.health = asking(|probe| {
            probe.method = Method::Head;
            probe.headers = vec![
                ("Host".to_owned(), "api.example".to_owned()),
                ("X-Probe".to_owned(), "yes".to_owned()),
            ];
        });
    });
    balancer.reaches(&[State::Healthy]).await;
    let probe = origin.request(1).await;
    assert_eq!((probe.method(), probe.target()), ("HEAD", PROBED));
    assert_eq!(probe.all("host").collect::<Vec<_>>(), ["api.example"]);
    assert_eq!(probe.field("x-probe"), Some("yes"));
    assert_eq!(probe.field("user-agent"), Some("lemonade-health-check"));
}

#[tokio::test]
async fn new_backend_is_taken_for_what_the_configuration_says() {
    let hanging = || Origin::start(async |mut connection: Connection| connection.gone().await);
    let initially = async |initial| {
        let origin = hanging().await;
        let balancer = balancer_with(&[&origin], |config| {
            config.health = checks().map(|health| HealthConfig { initial, ..health });
        });
        let ready = balancer.admin("GET /ready", "").await.status();
        (balancer.states(), ready)
    };
    assert_eq!(
        initially(Initial::Checking).await,
        (vec![State::Starting], 503)
    );
    assert_eq!(
        initially(Initial::Healthy).await,
        (vec![State::Healthy], 200)
    );
    assert_eq!(
        initially(Initial::Unhealthy).await,
        (vec![State::Unhealthy], 503)
    );
}

#[tokio::test]
async fn backend_that_begins_unhealthy_needs_all_its_successes() {
    let (origin, probes) = probed(|index| {
        if index % 2 == 0 && index < 6 {
            200
        } else {
            500
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| {
        config.health = checks().map(|health| HealthConfig {
            initial: Initial::Unhealthy,
            ..health
        });
        config.panic_threshold = 0.0;
    });
    until("single successes have come", || probes.load(SeqCst) > 6).await;
    assert_eq!(balancer.states(), [State::Unhealthy]);
    assert_eq!(balancer.get("/").await.status(), 503);
    assert_eq!(served(&origin), 0);
}

#[tokio::test]
async fn busy_backend_whose_checks_time_out_keeps_its_requests_while_it_answers_them() {
    let (probes, requests) = (Gate::shut(), Gate::shut());
    probes.open();
    requests.open();
    let held = (probes.clone(), requests.clone());
    let busy = Origin::start(move |mut connection: Connection| {
        let (probes, requests) = held.clone();
        async move {
            while let Ok(request) = connection.request().await {
                let gate = if request.target() == PROBED {
                    &probes
                } else {
                    &requests
                };
                gate.passed().await;
                connection.send(ok("busy")).await;
            }
        }
    })
    .await;
    let (other, _) = probed(|_| 200).await;
    let balancer = balancer_with(&[&busy, &other], |config| {
        config.health = checks().map(|health| HealthConfig {
            timeout: Duration::from_millis(50),
            ..health
        });
    });
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    probes.close();
    // Requests all the while: they are what tells a busy backend from a dead one.
    let mut client = balancer.client().await;
    let begun = Instant::now();
    while balancer.states() != [State::Degraded, State::Healthy] {
        assert_eq!(client.get("/").await.status(), 200);
        assert!(begun.elapsed() < PATIENCE, "{:?}", balancer.states());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut busy = 0;
    for _ in 0..20 {
        busy += u32::from(client.get("/").await.text() == "busy");
    }
    assert_eq!(busy, 4, "with a quarter of its weight");

    probes.open();
    balancer.reaches(&[State::Healthy, State::Healthy]).await;
    probes.close();
    requests.close();
    balancer.reaches(&[State::Unhealthy, State::Healthy]).await;
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
