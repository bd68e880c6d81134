//! Requests that belong together are served together: by a key, or by a cookie.

use crate::balancer::{Balancer, balancer_of_file, balancer_with, ok};
use crate::reload::{folder, write};
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{Config, Key, Network, Secret, Secure, Sticky};
use lemonade_load_balancer::strategy::Name;
use lemonade_test::{Client, Connection, Message, Origin, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

async fn origins<const N: usize>() -> [Origin; N] {
    let mut origins = Vec::new();
    for name in 0..N {
        origins.push(Origin::named(&name.to_string()).await);
    }
    origins.try_into().unwrap()
}

async fn by_key(origins: &[&Origin], strategy: Name, key: Key) -> Balancer {
    balancer_with(origins, |config| {
        config.strategy = strategy;
        config.affinity.key = key;
    })
}

/// Who answers a request for `path` with these header lines.
async fn who(balancer: &Balancer, path: &str, lines: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\n{lines}\r\n");
    let answer = balancer.ask(request).await;
    assert_eq!(answer.status(), 200);
    answer.text()
}

/// Who answers each of 40 users, named in a line of this form.
async fn homes(balancer: &Balancer, line: &str) -> Vec<String> {
    let mut homes = Vec::new();
    for user in 0..40 {
        let lines = line.replace("{}", &user.to_string());
        homes.push(who(balancer, "/", &lines).await);
        // A client has its answer a moment before its place is free, and a backend with more than its share lends its keys.
        until("it is over", || balancer.total_in_flight() == 0).await;
    }
    homes
}

fn distinct(homes: &[String]) -> usize {
    homes.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn equal_headers_are_served_together_and_two_balancers_agree() {
    let [a, b, c] = origins().await;
    for strategy in [Name::ConsistentHash, Name::Maglev] {
        let key = || Key::Header("X-User".to_owned());
        let ours = by_key(&[&a, &b, &c], strategy, key()).await;
        let theirs = by_key(&[&c, &a, &b], strategy, key()).await;
        let line = "X-User: user-{}\r\n";
        let first = homes(&ours, line).await;
        assert_eq!(distinct(&first), 3, "{first:?}");
        assert_eq!(homes(&ours, "x-user:  user-{} \r\n").await, first);
        assert_eq!(homes(&theirs, line).await, first);
    }
}

#[tokio::test]
async fn cookie_is_a_key_among_others() {
    let [a, b] = origins().await;
    let key = Key::Cookie("session".to_owned());
    let balancer = by_key(&[&a, &b], Name::ConsistentHash, key).await;
    let first = homes(&balancer, "Cookie: a=1; session=s{}; b=2\r\n").await;
    assert_eq!(distinct(&first), 2);
    assert_eq!(
        homes(&balancer, "Cookie: x=y\r\nCookie: session=s{}\r\n").await,
        first
    );
    let request = a.requests().into_iter().chain(b.requests()).next().unwrap();
    assert!(request.field("cookie").unwrap().contains("session=s"));
}

#[tokio::test]
async fn query_is_no_part_of_the_path() {
    let [a, b] = origins().await;
    let balancer = by_key(&[&a, &b], Name::Maglev, Key::Path).await;
    let mut homes = BTreeMap::new();
    for page in 0..20 {
        homes.insert(page, who(&balancer, &format!("/page/{page}"), "").await);
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 2);
    for (page, home) in homes {
        for query in 0..3 {
            let path = format!("/page/{page}?q={query}");
            assert_eq!(who(&balancer, &path, "").await, home);
        }
    }
}

#[tokio::test]
async fn client_is_who_a_trusted_proxy_names_and_the_key_of_those_without_another() {
    let [a, b] = origins().await;
    let balancer = balancer_with(&[&a, &b], |config| {
        config.strategy = Name::ConsistentHash;
        config.affinity.key = Key::Header("X-User".to_owned());
        let network = Network::new("127.0.0.1".parse().unwrap(), 32);
        config.headers.trusted_proxies = vec![network.unwrap()];
    });
    let first = homes(&balancer, "X-Forwarded-For: 192.0.2.{}\r\n").await;
    assert_eq!(distinct(&first), 2);
    let forged = "X-Forwarded-For: 6.6.6.6, 192.0.2.{}\r\n";
    assert_eq!(homes(&balancer, forged).await, first);
    let untrusting = by_key(&[&a, &b], Name::ConsistentHash, Key::Client).await;
    assert_eq!(distinct(&homes(&untrusting, forged).await), 1);
}

#[tokio::test]
async fn keys_of_a_dead_backend_move_and_no_others() {
    let [a, b, c] = origins().await;
    let key = Key::Header("X-User".to_owned());
    let balancer = by_key(&[&a, &b, &c], Name::ConsistentHash, key).await;
    let line = "X-User: {}\r\n";
    let before = homes(&balancer, line).await;
    c.kill().await;
    balancer.get("/").await;
    let during = homes(&balancer, line).await;
    balancer
        .reaches(&[State::Healthy, State::Healthy, State::Ejected])
        .await;
    let after = homes(&balancer, line).await;
    for (user, home) in before.iter().enumerate() {
        assert_ne!(during[user], "2");
        if home != "2" {
            assert_eq!((&during[user], &after[user]), (home, home), "{user}");
        }
    }
}

/// In front of `origins`, with a cookie and rotation.
fn sticky(origins: &[&Origin]) -> Balancer {
    balancer_with(origins, |config| config.sticky = Some(Sticky::default()))
}

/// What a browser would send back.
fn shown(answer: &Message) -> Option<String> {
    let set = answer.field("set-cookie")?;
    Some(set.split(';').next().unwrap().to_owned())
}

async fn with_cookie(balancer: &Balancer, cookie: &str) -> Message {
    let request = format!("GET / HTTP/1.1\r\nHost: t\r\nCookie: {cookie}\r\n\r\n");
    balancer.ask(request).await
}

#[tokio::test]
async fn client_with_a_cookie_stays_and_one_without_is_rotated() {
    let origins: [Origin; 3] = origins().await;
    let balancer = sticky(&origins.each_ref());
    for _ in 0..3 {
        let first = balancer.get("/").await;
        let cookie = shown(&first).unwrap();
        for _ in 0..5 {
            let again = with_cookie(&balancer, &cookie).await;
            assert_eq!(again.text(), first.text());
            assert!(!again.has("set-cookie"), "nothing has changed");
        }
    }
    let mut served = BTreeSet::new();
    for _ in 0..3 {
        served.insert(balancer.get("/").await.text());
    }
    assert_eq!(served.len(), 3);
    assert_eq!(
        balancer
            .metric("lemonade_sticky_cookies_ignored_total")
            .await,
        0.0
    );
    assert_eq!(balancer.metric("lemonade_sticky_moves_total").await, 0.0);
}

#[tokio::test]
async fn cookie_names_no_address_and_has_the_attributes_asked_for() {
    let [a] = origins().await;
    let plain = sticky(&[&a]).get("/").await;
    let set = plain.field("set-cookie").unwrap();
    let (value, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
    assert!(!value.contains("127.0.0.1") && !value.contains(&a.address().port().to_string()));

    let balancer = balancer_with(&[&a], |config| {
        let network = Network::new("127.0.0.1".parse().unwrap(), 32);
        config.headers.trusted_proxies = vec![network.unwrap()];
        config.sticky = Some(Sticky {
            cookie: "s".to_owned(),
            ttl: Duration::from_secs(3600),
            path: "/app".to_owned(),
            ..Sticky::default()
        });
    });
    let by_https = "GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-Proto: https\r\n\r\n";
    let answer = balancer.ask(by_https).await;
    let set = answer.field("set-cookie").unwrap();
    assert!(set.starts_with("s="), "{set}");
    let attributes = "; Path=/app; Max-Age=3600; Secure; HttpOnly; SameSite=Lax";
    assert!(set.ends_with(attributes), "{set}");
    let again = with_cookie(&balancer, &shown(&answer).unwrap()).await;
    assert!(!again.has("set-cookie"), "it has an hour left");
}

#[tokio::test]
async fn own_cookie_does_not_reach_the_backend_and_others_do_byte_for_byte() {
    let [a] = origins().await;
    let balancer = sticky(&[&a]);
    let cookie = shown(&balancer.get("/").await).unwrap();
    for (lines, expected) in [
        (
            format!("cookie:a=1;  b=\"2\" ; {cookie};c"),
            "cookie: a=1;  b=\"2\" ;c\r\n",
        ),
        (format!("Cookie: {cookie}"), ""),
        ("Cookie: lemonade=forged".to_owned(), ""),
        ("cookie:   a=1;b=2".to_owned(), "cookie:   a=1;b=2\r\n"),
    ] {
        balancer
            .ask(format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n"))
            .await;
        let head = String::from_utf8(a.requests().pop().unwrap().head).unwrap();
        let sent: String = head
            .split_inclusive("\r\n")
            .filter(|line| line.to_lowercase().starts_with("cookie"))
            .collect();
        assert_eq!(sent, expected, "{lines}");
    }
    // Without `sticky` it is a cookie like any other.
    let plain = crate::balancer::balancer(&[&a]);
    with_cookie(&plain, &cookie).await;
    assert_eq!(a.requests().pop().unwrap().field("cookie"), Some(&*cookie));
}

#[tokio::test]
async fn forged_and_foreign_cookies_are_ignored_and_counted() {
    let [a, b] = origins().await;
    let (balancer, other) = (sticky(&[&a, &b]), sticky(&[&a, &b]));
    let foreign = shown(&other.get("/").await).unwrap();
    let own = shown(&balancer.get("/").await).unwrap();
    let last = if own.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{last}", &own[..own.len() - 1]);
    for (count, cookie) in ["lemonade=", "lemonade=x", &foreign, &forged]
        .iter()
        .enumerate()
    {
        let answer = with_cookie(&balancer, cookie).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.has("set-cookie"), "{cookie}");
        let ignored = "lemonade_sticky_cookies_ignored_total";
        assert_eq!(balancer.metric(ignored).await, (count + 1) as f64);
    }
    // One that is ours is found behind one that is not.
    let both = format!("{foreign}; {own}");
    assert!(!with_cookie(&balancer, &both).await.has("set-cookie"));
}

#[tokio::test]
async fn cookie_that_is_too_old_is_ignored() {
    let [a, b] = origins().await;
    let secret = || Some(Secret::new("sixteen-characters-or-more"));
    let short = balancer_with(&[&a, &b], |config| {
        config.sticky = Some(Sticky {
            ttl: Duration::from_secs(1),
            secret: secret(),
            ..Sticky::default()
        });
    });
    let cookie = shown(&short.get("/").await).unwrap();
    let begun = std::time::Instant::now();
    let ignored = async || short.metric("lemonade_sticky_cookies_ignored_total").await;
    while ignored().await == 0.0 {
        let answer = with_cookie(&short, &cookie).await;
        assert_eq!(answer.status(), 200);
        assert!(
            begun.elapsed() < lemonade_test::PATIENCE,
            "it never gets too old"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn cookie_is_renewed_in_time_for_who_keeps_coming() {
    let [a, b] = origins().await;
    let with_ttl = |ttl: u64| {
        balancer_with(&[&a, &b], |config| {
            config.sticky = Some(Sticky {
                ttl: Duration::from_secs(ttl),
                secret: Some(Secret::new("sixteen-characters-or-more")),
                ..Sticky::default()
            });
        })
    };
    let first = with_ttl(1000).get("/").await;
    // For this one, more than half of its time is over.
    let renewed = with_cookie(&with_ttl(10_000), &shown(&first).unwrap()).await;
    assert_eq!(renewed.text(), first.text());
    assert!(
        renewed
            .field("set-cookie")
            .unwrap()
            .contains("Max-Age=10000")
    );
    assert_ne!(shown(&renewed), shown(&first));
}

#[tokio::test]
async fn client_of_a_dead_backend_gets_another_and_stays_there() {
    let [a, b, c] = origins().await;
    let balancer = sticky(&[&a, &b, &c]);
    let first = balancer.get("/").await;
    let cookie = shown(&first).unwrap();
    let mut origins = BTreeMap::from([("0", a), ("1", b), ("2", c)]);
    origins.remove(&*first.text()).unwrap().kill().await;
    // A connection is refused or reset first, so this is a retry: who answers is who is named.
    let second = with_cookie(&balancer, &cookie).await;
    assert_eq!(second.status(), 200);
    let moved = shown(&second).unwrap();
    assert_ne!(moved, cookie);
    for _ in 0..5 {
        let again = with_cookie(&balancer, &moved).await;
        assert_eq!(
            (again.text(), again.has("set-cookie")),
            (second.text(), false)
        );
    }
    assert!(balancer.metric("lemonade_sticky_moves_total").await >= 1.0);
}

#[tokio::test]
async fn answer_that_a_retry_brought_names_who_gave_it() {
    let failing = Origin::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let good = Origin::named("good").await;
    let balancer = sticky(&[&failing, &good]);
    for _ in 0..4 {
        let answer = balancer.get("/").await;
        assert_eq!(answer.text(), "good");
        assert_eq!(answer.all("set-cookie").count(), 1);
        let cookie = shown(&answer).unwrap();
        let begun = failing.requests().len();
        assert!(!with_cookie(&balancer, &cookie).await.has("set-cookie"));
        assert_eq!(failing.requests().len(), begun, "it was not asked");
    }
}

#[tokio::test]
async fn failure_keeps_nobody() {
    let failing = Origin::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let answer = sticky(&[&failing]).get("/").await;
    assert_eq!((answer.status(), answer.has("set-cookie")), (500, false));
}

#[tokio::test]
async fn drained_backend_loses_its_clients_and_full_one_lends_them() {
    let [a, b] = origins().await;
    let balancer = sticky(&[&a, &b]);
    let first = balancer.get("/").await;
    let cookie = shown(&first).unwrap();
    let place: usize = first.text().parse().unwrap();
    let name = [&a, &b][place].address();
    let load = {
        let snapshot = balancer.app.published().load();
        snapshot.members[place].live.clone()
    };
    // A client has its answer a moment before its place is free.
    let idle = || load.load.in_flight() == 0;
    until("the first one is over", idle).await;
    load.load.set_limit(1);
    let held = load.begin();
    assert_ne!(with_cookie(&balancer, &cookie).await.text(), first.text());
    drop(held);
    until("its place is free", idle).await;
    assert_eq!(with_cookie(&balancer, &cookie).await.text(), first.text());

    let call = format!("POST /api/v1/backends/{name}/drain");
    assert_eq!(balancer.admin(&call, "").await.status(), 200);
    let moved = with_cookie(&balancer, &cookie).await;
    assert_ne!(moved.text(), first.text());
    assert!(moved.has("set-cookie"));
}

#[tokio::test]
async fn cookie_holds_over_a_reload_and_an_upgrade() {
    let origins: [Origin; 3] = origins().await;
    let text = |more: &str| {
        let backends = origins
            .each_ref()
            .map(|origin| format!("\"{}\"", origin.address()));
        format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nruntime: {{ shards: 2 }}\nsticky: on\n\
             backends: [{}]\n{more}",
            backends.join(", ")
        )
    };
    let (_folder, path) = folder(&text(""));
    let balancer = balancer_of_file(&path);
    let first = balancer.get("/").await;
    let cookie = shown(&first).unwrap();
    write(&path, &text("strategy: random\n"));
    balancer.app.operator().reload().await.unwrap();
    for _ in 0..5 {
        assert_eq!(with_cookie(&balancer, &cookie).await.text(), first.text());
    }

    let estate = balancer.app.control().hand_over().await.unwrap().unwrap();
    let told = serde_json::to_vec(&estate.handover).unwrap();
    let config = Config::clone(&balancer.app.published().load().config);
    let start = Start {
        config,
        handover: Some(serde_json::from_slice(&told).unwrap()),
        ..Start::default()
    };
    let next = Balancer {
        app: App::start(start).unwrap(),
    };
    for _ in 0..5 {
        assert_eq!(with_cookie(&next, &cookie).await.text(), first.text());
    }
}

#[tokio::test]
async fn balancers_with_one_secret_know_each_others_cookies() {
    let [a, b, c] = origins().await;
    let with_secret = |origins: [&Origin; 3]| {
        balancer_with(&origins, |config| {
            config.sticky = Some(Sticky {
                secret: Some(Secret::new("sixteen-characters-or-more")),
                secure: Secure::Never,
                ..Sticky::default()
            });
        })
    };
    let first = with_secret([&a, &b, &c]).get("/").await;
    let other = with_secret([&c, &b, &a]);
    for _ in 0..5 {
        let again = with_cookie(&other, &shown(&first).unwrap()).await;
        assert_eq!(
            (again.text(), again.has("set-cookie")),
            (first.text(), false)
        );
    }
}

#[tokio::test]
async fn switch_of_protocols_names_who_agreed() {
    let switching = async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let switched =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
            connection.send(switched).await;
            connection.gone().await;
        }
    };
    let (a, b) = (
        Origin::start(switching).await,
        Origin::start(switching).await,
    );
    let balancer = sticky(&[&a, &b]);
    let upgrade = async |more: &str| {
        let mut client = balancer.client().await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: x\r\n{more}\r\n"
            ))
            .await;
        let head = client.head().await;
        assert_eq!(head.status(), 101);
        head
    };
    let cookie = shown(&upgrade("").await).unwrap();
    let before = (a.requests().len(), b.requests().len());
    assert_eq!(before.0 + before.1, 1);
    for round in 1..=3 {
        let again = upgrade(&format!("Cookie: {cookie}\r\n")).await;
        assert!(!again.has("set-cookie"));
        let now = (a.requests().len(), b.requests().len());
        assert_eq!(now, (before.0 * (round + 1), before.1 * (round + 1)));
    }
}

#[tokio::test]
async fn hedged_request_names_who_answered() {
    let slow = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.gone().await;
        }
    })
    .await;
    let good = Origin::named("good").await;
    let balancer = balancer_with(&[&slow, &good], |config| {
        config.sticky = Some(Sticky::default());
        config.hedge = Some(lemonade_load_balancer::config::Hedge {
            after: Duration::from_millis(5),
            budget: 1.0,
        });
    });
    let mut client = Client::connect(balancer.app.listen()).await;
    for _ in 0..3 {
        let answer = client.get("/").await;
        assert_eq!(answer.text(), "good");
        let again = with_cookie(&balancer, &shown(&answer).unwrap()).await;
        assert_eq!(
            (again.text().as_str(), again.has("set-cookie")),
            ("good", false)
        );
    }
}

#[tokio::test]
async fn interim_answers_set_nothing() {
    let origin = Origin::answering(format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ok("a"))).await;
    let balancer = sticky(&[&origin]);
    let mut client = balancer.client().await;
    let interim = client.get("/").await;
    assert_eq!((interim.status(), interim.has("set-cookie")), (103, false));
    assert!(client.answer().await.has("set-cookie"));
}

#[tokio::test]
async fn strategy_set_by_hand_goes_by_the_configured_key() {
    let [a, b] = origins().await;
    let balancer = balancer_with(&[&a, &b], |config| {
        config.affinity.key = Key::Header("X-User".to_owned());
    });
    let body = r#"{"name": "maglev"}"#;
    assert_eq!(
        balancer.admin("PUT /api/v1/strategy", body).await.status(),
        200
    );
    until("it picks", || {
        balancer.app.published().load().strategy_name == Name::Maglev
    })
    .await;
    let first = homes(&balancer, "X-User: {}\r\n").await;
    assert_eq!(distinct(&first), 2);
    assert_eq!(homes(&balancer, "X-User: {}\r\n").await, first);
}
