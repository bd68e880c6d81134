//! A client as a line names it.

use crate::digits::whole;
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Writes its address and port; of one that is to be truncated, the network that it is in. A v4 client on a v6 listener is a v4
/// client.
pub(super) fn name(client: SocketAddr, truncated: bool, out: &mut Vec<u8>) {
    match (client.ip().to_canonical(), truncated) {
        // Formatting in general takes longer than the rest of a line.
        (IpAddr::V4(v4), false) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                whole(u64::from(octet), out);
            }
            out.push(b':');
            whole(u64::from(client.port()), out);
        }
        (IpAddr::V6(_), false) => display(client, out),
        (address, true) => display(network(address), out),
    }
}

fn display(name: impl fmt::Display, out: &mut Vec<u8>) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{name}");
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
    use crate::digits::tests::written;
    use proptest::prelude::*;

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
            assert_eq!(written(|out| name(client, false, out)), whole);
            assert_eq!(written(|out| name(client, true, out)), truncated);
        }
    }

    proptest! {
        #[test]
        fn clients_are_named_as_everywhere(client in any::<SocketAddr>()) {
            let canonical = SocketAddr::new(client.ip().to_canonical(), client.port());
            let expected = if canonical.is_ipv4() { canonical } else { client };
            prop_assert_eq!(written(|out| name(client, false, out)), expected.to_string());
        }
    }
}
