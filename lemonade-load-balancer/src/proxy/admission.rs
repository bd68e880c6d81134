//! Who may come in: client connections at once, of the whole process and of one client.
//!
//! Shared by the shards, and touched when a connection comes or goes, never by a request.

use super::reply::Reason;
use crate::config::Config;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The part of an IPv6 address that one client has for itself (RFC 6177, RFC 8981): in the rest it moves as it likes.
const CLIENT_PREFIX: u128 = u128::MAX << 64;

/// Counts who is in.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Client connections open, those aside that are only told why they may not stay.
    open: Arc<AtomicU32>,
    /// Connections by client; nobody is in it while that has no limit.
    clients: DashMap<IpAddr, u32>,
    /// Listeners that wait for somebody to leave.
    waiting: AtomicU32,
    left: Notify,
}

/// A connection's place. To be given back with [`Admission::leave`].
#[derive(Debug)]
pub(super) struct Place {
    client: Option<IpAddr>,
}

impl Admission {
    /// `open`: where the count can be read.
    pub(crate) fn new(open: Arc<AtomicU32>) -> Self {
        Admission {
            open,
            ..Admission::default()
        }
    }

    /// A place for a client, or why there is none.
    pub(super) fn enter(&self, peer: IpAddr, config: &Config) -> Result<Place, Reason> {
        let client = match config.limits.max_connections_per_client {
            // Many clients come through one of these.
            Some(most) if !config.headers.trusts(peer) => Some(self.enter_client(peer, most)?),
            _ => None,
        };
        let limit = config.limits.max_connections;
        let room = |open| (open < limit).then_some(open + 1);
        // SeqCst, as in `leave`: either we see that somebody left, or they see that we wait.
        if self.open.fetch_update(SeqCst, SeqCst, room).is_ok() {
            return Ok(Place { client });
        }
        self.leave_client(client);
        Err(Reason::TooManyConnections)
    }

    /// A place whatever the limit, for somebody who has waited for one until the very end.
    pub(super) fn enter_anyway(&self) -> Place {
        self.open.fetch_add(1, SeqCst);
        Place { client: None }
    }

    pub(super) fn leave(&self, place: &Place) {
        self.leave_client(place.client);
        self.open.fetch_sub(1, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.left.notify_waiters();
        }
    }

    fn enter_client(&self, peer: IpAddr, most: u32) -> Result<IpAddr, Reason> {
        let client = client_of(peer);
        let mut count = self.clients.entry(client).or_insert(0);
        if *count >= most {
            return Err(Reason::TooManyOfClient);
        }
        *count += 1;
        Ok(client)
    }

    fn leave_client(&self, client: Option<IpAddr>) {
        let Some(client) = client else { return };
        if let Entry::Occupied(mut present) = self.clients.entry(client) {
            *present.get_mut() -= 1;
            if *present.get() == 0 {
                present.remove();
            }
        }
    }

    /// From here on until it is dropped, whoever leaves is noticed.
    pub(super) fn watch(&self) -> Watch<'_> {
        self.waiting.fetch_add(1, SeqCst);
        Watch(self)
    }
}

/// A listener that waits.
pub(super) struct Watch<'a>(&'a Admission);

impl<'a> Watch<'a> {
    /// Completes once somebody has left, from when it is first polled or enabled.
    pub(super) fn left(&self) -> Notified<'a> {
        self.0.left.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// Whom an address belongs to: itself, or the network of an IPv6 host.
fn client_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & CLIENT_PREFIX).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    fn limited(total: u32, per_client: u32) -> Config {
        let mut config = Config::default();
        config.limits.max_connections = total;
        config.limits.max_connections_per_client = Some(per_client);
        config
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn client_is_an_address_or_a_network_of_ipv6() {
        let (admission, config) = (Admission::default(), limited(100, 1));
        let enter = |peer| admission.enter(address(peer), &config);
        for (first, same, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
            ("::ffff:198.51.100.1", "198.51.100.1", "::ffff:198.51.100.2"),
        ] {
            assert!(enter(first).is_ok());
            assert_eq!(enter(same).unwrap_err(), Reason::TooManyOfClient);
            assert!(enter(other).is_ok());
        }
    }

    #[test]
    fn who_left_is_forgotten_and_who_was_refused_is_not_counted() {
        let (admission, config) = (Admission::default(), limited(2, 2));
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(address);
        let first = admission.enter(one, &config).unwrap();
        let second = admission.enter(one, &config).unwrap();
        let refused = admission.enter(other, &config);
        assert_eq!(refused.unwrap_err(), Reason::TooManyConnections);
        assert_eq!(admission.clients.len(), 1);
        admission.leave(&first);
        let third = admission.enter(other, &config).unwrap();
        for place in [second, third] {
            admission.leave(&place);
        }
        assert!(admission.clients.is_empty());
        assert_eq!(admission.open.load(SeqCst), 0);
    }

    #[test]
    fn trusted_proxy_is_not_one_client() {
        let (admission, mut config) = (Admission::default(), limited(100, 1));
        let peer = address("10.0.0.1");
        config.headers.trusted_proxies = vec![Network::new(peer, 8).unwrap()];
        for _ in 0..3 {
            assert!(admission.enter(peer, &config).is_ok());
        }
    }
}
