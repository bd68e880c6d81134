//! A client as a line names it.

use crate::bytes::Put;
use crate::digits::whole;
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// No name is longer: `[` 39 characters `%` a scope of 10 `]:` a port of 5.
const LONGEST: usize = 58;

/// `0.` to `255.`, and how long each of them is.
const PARTS: [([u8; 4], u8); 256] = {
    let mut parts = [(*b"000.", 0); 256];
    let mut part = 0;
    while part < 256 {
        let (text, number) = (&mut parts[part].0, part as u8);
        (text[0], text[1], text[2]) = (number / 100, number / 10 % 10, number % 10);
        let zeros = if number < 10 {
            2
        } else {
            (number < 100) as usize
        };
        let mut place = 0;
        while place < 4 - zeros {
            let digit = text[place + zeros];
            text[place] = if digit == b'.' { digit } else { b'0' + digit };
            place += 1;
        }
        parts[part].1 = 4 - zeros as u8;
        part += 1;
    }
    parts
};

/// Writes its address and port; of one that is to be truncated, the network that it is in. A v4 client on a v6 listener is a v4
/// client.
#[inline]
pub(super) fn name(client: SocketAddr, truncated: bool, out: &mut impl Put) {
    match (client.ip().to_canonical(), truncated) {
        (IpAddr::V4(v4), false) => {
            let [a, b, c, d] = v4.octets().map(|octet| PARTS[usize::from(octet)]);
            out.put_first(&a.0, usize::from(a.1));
            out.put_first(&b.0, usize::from(b.1));
            out.put_first(&c.0, usize::from(c.1));
            out.put_first(&d.0, usize::from(d.1) - 1);
            out.put_array(b":");
            whole(u64::from(client.port()), out);
        }
        (address, true) => {
            let (text, length) = written(network(address));
            out.put_first(&text, length);
        }
        (IpAddr::V6(_), false) => {
            let (text, length) = written(client);
            out.put_first(&text, length);
        }
    }
}

#[cold]
#[inline(never)]
fn written(name: impl fmt::Display) -> ([u8; LONGEST], usize) {
    let mut text = [0; LONGEST];
    let mut rest = &mut text[..];
    // All of them fit.
    let _ = write!(rest, "{name}");
    let length = LONGEST - rest.len();
    (text, length)
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
