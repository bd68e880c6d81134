//! Syslog messages (RFC 5424), one datagram a line: over a Unix socket, or UDP (RFC 5426).
//!
//! A syslog that is away is looked for again with every batch; what it misses is counted.

use super::target::Lost;
use super::{Batch, Mark};
use crate::timestamp::Stamp;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Bytes of a message; the rest of a longer one is left out. RFC 5424 6.1 asks receivers to take 2048; 8192 is what rsyslog and
/// syslog-ng take unless they are told otherwise, and a line is seldom longer.
const LONGEST: usize = 8192;
/// How long a receiver whose queue is full is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A syslog, and what it is told about who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it listens. Default `/dev/log`.
    pub address: SyslogAddress,
    /// What kind of program speaks. Default `local0`.
    pub facility: Facility,
    /// The program's name: 1 to 48 visible ASCII characters. Default `lemonade`.
    pub tag: String,
}

impl Default for Syslog {
    fn default() -> Self {
        Syslog {
            address: SyslogAddress::Socket("/dev/log".into()),
            facility: Facility(16),
            tag: "lemonade".to_owned(),
        }
    }
}

/// Where a syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A Unix datagram socket.
    Socket(PathBuf),
    /// UDP, `host:port`. A name is looked up whenever the syslog is looked for.
    Udp(String),
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogAddress::Socket(path) => path.display().fmt(f),
            SyslogAddress::Udp(address) => f.write_str(address),
        }
    }
}

/// The facility of a message, as RFC 5424 6.2.1 numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// In the order of their numbers; those between have no usual name.
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The word names no facility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownFacility;

impl FromStr for Facility {
    type Err = UnknownFacility;

    fn from_str(word: &str) -> Result<Self, UnknownFacility> {
        let known = FACILITIES.iter().find(|(name, _)| *name == word);
        known
            .map(|(_, number)| Facility(*number))
            .ok_or(UnknownFacility)
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = FACILITIES.iter().find(|(_, number)| *number == self.0);
        f.write_str(known.map_or("user", |(name, _)| name))
    }
}

/// The way to one syslog.
#[derive(Debug)]
pub(super) struct Sender {
    syslog: Syslog,
    socket: Option<Socket>,
    /// The receiver does not read: it is not waited for again until it does.
    stuck: bool,
    stamp: Stamp,
    /// Host name, tag and process, as they follow the time.
    from: Vec<u8>,
    message: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Socket {
    fn connect(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Socket::Unix(socket))
            }
            SyslogAddress::Udp(address) => connect_udp(address).map(Socket::Udp),
        }
    }

    /// Only a socket of this machine can be full.
    fn set_patient(&self, patient: bool) -> io::Result<()> {
        match self {
            Socket::Unix(socket) => socket.set_nonblocking(!patient),
            Socket::Udp(_) => Ok(()),
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Socket::Unix(socket) => socket.send(message),
            Socket::Udp(socket) => socket.send(message),
        }
        .map(|_| ())
    }
}

fn connect_udp(address: &str) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        let own: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        match UdpSocket::bind(own).and_then(|socket| socket.connect(address).map(|()| socket)) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Sender {
    pub(super) fn new(syslog: &Syslog) -> Self {
        Sender {
            syslog: syslog.clone(),
            socket: None,
            stuck: false,
            stamp: Stamp::default(),
            from: from(&syslog.tag),
            message: Vec::new(),
        }
    }

    /// Sends every line, each for itself: one that fails does not keep the next back. A receiver that is gone, or does not read,
    /// loses the rest of the batch: lines for somebody else may wait behind it.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Lost> {
        let mut lost: Option<Lost> = None;
        for (place, (line, mark)) in batch.lines().enumerate() {
            self.compose(line, mark);
            let Err(cause) = self.send() else {
                self.be_stuck(false);
                continue;
            };
            let is_full = cause.kind() == io::ErrorKind::WouldBlock;
            let lost = lost.get_or_insert(Lost { lines: 0, cause });
            lost.lines += 1;
            self.be_stuck(is_full);
            if self.socket.is_none() || is_full {
                lost.lines += batch.marks.len() - place - 1;
                break;
            }
        }
        lost.map_or(Ok(()), Err)
    }

    fn be_stuck(&mut self, stuck: bool) {
        if self.stuck != stuck
            && let Some(socket) = &self.socket
        {
            // If it fails, the receiver is waited for once more.
            let _ = socket.set_patient(!stuck);
            self.stuck = stuck;
        }
    }

    /// A receiver that was started anew has another socket: it is looked for once.
    fn send(&mut self) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(&self.message) {
                Err(error) if is_gone(&error) => (self.socket, self.stuck) = (None, false),
                sent => return sent,
            }
        }
        let socket = Socket::connect(&self.syslog.address)?;
        let sent = socket.send(&self.message);
        if !sent.as_ref().is_err_and(is_gone) {
            self.socket = Some(socket);
        }
        sent
    }

    /// `<PRI>1 TIME HOST TAG PID - - MESSAGE` (RFC 5424 6).
    fn compose(&mut self, line: &[u8], mark: Mark) {
        let message = &mut self.message;
        message.clear();
        let priority = u16::from(self.syslog.facility.0) * 8 + mark.severity as u16;
        // Writing to a `Vec` cannot fail.
        let _ = write!(message, "<{priority}>1 ");
        self.stamp.write(mark.at.duration(), message);
        message.extend_from_slice(&self.from);
        message.extend_from_slice(line);
        let end = whole_characters(message, LONGEST);
        message.truncate(end);
    }
}

/// The receiver went away, and may be back at the same address. A message that is too large or that found the queue full says
/// nothing of the kind.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::NotFound
            | io::ErrorKind::BrokenPipe
    )
}

fn from(tag: &str) -> Vec<u8> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    // RFC 5424 6: visible ASCII, 255 of them at most; "-" is "not known".
    let plain: String = host
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    let host = if plain.is_empty() { "-" } else { &plain };
    format!(" {host} {tag} {} - - ", std::process::id()).into_bytes()
}

/// How much of `text` fits into `most` without cutting a character.
fn whole_characters(text: &[u8], most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let begins = |place: &usize| text[*place] & 0xC0 != 0x80;
    (0..=most).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::Severity;
    use crate::timestamp::Nanos;

    #[test]
    fn facilities_are_known_by_their_names() {
        for (name, number) in FACILITIES {
            let facility: Facility = name.parse().unwrap();
            assert_eq!((facility.0, facility.to_string().as_str()), (number, name));
        }
        assert!("local8".parse::<Facility>().is_err());
    }

    #[test]
    fn message_is_cut_between_characters() {
        let mut sender = Sender::new(&Syslog::default());
        for pad in 0..3 {
            let line = format!("{}{}", "x".repeat(pad), "€".repeat(LONGEST));
            let mark = Mark::new(0, Severity::Error, Nanos::default());
            sender.compose(line.as_bytes(), mark);
            assert!(sender.message.len() <= LONGEST && sender.message.len() > LONGEST - 3);
            let text = std::str::from_utf8(&sender.message).unwrap();
            assert!(
                text.starts_with("<131>1 1970-01-01T00:00:00.000000Z "),
                "{text:.80}"
            );
        }
    }
}
