//! The task as its neighbours meet it: told things, and looked at through what it publishes.

use super::super::{
    Estate, Events, Handle, Kept, Met, Order, OrderError, Refused, Setup, What, new,
};
use super::*;
use crate::backend::{BackendId, State, Verdict};
use crate::config::{AdminConfig, Discovery, DnsConfig, DnsKind, Plan, Source, Tier};
use crate::listen::{self, Feed, Inherited};
use crate::log_file::Destination;
use crate::snapshot::{Panic, Published};
use crate::strategy;

fn config(ports: &[u16]) -> Config {
    let backends = ports.iter().map(|port| BackendConfig {
        id: BackendId::new(format!("127.0.0.1:{port}").parse().unwrap()),
        endpoint: ([127, 0, 0, 1], *port).into(),
        name: format!("w{port}"),
        weight: 1,
        tier: Tier::default(),
        max_in_flight: None,
        source: Source::File,
        drained: false,
    });
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        admin: None,
        backends: backends.collect(),
        health: None,
        ..Config::default()
    }
}

/// A running task, and the other end of what it feeds.
struct Running {
    handle: Handle,
    published: Published,
    events: Events,
    feeds: Vec<Feed>,
}

fn start(config: Config) -> Running {
    let (listeners, feeds, _) = listen::open(&config, Inherited::default()).unwrap();
    let super::super::Started {
        task,
        handle,
        published,
        events,
        ..
    } = new(Setup {
        config,
        kept: Overlay::default(),
        handover: None,
        listeners,
        log: LogFile::open(Destination::StandardOutput).unwrap().0,
        stats: Arc::default(),
        epoch: std::time::Instant::now(),
    });
    tokio::spawn(task.run());
    Running {
        handle,
        published,
        events,
        feeds,
    }
}

fn started(ports: &[u16]) -> (Handle, Published) {
    let running = start(config(ports));
    (running.handle, running.published)
}

async fn reload(handle: &Handle, config: Config) -> Result<Plan, Refused> {
    handle.reload(config, Overlay::default()).await.unwrap()
}

