//! Bytes that a backend sends: what of them may reach a client.

use super::recorder::Manner;
use super::{End, Judge, Reader, end_to_end, is_part};
use crate::strict::{self, Answer, Asked, Framing, Stop, options, values};
use std::net::SocketAddr;

/// What the bytes answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// GET in HTTP/1.1.
    Get,
    /// HEAD in HTTP/1.1.
    Head,
    /// GET in HTTP/1.0, which ends its connection.
    Old,
    /// GET in HTTP/1.0, which keeps its connection.
    OldKeepAlive,
    /// GET with an upgrade.
    Upgrade,
    /// POST, with a plain request behind its body, in one write.
    Post,
    /// The same with a chunked body.
    Chunked,
}

impl Asking {
    /// Every way.
    pub const ALL: [Asking; 7] = [
        Asking::Get,
        Asking::Head,
        Asking::Old,
        Asking::OldKeepAlive,
        Asking::Upgrade,
        Asking::Post,
        Asking::Chunked,
    ];

    fn request(self) -> &'static str {
        match self {
            Asking::Get => "GET /case HTTP/1.1\r\nHost: t\r\n\r\n",
            Asking::Head => "HEAD /case HTTP/1.1\r\nHost: t\r\n\r\n",
            Asking::Old => "GET /case HTTP/1.0\r\n\r\n",
            Asking::OldKeepAlive => "GET /case HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            Asking::Upgrade => {
                "GET /case HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
            }
            Asking::Post => {
                "POST /case HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\
                 GET /plain/next HTTP/1.1\r\nHost: t\r\n\r\n"
            }
            Asking::Chunked => {
                "POST /case HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                 GET /plain/next HTTP/1.1\r\nHost: t\r\n\r\n"
            }
        }
    }

    /// A plain request follows it on the wire.
    fn is_followed(self) -> bool {
        matches!(self, Asking::Post | Asking::Chunked)
    }

    fn asked(self) -> Asked {
        match self {
            Asking::Head => Asked::Head,
            _ => Asked::Other,
        }
    }

    fn is_old(self) -> bool {
        matches!(self, Asking::Old | Asking::OldKeepAlive)
    }
}

/// What the strict reading makes of the bytes.
#[derive(Debug)]
enum Expected {
    /// Interim answers, then a final one, whatever comes behind it.
    Final {
        interim: Vec<Answer>,
        answer: Answer,
    },
    /// The switch to another protocol, and its first bytes.
    Switched { rest: Vec<u8> },
    /// Nothing that may look whole; `begun`: there is more than interim answers of it.
    Nothing { begun: bool },
}

impl Judge {
    /// Has the origin answer with `bytes`. Whatever they are: the client gets the answer that [`crate::strict`] sees in
    /// them, or 502, or one that is visibly cut off; and no byte of them in the next answer. Returns whether there was an
    /// answer for which the client got 502.
    ///
    /// # Panics
    ///
    /// If that does not hold.
    pub async fn judge_answer(&self, proxy: SocketAddr, bytes: &[u8], asking: Asking) -> bool {
        if bytes.is_empty() {
            return false;
        }
        let expected = expected(bytes, asking);
        let may_stay_open = matches!(
            &expected,
            Expected::Final { answer, .. } if answer.framing != Framing::UntilClose
        );
        self.origin.begin(Manner::Script {
            bytes: bytes.to_vec(),
            closing: !may_stay_open,
        });
        let mut client = Reader::connect(proxy).await;
        client.send(asking.request().as_bytes()).await;
        let mut interim = Vec::new();
        let got = loop {
            match client.answer(asking.asked()).await {
                Ok(answer) if answer.status < 200 && answer.status != 101 => interim.push(answer),
                other => break other,
            }
        };
        assert!(
            interim.is_empty() || !asking.is_old(),
            "{interim:?} to HTTP/1.0"
        );
        match (&got, &expected) {
            (Ok(answer), _) if is_ours(answer) => {}
            (Ok(answer), Expected::Nothing { begun: false }) if is_plain(answer) => {}
            (Ok(answer), Expected::Switched { rest }) if answer.status == 101 => {
                client.finish().await;
                assert_eq!(client.end().await, End::Closed);
                assert_eq!(client.left(), rest);
                self.plain(proxy).await;
                return false;
            }
            (
                Ok(got),
                Expected::Final {
                    interim: sent,
                    answer,
                },
            ) => {
                assert!(asking.is_old() || interim.len() == sent.len());
                for (got, sent) in interim.iter().zip(sent) {
                    check_passed(got, sent, asking);
                }
                check_passed(got, answer, asking);
            }
            (Ok(answer), expected) => panic!("{answer:?} of {expected:?}"),
            (Err(End::Bad(rule)), _) => {
                panic!(
                    "{rule} in what the client got: `{}`",
                    client.left().escape_ascii()
                )
            }
            // Visibly cut off: a reset, or in the middle of a framed message.
            (Err(_), Expected::Nothing { .. }) => {}
            (Err(end), expected) => panic!("{end:?} instead of {expected:?}"),
        }
        let refused =
            got.as_ref().is_ok_and(is_ours) && !matches!(expected, Expected::Nothing { .. });
        self.check_next(proxy, client, got.ok(), asking).await;
        refused
    }

