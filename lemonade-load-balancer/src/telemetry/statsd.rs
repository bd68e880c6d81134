//! Metrics on their way to a StatsD server: a burst of datagrams now and then. Nobody says whether they arrive; what the kernel
//! says of them is counted.

use super::Exporter;
use super::signal::{Failure, Signal};
use crate::config::{Config, StatsdAddress, StatsdConfig};
use crate::metrics::statsd::{self, Counted};
use crate::metrics::{Sources, scrape};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{UdpSocket, UnixDatagram, lookup_host};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// So many datagrams, of 46 KB together, and a pause: a receiver has 208 KiB of room by default.
const BURST: usize = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// For all datagrams of one reading: a receiver that does not read holds nobody up for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pushes metrics as lines.
pub(super) struct Statsd {
    sources: Sources,
    signal: Signal,
    /// `None`: it was off, and what was counted meanwhile is not told.
    counted: Option<Counted>,
    socket: Option<Socket>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    async fn open(address: &StatsdAddress) -> io::Result<Self> {
        let address = match address {
            StatsdAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                return Ok(Socket::Unix(socket));
            }
            StatsdAddress::Udp(address) => address,
        };
        let mut found = lookup_host((address.host(), address.port())).await?;
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let server = found.next().ok_or_else(nothing)?;
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        Ok(Socket::Udp(socket))
    }

    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Socket::Udp(socket) => socket.send(datagram).await,
            Socket::Unix(socket) => socket.send(datagram).await,
        }
        .map(drop)
    }

    /// What came back since: that nobody listens there.
    fn complaint(&self) -> Option<io::Error> {
        match self {
            Socket::Udp(socket) => socket.take_error().ok()?,
            Socket::Unix(socket) => socket.take_error().ok()?,
        }
    }

    /// Sends until something fails. How many were sent.
    async fn send_all(&self, datagrams: &[Vec<u8>], sent: &mut usize) -> io::Result<()> {
        for datagram in datagrams {
            self.send(datagram).await?;
            *sent += 1;
            if sent.is_multiple_of(BURST) {
                sleep(PAUSE).await;
            }
        }
        self.complaint().map_or(Ok(()), Err)
    }
}

impl Statsd {
    pub(super) fn new(sources: Sources) -> Self {
        Statsd {
            sources,
            signal: Signal::new("statsd"),
            // Everything is counted from the start.
            counted: Some(Counted::default()),
            socket: None,
        }
    }

    async fn push(&mut self, config: &StatsdConfig) {
        let reading = scrape(&self.sources);
        let counted = self.counted.get_or_insert_default();
        let lines = statsd::write(&reading, counted, config);
        let most = match config.address {
            StatsdAddress::Udp(_) => statsd::UDP_BYTES,
            StatsdAddress::Unix(_) => statsd::UNIX_BYTES,
        };
        let datagrams = statsd::datagrams(&lines, most);
        let complained = self.hear();
        let mut sent = 0;
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let pushed = timeout(PATIENCE, self.send(&config.address, &datagrams, &mut sent)).await;
        match pushed.unwrap_or_else(|_| Err(late())) {
            // That it is back shows in nobody complaining.
            Ok(()) if complained => {}
            Ok(()) => self.signal.delivered(),
            Err(error) => {
                self.socket = None;
                self.signal.failed(Failure::Away, &error);
                // A complaint is of one that was sent.
                let lost = (datagrams.len() - sent).max(1);
                self.signal.dropped(lost as u64);
            }
        }
    }

    /// What came back of the last reading's datagrams, after they were sent.
    fn hear(&mut self) -> bool {
        let complaint = self.socket.as_ref().and_then(Socket::complaint);
        let Some(error) = complaint else { return false };
        self.socket = None;
        self.signal.failed(Failure::Away, &error);
        self.signal.dropped(1);
        true
    }

    async fn send(
        &mut self,
        address: &StatsdAddress,
        datagrams: &[Vec<u8>],
        sent: &mut usize,
    ) -> io::Result<()> {
        // A name may mean another server now, and a path another socket.
        if !matches!(address, StatsdAddress::Udp(address) if address.to_socket_addr().is_some()) {
            self.socket = None;
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(address).await?,
        };
        let done = socket.send_all(datagrams, sent).await;
        self.socket = Some(socket);
        done
    }
}

/// Where to and how, and how often.
#[derive(PartialEq)]
pub(super) struct Wanted {
    statsd: StatsdConfig,
    interval: Duration,
}

impl Exporter for Statsd {
    type Config = Wanted;

    fn wanted(config: &Config) -> Option<Wanted> {
        let statsd = config.metrics.statsd.clone()?;
        let interval = config.metrics.interval;
        Some(Wanted { statsd, interval })
    }

    async fn export(&mut self, config: &Wanted) {
        self.socket = None;
        if self.counted.is_none() {
            self.counted = Some(Counted::from(&scrape(&self.sources)));
        }
        let mut due = Instant::now();
        loop {
            due = (due + config.interval).max(Instant::now());
            sleep_until(due).await;
            self.push(&config.statsd).await;
        }
    }

    fn rest(&mut self) {
        self.counted = None;
    }

    async fn flush(&mut self, config: &Wanted) {
        self.push(&config.statsd).await;
    }
}
