//! Backends at which requests fail: taken out, tried again one request at a time, let back slowly. And pools that fail as a whole.

use crate::balancer::{Balancer, GET, balancer_with, ok};
use lemonade_load_balancer::backend::{State, Verdict};
use lemonade_load_balancer::config::Config;
use lemonade_load_balancer::outlier::Rules;
use lemonade_test::{Client, Connection, Gate, Origin, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// Answers with the status that the test sets.
async fn switched(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let told = status.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let told = told.clone();
        async move {
            while connection.request().await.is_ok() {
                let status = told.load(SeqCst);
                let length = name.len();
                connection
                    .send(format!(
                        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{name}"
                    ))
                    .await;
            }
        }
    })
    .await;
    (origin, status)
}

fn ejecting_for(eject: Duration) -> impl FnOnce(&mut Config) {
    move |config| {
        config.outlier = Some(Rules {
            eject,
            max_eject: eject,
            ..Rules::default()
        });
    }
}

async fn statuses(client: &mut Client, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.get("/").await.status());
    }
    statuses
}

fn ejections(balancer: &Balancer, backend: usize) -> u64 {
    let snapshot = balancer.app.published().load();
    snapshot.members[backend].live.ejections.load(SeqCst)
}

#[tokio::test]
async fn backend_that_fails_five_times_in_a_row_gets_nothing_more() {
    let ((bad, status), (good, _)) = (switched("bad").await, switched("good").await);
    status.store(500, SeqCst);
    let balancer = balancer_with(&[&bad, &good], ejecting_for(Duration::from_secs(600)));
    let mut client = balancer.client().await;
    let seen = statuses(&mut client, 10).await;
    // 500 is no status that is tried again unless told.
    assert_eq!(seen.iter().filter(|status| **status == 500).count(), 5);
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    assert_eq!(statuses(&mut client, 20).await, [200; 20]);
    assert_eq!((bad.requests().len(), ejections(&balancer, 0)), (5, 1));
}

#[tokio::test]
async fn success_between_failures_keeps_a_backend_in() {
    let ((flaky, status), (good, _)) = (switched("flaky").await, switched("good").await);
    let balancer = balancer_with(&[&flaky, &good], ejecting_for(Duration::from_secs(600)));
    let mut client = balancer.client().await;
    for round in 0..12 {
        status.store(if round % 5 == 4 { 200 } else { 500 }, SeqCst);
        statuses(&mut client, 2).await;
    }
    assert_eq!(balancer.states(), [State::Healthy; 2]);
}

#[tokio::test]
async fn half_of_many_requests_failing_is_enough() {
    let ((flaky, status), (good, _)) = (switched("flaky").await, switched("good").await);
    let balancer = balancer_with(&[&flaky, &good], |config| {
        config.outlier = Some(Rules {
            consecutive: 1000,
            eject: Duration::from_secs(600),
            max_eject: Duration::from_secs(600),
            ..Rules::default()
        });
    });
    let mut client = balancer.client().await;
    for round in 0..30 {
        status.store(if round % 3 == 0 { 200 } else { 500 }, SeqCst);
        statuses(&mut client, 2).await;
    }
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
}

#[tokio::test]
async fn pool_that_fails_as_a_whole_keeps_half_and_serves_on() {
    let backends = [
        switched("a").await,
        switched("b").await,
        switched("c").await,
        switched("d").await,
    ];
    let origins: Vec<&Origin> = backends.iter().map(|(origin, _)| origin).collect();
    for (_, status) in &backends {
        status.store(500, SeqCst);
    }
    let balancer = balancer_with(&origins, ejecting_for(Duration::from_secs(600)));
    let mut client = balancer.client().await;
    let ejected = || {
        let states = balancer.states().into_iter();
        states.filter(|state| *state == State::Ejected).count()
    };
    assert_eq!(statuses(&mut client, 60).await, [500; 60]);
    until("half of them are ejected", || ejected() == 2).await;
    assert_eq!(statuses(&mut client, 60).await, [500; 60]);
    assert_eq!(ejected(), 2);
}

#[tokio::test]
async fn busy_is_not_broken() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let (busy, good) = (Origin::answering(busy).await, switched("good").await.0);
    let balancer = balancer_with(&[&busy, &good], ejecting_for(Duration::from_secs(600)));
    let mut client = balancer.client().await;
    assert_eq!(
        statuses(&mut client, 40).await,
        [200; 40],
        "tried elsewhere"
    );
    assert_eq!(balancer.states(), [State::Healthy; 2]);
    assert_eq!(busy.requests().len(), 20);
}

