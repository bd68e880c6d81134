//! Bytes that a client sends: what of them may reach a backend.

use super::recorder::Manner;
use super::{End, Judge, Reader, end_to_end, is_part};
use crate::strict::{self, Answer, Asked, Framing, Request, Stop, options, values};
use std::net::SocketAddr;

/// How a case is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Bytes in each piece; between two of them the proxy may act on what it has.
    pub step: usize,
    /// The origin has the proxy close its connection after each answer, so that each holds one request; otherwise all
    /// requests share one.
    pub closing: bool,
}

impl Judge {
    /// Sends `bytes` through the proxy. Whatever they are: the origin sees exactly the requests that [`crate::strict`] sees
    /// in them, in their order, up to the first that the proxy refuses; and the client gets their answers. Returns whether
    /// there was a request that the proxy refused.
    ///
    /// # Panics
    ///
    /// If that does not hold.
    pub async fn judge_requests(&self, proxy: SocketAddr, bytes: &[u8], sending: Sending) -> bool {
        let (expected, end) = requests(bytes);
        // A client that sends more after its last request, when that may have been answered, may lose the answer: its
        // bytes reset the connection (RFC 9112 9.6).
        let bytes = match end {
            Some(end) if sending.step < bytes.len() => &bytes[..end],
            _ => bytes,
        };
        let partial = end.is_none();
        self.origin.begin(Manner::Count {
            closing: sending.closing,
        });
        let mut client = Reader::connect(proxy).await;
        for piece in bytes.chunks(sending.step.max(1)) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let mut passed = Vec::new();
        let (mut refused, mut unread) = (false, false);
        for request in &expected {
            match client.final_answer(asked(request)).await {
                Ok(answer) if is_seen(&answer) => {
                    passed.push(request);
                    check_number(&answer, request, passed.len());
                }
                Ok(answer) if ends_here(request, &answer) && answer.keeps_alive() => {}
                // Its body was not read.
                Ok(answer) if ends_here(request, &answer) => {
                    unread = true;
                    break;
                }
                Ok(answer) => {
                    check_refusal(&answer);
                    refused = true;
                    break;
                }
                Err(end) => panic!("no answer to {request:?}: {end:?}"),
            }
        }
        client.finish().await;
        let end = client.end().await;
        check_rest(&client, end, partial && !refused && !unread);
        self.origin.until_quiet().await;
        self.plain(proxy).await;
        self.check_origin(&passed);
        refused
    }

    fn check_origin(&self, passed: &[&Request]) {
        let seen = self.origin.seen();
        assert!(seen.bad.is_empty(), "the origin was sent {:?}", seen.bad);
        let got: Vec<(&str, String)> = shown(seen.requests.iter());
        let sent: Vec<(&str, String)> = shown(passed.iter().copied());
        assert_eq!(seen.requests.len(), passed.len(), "{got:?} of {sent:?}");
        for (sent, got) in passed.iter().zip(&seen.requests) {
            check_passed(sent, got);
        }
    }
}

fn shown<'r>(requests: impl Iterator<Item = &'r Request>) -> Vec<(&'r str, String)> {
    requests
        .map(|request| {
            (
                request.method.as_str(),
                request.target.escape_ascii().to_string(),
            )
        })
        .collect()
}

/// The requests in `bytes`, up to the last that its connection may bring; and where they end, if nothing that might be another
/// follows them.
fn requests(bytes: &[u8]) -> (Vec<Request>, Option<usize>) {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match strict::request(&bytes[at..]) {
            Ok((request, length)) => {
                at += length;
                let last = !request.keeps_alive();
                found.push(request);
                if last {
                    return (found, Some(at));
                }
            }
            Err(Stop::Partial) if at == bytes.len() => return (found, Some(at)),
            Err(_) => return (found, None),
        }
    }
}

fn asked(request: &Request) -> Asked {
    match request.method.as_str() {
        "HEAD" => Asked::Head,
        _ => Asked::Other,
    }
}

/// The answer is the origin's.
fn is_seen(answer: &Answer) -> bool {
    !values(&answer.fields, "x-seen").is_empty()
}

/// The proxy itself is to answer the request, and does.
fn ends_here(request: &Request, answer: &Answer) -> bool {
    let is_zero = |value: &&[u8]| !value.is_empty() && value.iter().all(|digit| *digit == b'0');
    let forwards = values(&request.fields, "max-forwards");
    let last =
        matches!(request.method.as_str(), "TRACE" | "OPTIONS") && forwards.iter().any(is_zero);
    let circle = !values(&request.fields, "via").is_empty() && answer.status == 508;
    circle || (last && matches!(answer.status, 200 | 204))
}