fn pool(published: &Published) -> Vec<String> {
    let snapshot = published.load();
    snapshot
        .pool
        .backends()
        .iter()
        .map(|backend| snapshot.name_of(backend))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn refusing_backend_is_out_at_once_and_tried_again() {
    let (handle, mut published) = started(&[1, 2]);
    let backend = published.load().pool.backends()[0].clone();
    handle.met(&backend, Met::NoConnection("refused".to_owned()));
    assert!(published.changed().await);
    assert_eq!(pool(&published), ["w2"]);
    assert_eq!(backend.state.get(), State::Ejected);
    assert!(published.changed().await, "it is on trial after a while");
    assert_eq!(published.load().trials.len(), 1);
    for _ in 0..3 {
        assert!(backend.trial.take(false).is_some(), "one at a time");
        assert!(backend.trial.take(false).is_none());
        handle.met(&backend, Met::TrialPassed);
        handle.plan(config(&[1, 2])).await.unwrap();
    }
    assert_eq!(pool(&published), ["w1", "w2"]);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_eject_half_of_the_pool_at_most() {
    let (handle, published) = started(&[1, 2, 3, 4]);
    let members = published.load().members.clone();
    for member in members.iter() {
        handle.met(&member.live, Met::Failures(5));
    }
    handle.plan(config(&[1])).await.unwrap();
    assert_eq!(pool(&published), ["w3", "w4"]);
    let mut lenient = config(&[1, 2, 3, 4]);
    lenient.outlier = None;
    reload(&handle, lenient).await.unwrap();
    handle.met(&members[2].live, Met::Failures(5));
    handle.plan(config(&[1])).await.unwrap();
    assert_eq!(pool(&published), ["w3", "w4"], "switched off");
}

#[tokio::test(start_paused = true)]
async fn backend_that_joins_warm_ones_rises_to_its_full_share() {
    let (handle, published) = started(&[1, 2]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    reload(&handle, config(&[1, 2, 3])).await.unwrap();
    let joined = published.load().members[2].live.clone();
    assert_eq!(joined.share(), 10);
    assert_eq!(published.load().pool.weights(), [100, 100, 10]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!((40..=60).contains(&joined.share()), "{}", joined.share());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(published.load().pool.weights(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn panic_is_announced_when_it_begins_and_when_it_ends() {
    let Running {
        handle,
        published,
        events,
        ..
    } = start(config(&[1, 2, 3]));
    let members = published.load().members.clone();
    let down = |unreachable| Verdict::Down { unreachable };
    for member in &members[..2] {
        handle.verdict(member.live.id.clone(), down(false)).await;
    }
    handle.plan(config(&[1])).await.unwrap();
    assert_eq!(published.load().panic, Some(Panic::FewUsable));
    assert_eq!(pool(&published), ["w1", "w2", "w3"]);
    for member in &members[..2] {
        handle.verdict(member.live.id.clone(), down(true)).await;
    }
    handle.plan(config(&[1])).await.unwrap();
    assert_eq!(
        pool(&published),
        ["w3"],
        "no use in asking who is not there"
    );
    let (recorded, _) = events.follow(0);
    let panics = recorded.iter().filter_map(|event| match event.what {
        What::Panic { reason, usable, .. } => Some((reason, usable)),
        _ => None,
    });
    let panics: Vec<_> = panics.collect();
    assert_eq!(panics, [(Some("few_usable"), 1), (None, 1)]);
}

#[tokio::test(start_paused = true)]
async fn reload_keeps_live_state_and_drains_what_goes() {
    let (handle, published) = started(&[1, 2]);
    let before = published.load();
    let in_flight = before.members[0].live.begin();
    reload(&handle, config(&[2, 3])).await.unwrap();
    assert_eq!(pool(&published), ["w2", "w3"]);
    assert!(Arc::ptr_eq(
        &before.members[1].live,
        &published.load().members[0].live
    ));
    assert_eq!(before.members[0].live.state.get(), State::Draining);

    // One that comes back before it has drained is the same backend, with its request still counted.
    reload(&handle, config(&[1, 2])).await.unwrap();
    assert_eq!(published.load().members[0].live.load.in_flight(), 1);
    drop(in_flight);
}

#[tokio::test(start_paused = true)]
async fn strategy_set_by_hand_outlives_an_unrelated_reload() {
    let (handle, published) = started(&[1, 2]);
    let random = Order::Strategy(strategy::Name::Random.into());
    handle.obey(random, Kept::Nowhere).await.unwrap().unwrap();
    reload(&handle, config(&[1])).await.unwrap();
    assert_eq!(published.load().strategy_name, strategy::Name::Random);
    let named = Config {
        strategy: strategy::Name::Weighted,
        ..config(&[1])
    };
    reload(&handle, named).await.unwrap();
    assert_eq!(published.load().strategy_name, strategy::Name::Weighted);
}

#[tokio::test(start_paused = true)]
async fn refused_reload_changes_nothing() {
    let Running {
        handle,
        published,
        events,
        ..
    } = start(config(&[1]));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let generation = published.load().generation;
    let mut shards = config(&[2]);
    shards.runtime.shards += 1;
    let occupied = Config {
        listen: taken.local_addr().unwrap(),
        ..config(&[2])
    };
    let mut nowhere = config(&[2]);
    nowhere.access_log.file = Some("/nowhere/access.log".into());
    for (refused, why) in [
        (shards, "`runtime.shards` cannot be changed"),
        (occupied, "in use by another process"),
        (nowhere, "cannot open the access log /nowhere/access.log"),
    ] {
        let error = reload(&handle, refused).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(published.load().generation, generation);
    assert_eq!(events.follow(0).0.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn listen_address_moves_and_every_shard_gets_its_socket() {
    let Running {
        handle,
        published,
        mut feeds,
        ..
    } = start(config(&[1]));
    let before = published.load().listening;
    for feed in &mut feeds {
        assert_eq!(feed.try_recv().unwrap().sockets.len(), 1);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let moved = Config {
        listen: address,
        admin: Some(AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            token: None,
        }),
        ..config(&[1])
    };
    let plan = reload(&handle, moved).await.unwrap();
    assert_eq!(plan.listen.unwrap().to, address.to_string());
    let after = published.load().listening;
    assert_eq!((before.admin, after.proxy), (None, address));
    assert!(after.admin.is_some());
    for feed in &mut feeds {
        let socket = &feed.try_recv().unwrap().sockets[0];
        assert_eq!(socket.local_addr().unwrap(), address);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_by_hand_hold_until_the_file_says_something_else() {
    let (handle, published) = started(&[1, 2]);
    let first = published.load().members[0].live.id.clone();
    let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap();
    let weight = |published: &Published| published.load().members[0].config.weight;
    obey(Order::Weight(first.clone(), 7)).await.unwrap();
    assert_eq!(weight(&published), 7);
    reload(&handle, config(&[1, 2, 3])).await.unwrap();
    assert_eq!(weight(&published), 7, "the file did not touch it");
    let mut heavier = config(&[1, 2]);
    heavier.backends[0].weight = 3;
    reload(&handle, heavier).await.unwrap();
    assert_eq!(weight(&published), 3, "the file has the last word");

    obey(Order::Remove(first.clone())).await.unwrap();
    assert_eq!(pool(&published), ["w2"]);
    reload(&handle, config(&[1, 2, 4])).await.unwrap();
    assert_eq!(pool(&published), ["w2", "w4"], "the file still names it");
    reload(&handle, config(&[2])).await.unwrap();
    reload(&handle, config(&[1, 2])).await.unwrap();
    assert_eq!(pool(&published), ["w1", "w2"], "named anew");
    assert!(matches!(
        obey(Order::Drain(BackendId::new("127.0.0.1:9".parse().unwrap()))).await,
        Err(OrderError::UnknownBackend { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn file_that_says_what_was_done_by_hand_is_believed_from_then_on() {
    let (handle, published) = started(&[1, 2]);
    let first = published.load().members[0].live.id.clone();
    let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap().unwrap();
    obey(Order::Remove(first)).await;
    obey(Order::Strategy(strategy::Name::Random.into())).await;
    let caught_up = Config {
        strategy: strategy::Name::Random,
        ..config(&[2])
    };
    assert!(reload(&handle, caught_up).await.unwrap().is_empty());
    let second = published.load().members[0].live.id.clone();
    obey(Order::Weight(second, 3)).await;
    assert_eq!(
        pool(&published),
        ["w2"],
        "what the file no longer names stays gone"
    );
    assert_eq!(published.load().strategy_name, strategy::Name::Random);
}

#[tokio::test(start_paused = true)]
async fn drained_backend_is_there_and_not_picked() {
    let (handle, published) = started(&[1, 2]);
    let live = published.load().members[0].live.clone();
    let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap().unwrap();
    let plan = obey(Order::Drain(live.id.clone())).await;
    assert_eq!(plan.changed[0].changes, ["drained"]);
    assert_eq!(pool(&published), ["w2"]);
    handle.verdict(live.id.clone(), Verdict::Up).await;
    reload(&handle, config(&[1, 2, 3])).await.unwrap();
    assert_eq!(pool(&published), ["w2", "w3"]);
    obey(Order::Enable(live.id.clone())).await;
    assert_eq!(pool(&published), ["w1", "w2", "w3"]);
    assert!(Arc::ptr_eq(&live, &published.load().members[0].live));
}

#[tokio::test(start_paused = true)]
async fn removed_backend_that_does_not_finish_lapses() {
    let Running {
        handle,
        mut published,
        events,
        ..
    } = start(config(&[1, 2]));
    let in_flight = published.load().members[0].live.begin();
    reload(&handle, config(&[2])).await.unwrap();
    while published.load().lapsed.is_empty() {
        assert!(published.changed().await);
    }
    assert!(Arc::ptr_eq(
        &published.load().lapsed[0],
        in_flight.backend()
    ));
    drop(in_flight);
    while !published.load().lapsed.is_empty() {
        assert!(published.changed().await);
    }
    let (past, _) = events.follow(0);
    let last = &past.last().unwrap().what;
    assert!(matches!(last, What::Drained { cut: 1, .. }), "{last:?}");
}

fn found(source: &Source, ports: &[u16]) -> Vec<BackendConfig> {
    let mut backends = config(ports).backends;
    for backend in &mut backends {
        backend.source = source.clone();
    }
    backends
}

#[tokio::test(start_paused = true)]
async fn sources_combine_and_keep_what_they_named_while_they_are_away() {
    let dns = DnsConfig::new("workers".to_owned(), DnsKind::Address { port: 1 });
    let source = dns.source();
    let with_dns = |ports: &[u16]| Config {
        discovery: Discovery {
            sql: None,
            dns: vec![dns.clone()],
        },
        ..config(ports)
    };
    let Running {
        handle,
        published,
        events,
        ..
    } = start(with_dns(&[1]));
    assert!(published.load().sources[0].away.is_some(), "not asked yet");
    let tell = async |ports: &[u16]| {
        let found = found(&source, ports);
        handle.found(source.clone(), found, Vec::new()).await;
        // Answered in turn, so what was told before has been done.
        handle.plan(with_dns(&[1])).await.unwrap();
    };
    tell(&[1, 2, 3]).await;
    assert_eq!(pool(&published), ["w1", "w2", "w3"]);
    let sources = |published: &Published| -> Vec<Source> {
        let snapshot = published.load();
        let members = snapshot.members.iter();
        members.map(|member| member.config.source.clone()).collect()
    };
    assert_eq!(
        sources(&published),
        [Source::File, source.clone(), source.clone()]
    );
    handle.away(source.clone(), "gone".to_owned()).await;
    handle.away(source.clone(), "gone".to_owned()).await;
    tell(&[3]).await;
    assert_eq!(pool(&published), ["w1", "w3"]);
    let kinds: Vec<bool> = events
        .follow(0)
        .0
        .iter()
        .map(|event| matches!(event.what, What::SourceAway { .. }))
        .collect();
    assert_eq!(kinds.iter().filter(|away| **away).count(), 1, "said once");
    reload(&handle, config(&[1])).await.unwrap();
    assert_eq!(pool(&published), ["w1"], "the source is configured no more");
    tell(&[9]).await;
    assert_eq!(pool(&published), ["w1"]);
}

#[tokio::test(start_paused = true)]
async fn next_process_goes_on_where_this_one_stops() {
    let mut checked = config(&[1, 2, 3]);
    checked.health = Some(crate::config::HealthConfig::default());
    let Running {
        handle, published, ..
    } = start(checked);
    let snapshot = published.load();
    let id = |place: usize| snapshot.members[place].live.id.clone();
    handle.verdict(id(0), Verdict::Up).await;
    handle
        .verdict(id(1), Verdict::Down { unreachable: false })
        .await;
    handle
        .obey(Order::Weight(id(0), 9), Kept::Nowhere)
        .await
        .unwrap()
        .unwrap();
    handle
        .obey(Order::Remove(id(2)), Kept::Nowhere)
        .await
        .unwrap()
        .unwrap();
    let for_an_hour = Preference {
        name: Some(strategy::Name::Random),
        ttl: Some(Duration::from_secs(3600)),
    };
    handle
        .obey(Order::Strategy(for_an_hour), Kept::Nowhere)
        .await
        .unwrap()
        .unwrap();
    let Estate {
        handover, sockets, ..
    } = handle.hand_over().await.unwrap().unwrap();
    assert_eq!(sockets.len(), snapshot.config.runtime.shards);
    let written = serde_json::to_string(&handover).unwrap();

    let mut config = config(&[1, 2, 3]);
    config.health = Some(crate::config::HealthConfig::default());
    let (listeners, _feeds, _) = listen::open(&config, Inherited::default()).unwrap();
    let super::super::Started { published, .. } = new(Setup {
        config,
        kept: Overlay::default(),
        handover: Some(serde_json::from_str(&written).unwrap()),
        listeners,
        log: LogFile::open(Destination::StandardOutput).unwrap().0,
        stats: Arc::default(),
        epoch: std::time::Instant::now(),
    });
    let next = published.load();
    let states: Vec<State> = next
        .members
        .iter()
        .map(|member| member.live.state.get())
        .collect();
    assert_eq!(states, [State::Healthy, State::Unhealthy]);
    assert_eq!(next.members[0].config.weight, 9);
    assert_eq!(next.picks_by, strategy::Name::Random);
    let until = next.override_until.unwrap();
    assert!(until > Duration::from_secs(3500), "{until:?}");
}