#[tokio::test]
async fn clients_that_leave_are_no_failure_of_the_backend() {
    let asked = Arc::<AtomicUsize>::default();
    let count = asked.clone();
    let slow = Origin::start(move |mut connection: Connection| {
        let count = count.clone();
        async move {
            let _ = connection.request().await;
            count.fetch_add(1, SeqCst);
            connection.gone().await;
        }
    })
    .await;
    let (good, _) = switched("good").await;
    let balancer = balancer_with(&[&slow, &good], ejecting_for(Duration::from_secs(600)));
    for left in 1..=12 {
        while asked.load(SeqCst) < left {
            let mut client = balancer.client().await;
            client.send(GET).await;
            let before = good.requests().len();
            until("the request is somewhere", || {
                asked.load(SeqCst) >= left || good.requests().len() > before
            })
            .await;
            drop(client);
        }
    }
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
    assert_eq!(balancer.states(), [State::Healthy; 2]);
}

#[tokio::test]
async fn ejected_backend_is_tried_one_request_at_a_time_and_clients_see_no_error() {
    let ((sick, status), (good, _)) = (switched("sick").await, switched("good").await);
    let balancer = balancer_with(&[&sick, &good], |config| {
        ejecting_for(Duration::from_millis(100))(config);
        config.retries.on.statuses = vec![500];
        config.retries.budget = 1.0;
    });
    status.store(500, SeqCst);
    let mut client = balancer.client().await;
    assert_eq!(statuses(&mut client, 10).await, [200; 10]);
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    // While it is sick, each trial fails, is healed by the other backend, and is one request.
    while ejections(&balancer, 0) < 2 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    assert!(sick.requests().len() <= 10, "{}", sick.requests().len());
    status.store(200, SeqCst);
    while balancer.states()[0] != State::Healthy {
        assert_eq!(client.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn only_requests_that_cannot_be_repeated_bring_a_backend_back_too() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";
    let ((sick, status), (good, _)) = (switched("sick").await, switched("good").await);
    let balancer = balancer_with(&[&sick, &good], ejecting_for(Duration::from_millis(50)));
    status.store(500, SeqCst);
    let mut client = balancer.client().await;
    statuses(&mut client, 10).await;
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    status.store(200, SeqCst);
    while balancer.states()[0] != State::Healthy {
        assert_eq!(client.ask(POST).await.status(), 200);
    }
}

#[tokio::test]
async fn backend_that_answers_nothing_is_ejected_before_its_requests_time_out() {
    let gate = Gate::shut();
    gate.open();
    let passing = gate.clone();
    let stuck = Origin::start(move |mut connection: Connection| {
        let passing = passing.clone();
        async move {
            while connection.request().await.is_ok() {
                passing.passed().await;
                connection.send(ok("fine")).await;
            }
        }
    })
    .await;
    let (good, _) = switched("fine").await;
    let balancer = balancer_with(&[&stuck, &good], ejecting_for(Duration::from_secs(600)));
    let mut client = balancer.client().await;
    assert_eq!(statuses(&mut client, 20).await, [200; 20]);
    gate.close();
    let listen = balancer.app.listen();
    // Each request that is stuck keeps its client waiting; others go on asking.
    let asking = tokio::spawn(async move {
        let mut stuck = Vec::new();
        loop {
            let mut client = Client::connect(listen).await;
            client.send(GET).await;
            let answer = tokio::time::timeout(Duration::from_millis(50), client.head());
            if answer.await.is_err() {
                stuck.push(client);
            }
        }
    });
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    asking.abort();
    gate.open();
}

#[tokio::test]
async fn backend_that_returns_to_warm_ones_gets_its_share_slowly() {
    let ((back, status), (warm, _)) = (switched("back").await, switched("warm").await);
    let balancer = balancer_with(&[&back, &warm], |config| {
        ejecting_for(Duration::from_millis(50))(config);
        config.slow_start = Duration::from_millis(1500);
        config.retries.on.statuses = vec![500];
        config.retries.budget = 1.0;
    });
    let mut client = balancer.client().await;
    let published = balancer.app.published();
    let share = || published.load().members[0].live.share();
    // Until the other one counts as warm.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    status.store(500, SeqCst);
    while balancer.states()[0] != State::Ejected {
        assert_eq!(client.get("/").await.status(), 200);
    }
    status.store(200, SeqCst);
    while balancer.states()[0] != State::Healthy {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let first = share();
    assert!(first <= 50, "{first} %");
    let before = (back.requests().len(), warm.requests().len());
    statuses(&mut client, 20).await;
    let got = back.requests().len() - before.0;
    assert!(got < 10, "{got} of 20");
    until("it has its full share", || share() == 100).await;
}

#[tokio::test]
async fn backups_serve_when_too_few_primaries_are_left() {
    let ((primary, status), (backup, _)) = (switched("primary").await, switched("backup").await);
    let balancer = balancer_with(&[&primary, &backup], |config| {
        ejecting_for(Duration::from_secs(600))(config);
        config.backends[1].tier = lemonade_load_balancer::config::Tier::Backup;
    });
    let mut client = balancer.client().await;
    statuses(&mut client, 10).await;
    assert_eq!((primary.requests().len(), backup.requests().len()), (10, 0));
    status.store(500, SeqCst);
    let seen = statuses(&mut client, 5).await;
    assert_eq!(seen, [500; 5]);
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    assert_eq!(client.get("/").await.text(), "backup");
    let listed = balancer.admin("GET /api/v1/backends", "").await.text();
    assert!(listed.contains("\"tier\":\"backup\""), "{listed}");
}

#[tokio::test]
async fn few_usable_backends_are_not_left_alone_with_the_load_and_it_is_said() {
    let backends = [
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    ];
    let balancer = balancer_with(&[&backends[0], &backends[1], &backends[2]], |config| {
        config.health = Some(lemonade_load_balancer::config::HealthConfig {
            initial: lemonade_load_balancer::config::Initial::Healthy,
            interval: Duration::from_secs(3600),
            ..Default::default()
        });
    });
    let id = |place: usize| {
        balancer.app.published().load().members[place]
            .live
            .id
            .clone()
    };
    let ids = [id(0), id(1)];
    // As if their health checks had begun to fail, while they answer requests as before.
    for id in ids {
        let unreachable = false;
        let control = balancer.app.control();
        control.verdict(id, Verdict::Down { unreachable }).await;
    }
    until("it panics", || {
        balancer.app.published().load().panic.is_some()
    })
    .await;
    let mut client = balancer.client().await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..6 {
        names.insert(client.get("/").await.text());
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert!((balancer.metric("lemonade_panic_mode").await - 1.0).abs() < 1e-9);
    let status = balancer.admin("GET /api/v1/status", "").await.text();
    assert!(status.contains("\"panic\":\"few_usable\""), "{status}");
}

#[tokio::test]
async fn many_clients_at_once_send_one_trial_at_a_time() {
    let gate = Gate::shut();
    let failing = Arc::new(AtomicU16::new(1));
    let (told, held) = (failing.clone(), gate.clone());
    let sick = Origin::start(move |mut connection: Connection| {
        let (told, held) = (told.clone(), held.clone());
        async move {
            while connection.request().await.is_ok() {
                if told.load(SeqCst) == 1 {
                    connection
                        .send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
                        .await;
                } else {
                    held.passed().await;
                    connection.send(ok("well")).await;
                }
            }
        }
    })
    .await;
    let (good, _) = switched("good").await;
    let balancer = balancer_with(&[&sick, &good], ejecting_for(Duration::from_millis(50)));
    let mut client = balancer.client().await;
    statuses(&mut client, 10).await;
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    failing.store(0, SeqCst);
    let listen = balancer.app.listen();
    let crowd: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(listen).await;
                loop {
                    assert_eq!(client.get("/").await.status(), 200);
                }
            })
        })
        .collect();
    until("one is on trial", || balancer.in_flight(0) == 1).await;
    // It hangs; its patience is a second, and nobody else is sent there meanwhile.
    let before = good.requests().len();
    until("others are served", || {
        assert!(balancer.in_flight(0) <= 1);
        good.requests().len() > before + 200
    })
    .await;
    gate.open();
    balancer.reaches(&[State::Healthy; 2]).await;
    assert!(crowd.iter().all(|client| !client.is_finished()));
    crowd.iter().for_each(|client| client.abort());
}

#[tokio::test]
async fn failed_trial_is_made_good_whatever_is_retried() {
    let ((sick, status), (good, _)) = (switched("sick").await, switched("good").await);
    let balancer = balancer_with(&[&sick, &good], |config| {
        ejecting_for(Duration::from_millis(50))(config);
        config.retries.budget = 0.0;
        config.retries.min_per_second = 0;
    });
    status.store(500, SeqCst);
    let mut client = balancer.client().await;
    statuses(&mut client, 10).await;
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    while ejections(&balancer, 0) < 3 {
        assert_eq!(client.get("/").await.text(), "good");
    }
}