fn check_number(answer: &Answer, request: &Request, number: usize) {
    assert_eq!(answer.status, 200);
    if request.method != "HEAD" {
        let number = number.to_string();
        assert_eq!(
            answer.body,
            number.as_bytes(),
            "another's answer to {request:?}"
        );
    }
    assert!(answer.keeps_alive() || !request.keeps_alive() || answer.minor == 1);
}

/// An answer of the proxy's own after which nothing comes: a refusal, or the end of a request that goes no further, whose body
/// nobody reads.
fn check_refusal(answer: &Answer) {
    assert!(!is_seen(answer), "an answer to no request: {answer:?}");
    let is_known = matches!(
        answer.status,
        200 | 204 | 400 | 408 | 413 | 414 | 431 | 501 | 505 | 508
    );
    assert!(is_known, "no request is refused like this: {answer:?}");
    assert!(
        !answer.keeps_alive(),
        "a connection that goes on after {answer:?}"
    );
}

/// What comes after the last answer: a refusal of what is left, or nothing.
fn check_rest(client: &Reader, end: End, may_refuse: bool) {
    let left = client.left();
    if left.is_empty() {
        return;
    }
    let rest = left.escape_ascii();
    assert!(may_refuse, "answers to nothing: `{rest}`");
    // To HEAD there may be none; to others there is.
    let refusal = [Asked::Other, Asked::Head]
        .into_iter()
        .find_map(|asked| strict::answer(left, asked, end == End::Closed).ok());
    let (refusal, length) = refusal.unwrap_or_else(|| panic!("no whole answer in `{rest}`"));
    check_refusal(&refusal);
    assert_eq!(length, left.len(), "something after a refusal: `{rest}`");
}

/// Fields of a request that the proxy rebuilds.
const REBUILT: [&str; 10] = [
    "expect",
    "forwarded",
    "host",
    "max-forwards",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

fn check_passed(sent: &Request, got: &Request) {
    let (target, authority) = sent.target_parts();
    assert_eq!(got.method, sent.method);
    assert_eq!(
        got.target.escape_ascii().to_string(),
        target.escape_ascii().to_string()
    );
    assert_eq!(got.minor, 1);
    let host = authority.or_else(|| Some(values(&sent.fields, "host").first()?.to_vec()));
    if let Some(host) = host {
        assert_eq!(values(&got.fields, "host"), [host]);
    }
    assert!(got.body == sent.body, "another body of {sent:?}: {got:?}");
    let framing = |request: &Request| match request.framing {
        // An empty body may be declared or not.
        Framing::None => Framing::Length(0),
        framing => framing,
    };
    assert_eq!(framing(got), framing(sent));
    let mut named = options(&sent.fields);
    named.retain(|name| {
        !matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding"
        )
    });
    named.extend(look_alikes(sent));
    let (before, after) = (
        end_to_end(&sent.fields, &named, &REBUILT),
        end_to_end(&got.fields, &named, &REBUILT),
    );
    assert_eq!(after, before, "the fields of {sent:?}");
    assert!(
        is_part(&got.trailers, &sent.trailers),
        "{:?} of {:?}",
        got.trailers,
        sent.trailers
    );
    for name in ["keep-alive", "proxy-connection", "te"] {
        assert!(values(&got.fields, name).is_empty(), "{name} in {got:?}");
    }
    let upgrades = !values(&got.fields, "upgrade").is_empty();
    let connection: &[String] = if upgrades {
        &["upgrade".to_owned()]
    } else {
        &[]
    };
    assert_eq!(options(&got.fields), connection);
}

/// Names that a backend may take for ones that the proxy acts on, by an underscore in place of a hyphen: they may be left out.
fn look_alikes(sent: &Request) -> Vec<String> {
    const ACTED_ON: [&str; 6] = [
        "content-length",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "user-agent",
        "max-forwards",
    ];
    let names = sent
        .fields
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase());
    let is_one = |name: &String| {
        let hyphened = name.replace('_', "-");
        let known = ACTED_ON.contains(&hyphened.as_str()) || REBUILT.contains(&hyphened.as_str());
        name.contains('_') && known
    };
    names.filter(is_one).collect()
}

impl Reader {
    /// The next final answer; an interim one has no business here.
    async fn final_answer(&mut self, asked: Asked) -> Result<Answer, End> {
        let answer = self.answer(asked).await?;
        assert!(
            answer.status >= 200,
            "an interim answer that nobody gave: {answer:?}"
        );
        Ok(answer)
    }
}
