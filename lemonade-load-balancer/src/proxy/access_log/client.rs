//! A client as a line names it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// No name is longer: `[` 39 characters `%` a scope of 10 `]:` a port of 5.
const LONGEST: usize = 58;

/// Its address and port; of one that is to be truncated, the network that it is in.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct ClientName {
    pub(in crate::proxy) client: SocketAddr,
    pub(in crate::proxy) truncated: bool,
    length: u8,
    text: [u8; LONGEST],
}

impl ClientName {
    /// A v4 client on a v6 listener is a v4 client.
    pub(in crate::proxy) fn of(client: SocketAddr, truncated: bool) -> Self {
        let address = client.ip().to_canonical();
        let mut text = [0; LONGEST];
        let mut rest = &mut text[..];
        // All of them fit.
        let _ = match (address, truncated) {
            (IpAddr::V6(_), false) => write!(rest, "{client}"),
            (IpAddr::V4(v4), false) => write!(rest, "{v4}:{}", client.port()),
            (address, true) => write!(rest, "{}", network(address)),
        };
        let length = LONGEST - rest.len();
        ClientName {
            client,
            truncated,
            length: length as u8,
            text,
        }
    }

    pub(in crate::proxy) fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

/// Of the size that is usual where no person is to be recognised: /24, /48 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV6;

    #[test]
    fn truncated_client_is_a_network() {
        for (client, whole, truncated) in [
            ("192.0.2.77:80", "192.0.2.77:80", "192.0.2.0"),
            ("[::ffff:192.0.2.77]:80", "192.0.2.77:80", "192.0.2.0"),
            (
                "[2001:db8:1:2:3:4:5:6]:80",
                "[2001:db8:1:2:3:4:5:6]:80",
                "2001:db8:1::",
            ),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(ClientName::of(client, false).text(), whole.as_bytes());
            assert_eq!(ClientName::of(client, true).text(), truncated.as_bytes());
        }
    }

    #[test]
    fn longest_name_fits() {
        let longest = SocketAddrV6::new(Ipv6Addr::from_bits(!0), u16::MAX, 0, u32::MAX);
        let name = ClientName::of(longest.into(), false);
        assert_eq!(name.text(), longest.to_string().as_bytes());
        assert_eq!(name.text().len(), LONGEST);
    }
}
