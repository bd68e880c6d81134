//! How far a request may still go: `Max-Forwards` (RFC 9110 7.6.2), and requests that go round in a circle (7.6.3).
//!
//! Asked of the few requests that have such fields. Those that end here are answered without a backend, and logged like any
//! other.

use super::buffer::Output;
use super::downstream::{Client, wants_json};
use super::exchange::write_all;
use super::forward::{Ended, Next, Request};
use super::headers::RequestId;
use super::reply::{self, Reason, Style};
use super::retry::Attempts;
use super::shard::Shard;
use crate::http1::fields::{self, Known};
use crate::http1::framing::Framing;
use crate::http1::request::RequestHead;
use std::time::{Duration, Instant};

/// How often a request may have been here before. Every balancer of ours goes by the same name, so a chain of them looks
/// like a circle: edge, region, cluster and mesh make four, and nobody builds five. More would only let a circle turn longer,
/// and each turn holds a connection of every balancer in it.
const MAX_PASSES: usize = 5;
/// What [`super::headers`] writes into `Via`.
const PSEUDONYM: &[u8] = b"lemonade";
/// How long the client may take to read the answer.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An answer of our own.
pub(super) struct Answer {
    status: u16,
    flag: Option<&'static str>,
    keep_alive: bool,
    out: Output,
}

/// The answer to a request that goes no further; `None` if it may go on.
pub(super) fn last(head: &RequestHead<'_>, id: &RequestId, draining: bool) -> Option<Answer> {
    let is_loop = head.has_via && passes(head) > MAX_PASSES;
    if !is_loop && head.max_forwards != Some(0) {
        return None;
    }
    // A body is not read, so nothing can follow it.
    let keep_alive = head.keeps_alive() && head.framing == Framing::Empty && !draining;
    let style = Style {
        version: head.version,
        keep_alive,
        json: wants_json(head),
        head_only: head.method == b"HEAD",
        id: Some(id),
    };
    let mut out = Output::new();
    let (status, flag) = match head.method {
        _ if is_loop => {
            reply::write(Reason::Loop, style, &mut out);
            (Reason::Loop.status(), Some(Reason::Loop.flag()))
        }
        b"TRACE" => (reply::write_echo(&received(head), style, &mut out), None),
        _ => (reply::write_options(style, &mut out), None),
    };
    Some(Answer {
        status,
        flag,
        keep_alive,
        out,
    })
}

/// How often the `Via` fields name us: the second word of a member is who received it.
fn passes(head: &RequestHead<'_>) -> usize {
    let is_ours = |member: &&[u8]| {
        let mut words = member.split(u8::is_ascii_whitespace);
        words.nth(1) == Some(PSEUDONYM)
    };
    head.all(Known::Via)
        .map(|via| fields::list(via).filter(is_ours).count())
        .sum()
}

/// The request as it came, but for what an answer must not give away (RFC 9110 9.3.8): a script that may not read its
/// user's credentials could otherwise ask for them.
fn received(head: &RequestHead<'_>) -> Vec<u8> {
    const SECRET: [&[u8]; 3] = [b"authorization", b"cookie", b"proxy-authorization"];
    let mut echo = Vec::with_capacity(head.bytes.len());
    let first = head
        .fields
        .first()
        .map_or(head.bytes.len() - 2, |field| field.line().start);
    echo.extend_from_slice(&head.bytes[..first]);
    for field in head.fields {
        let name = field.name(head.bytes);
        if !SECRET
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            echo.extend_from_slice(&head.bytes[field.line()]);
        }
    }
    echo.extend_from_slice(b"\r\n");
    echo
}

/// Sends the answer.
pub(super) async fn give(
    client: &mut Client,
    mut request: Request,
    answer: Answer,
    shard: &Shard,
) -> Next {
    client.owes_answer = true;
    client.deadline.set(LAST_WORDS);
    let next = match write_all(client, &answer.out).await {
        Ok(()) if answer.keep_alive => Next::KeepAlive,
        Ok(()) => Next::Linger,
        Err(_) => Next::Abort,
    };
    client.owes_answer = next == Next::Abort;
    let ended = Ended {
        status: answer.status,
        next,
        flag: answer.flag,
        at: Instant::now(),
    };
    let mut unattempted = Attempts::new(0, request.journal.take());
    shard.finished(&request, &shard.view(), &mut unattempted, &ended, 0);
    next
}
