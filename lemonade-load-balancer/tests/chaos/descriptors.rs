//! More clients than there are descriptors for.

use crate::apart::Apart;
use crate::backend::Backend;
use crate::load::{self, Kept, Load, Mishap, posts_a_second, requests_a_second};
use crate::report::{Bounds, Row};
use crate::stage::{LOOK, fault_lasts, file, peak_rss, watch_for_stalls};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many come, and how many descriptors there are beyond those that the balancer needs without clients.
const COME: usize = 400;
const ROOM: usize = 200;
/// How long one of them waits before it comes again.
const AGAIN: Duration = Duration::from_millis(500);
/// Of a core, for both shards together. Who does not back off takes all there is.
const MOST_CPU: f64 = 0.5;
/// A request that gets no descriptor for a backend, though others made room for it, is told 503: somebody who came in meanwhile has
/// it. No more than this part may be, and no other error.
const TOLD_503: f64 = 0.0;
/// A `POST` may cross with the end of its connection: nobody can tell whether it was heard, and its client may not ask again. No more
/// than this part of them may.
const CROSSED: f64 = 0.01;
/// When clients have left, their descriptors are free.
const SOON: Duration = Duration::from_secs(2);

/// Clients come, ask once and stay; those that are sent away come again. Whoever asked before goes on as if nothing were.
pub(crate) async fn run_out() -> Row {
    let mut row = Row::new("descriptors run out");
    let stall = Rc::<Cell<Duration>>::default();
    let mut stalls = JoinSet::new();
    stalls.spawn_local(watch_for_stalls(stall.clone()));
    let backends: Vec<Backend> = (0..4).map(|_| Backend::start()).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lemonade.yaml");
    std::fs::write(&path, file(&backends, 1, "")).unwrap();
    let balancer = Apart::start(&path, ROOM);
    let mut load = Load::begin(balancer.listen, Kept::MayBeGone);
    sleep(fault_lasts()).await;

    let (began, ran) = (Instant::now(), balancer.shards_ran());
    let crowd = crowd(balancer.listen);
    sleep(fault_lasts()).await;
    let share = (balancer.shards_ran() - ran).as_secs_f64() / began.elapsed().as_secs_f64();
    row.check(share < MOST_CPU, || {
        format!("the shards took {share:.2} of a core while there was no room")
    });
    row.check(balancer.open() > balancer.limit - ROOM / 4, || {
        "there was room all the while".to_owned()
    });
    drop(crowd);

    let left = Instant::now();
    let room = async {
        while balancer.open() > balancer.limit - ROOM / 4 {
            sleep(LOOK).await;
        }
    };
    let room = timeout(SOON, room).await;
    row.check(room.is_ok(), || format!("no room {SOON:?} after they left"));
    row.back = Some(left.elapsed());
    sleep(fault_lasts()).await;
    load.end().await;
    finish(row, balancer, &load, stall.get())
}

fn finish(mut row: Row, balancer: Apart, load: &Load, stall: Duration) -> Row {
    let mishaps = load.mishaps();
    row.mishaps = load::summary(&mishaps);
    let (crossed, mishaps): (Vec<Mishap>, Vec<Mishap>) = mishaps
        .into_iter()
        .partition(|mishap| !mishap.idempotent && mishap.what == load::GONE);
    row.tally(&mishaps, told_503());
    let most = (CROSSED * fault_lasts().as_secs_f64() * posts_a_second()).ceil() as usize;
    row.check(crossed.len() <= most, || {
        format!("{} crossed with a close, at most {most}", crossed.len())
    });
    let lacks = |mishap: &Mishap| mishap.what.contains("no resources left");
    let others: Vec<Mishap> = mishaps
        .into_iter()
        .filter(|mishap| !lacks(mishap))
        .collect();
    row.check(others.is_empty(), || {
        format!("it is no lack: {:?}", load::summary(&others))
    });
    row.requests = load.requests();
    row.stall = stall;
    row.peak_rss = balancer.peak_rss() + peak_rss(Path::new("/proc/self"));
    let named = format!("open_files_limit={}", balancer.limit);
    let said = balancer.stop();
    let warned = said.iter().filter(|line| line.contains(&named)).count();
    // One, and again every ten seconds.
    let most = 1 + fault_lasts().as_secs() as usize / 10;
    row.check((1..=most).contains(&warned), || {
        format!("{warned} warnings name the limit, not 1 to {most}: {said:?}")
    });
    let blamed = said.iter().filter(|line| line.contains("from=healthy"));
    let blamed: Vec<&String> = blamed.collect();
    row.check(blamed.is_empty(), || {
        format!("no backend is to blame: {blamed:?}")
    });
    row
}

fn told_503() -> Bounds {
    let lasts = fault_lasts().as_secs_f64();
    let (all, others) = (requests_a_second(), posts_a_second());
    let most = |a_second: f64| (TOLD_503 * lasts * a_second).ceil() as u64;
    Bounds {
        idempotent: most(all - others),
        others: most(others),
        cut: 0,
    }
}

/// Leaves when it is dropped.
fn crowd(balancer: SocketAddr) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..COME {
        clients.spawn_local(async move {
            loop {
                // How it is treated is no matter here; that it stays until it is sent away is.
                let _ = ask_once(balancer).await;
                sleep(AGAIN).await;
            }
        });
    }
    clients
}

async fn ask_once(balancer: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(balancer).await?;
    let request = b"GET /crowd HTTP/1.1\r\nHost: chaos\r\n\r\n";
    stream.write_all(request).await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}