    /// The next answer is its own request's, on the same connection or on a new one.
    async fn check_next(
        &self,
        proxy: SocketAddr,
        mut client: Reader,
        answer: Option<Answer>,
        asking: Asking,
    ) {
        match answer {
            Some(answer) if answer.keeps_alive() && asking.is_followed() => {
                let next = client.answer(Asked::Other).await;
                let next = next.unwrap_or_else(|end| panic!("no next answer: {end:?}"));
                assert_eq!(next.body, b"/plain/next", "another answer: {next:?}");
            }
            Some(answer) if answer.keeps_alive() && asking != Asking::Old => {
                // What lies here already would be taken for the answer.
                self.plain_on(&mut client).await;
            }
            Some(_) => {
                client.end().await;
                let left = client.left().escape_ascii();
                assert!(client.left().is_empty(), "after the last answer: `{left}`");
            }
            None => {}
        }
        drop(client);
        self.plain(proxy).await;
        assert!(self.origin.seen().bad.is_empty());
    }
}

fn expected(bytes: &[u8], asking: Asking) -> Expected {
    let (mut interim, mut at) = (Vec::new(), 0);
    loop {
        // The origin closes after bytes that hold no whole answer otherwise.
        match strict::answer(&bytes[at..], asking.asked(), true) {
            Ok((answer, length)) if answer.status == 101 => {
                let names_one = values(&answer.fields, "upgrade").iter().any(|value| {
                    value
                        .iter()
                        .any(|byte| !matches!(byte, b',' | b' ' | b'\t'))
                });
                return match asking == Asking::Upgrade && names_one {
                    true => Expected::Switched {
                        rest: bytes[at + length..].to_vec(),
                    },
                    false => Expected::Nothing { begun: true },
                };
            }
            Ok((answer, length)) if answer.status < 200 => {
                at += length;
                interim.push(answer);
            }
            Ok((answer, _)) => return Expected::Final { interim, answer },
            Err(Stop::Partial) => {
                return Expected::Nothing {
                    begun: at < bytes.len(),
                };
            }
            Err(Stop::Bad(_)) => return Expected::Nothing { begun: true },
        }
    }
}

/// The proxy's own word that the answer is none.
fn is_ours(answer: &Answer) -> bool {
    answer.status == 502
        && values(&answer.fields, "proxy-status")
            .iter()
            .any(|value| value.starts_with(b"lemonade; error="))
}

/// The answer to the same request, sent once more.
fn is_plain(answer: &Answer) -> bool {
    !values(&answer.fields, "x-plain").is_empty()
}

fn check_passed(got: &Answer, sent: &Answer, asking: Asking) {
    assert_eq!(got.status, sent.status);
    assert!(got.body == sent.body, "another body of {sent:?}: {got:?}");
    assert_eq!(got.minor, 1);
    let mut named = options(&sent.fields);
    named.retain(|name| {
        !matches!(
            name.as_str(),
            "content-length" | "transfer-encoding" | "x-request-id" | "host"
        )
    });
    let mut ours = Vec::new();
    if values(&sent.fields, "x-request-id").is_empty() {
        ours.push("x-request-id");
    }
    if sent.status < 200 || sent.status == 204 {
        ours.push("content-length");
        assert!(values(&got.fields, "content-length").is_empty(), "{got:?}");
        assert!(
            values(&got.fields, "transfer-encoding").is_empty(),
            "{got:?}"
        );
    }
    let (before, after) = (
        end_to_end(&sent.fields, &named, &ours),
        end_to_end(&got.fields, &named, &ours),
    );
    assert_eq!(after, before, "the fields of {sent:?}");
    assert!(is_part(&got.trailers, &sent.trailers));
    if asking.is_old() {
        assert!(
            values(&got.fields, "transfer-encoding").is_empty(),
            "{got:?}"
        );
    }
}
