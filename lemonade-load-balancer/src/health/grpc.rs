//! The probe that calls `grpc.health.v1.Health/Check`, the standard health protocol of gRPC, over HTTP/2 without TLS.
//!
//! The protocol: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>; how a call looks on HTTP/2:
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>. Its two messages are a few bytes each, so they are written
//! and read here by the rules of <https://protobuf.dev/programming-guides/encoding/> instead of by generated code.

use super::probe::ProbeError;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckResponse.ServingStatus`, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;
/// An answer longer than this is none: it holds one small number.
const MOST_ANSWER: usize = 16 << 10;
/// The same for its header and its trailer section.
const MOST_HEADERS: u32 = 16 << 10;

/// Asks on a fresh connection, which is closed afterwards. The caller bounds the time.
pub(super) async fn ask(service: &str, stream: TcpStream, host: &str) -> Result<(), ProbeError> {
    let tasks = Tasks::default();
    let (mut sender, connection) = http2::Builder::new(Spawner(tasks.0.clone()))
        .max_header_list_size(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http2_failed(&error))?;
    let call = async {
        let answer = sender.send_request(request(service, host)?);
        let answer = answer.await.map_err(|error| http2_failed(&error))?;
        judge(answer).await
    };
    tokio::select! {
        // What has come is looked at first: a server may close right after its answer.
        biased;
        judged = call => judged,
        ended = connection => Err(match ended {
            Ok(()) => ProbeError::Http2("closed before the answer".to_owned()),
            Err(error) => http2_failed(&error),
        }),
    }
}

fn request(service: &str, host: &str) -> Result<Request<Full<Bytes>>, ProbeError> {
    Request::post(format!("http://{host}{PATH}"))
        .header(CONTENT_TYPE, "application/grpc")
        // "Used to detect incompatible proxies"; servers may insist on it.
        .header(TE, "trailers")
        .header(USER_AGENT, super::USER_AGENT)
        .body(Full::new(question(service).into()))
        .map_err(|error| ProbeError::Http2(error.to_string()))
}

async fn judge(answer: Response<Incoming>) -> Result<(), ProbeError> {
    let (head, body) = answer.into_parts();
    if head.status != 200 {
        return Err(ProbeError::Status {
            found: head.status.as_u16(),
            expected: crate::config::Statuses::new(vec![200..=200]),
        });
    }
    let collected = Limited::new(body, MOST_ANSWER).collect().await;
    let collected = collected.map_err(|error| http2_failed(error.as_ref()))?;
    // A call that failed early has its status in the head: an answer of trailers only.
    let trailers = collected.trailers().unwrap_or(&head.headers);
    check_status(trailers)?;
    match serving_status(&collected.to_bytes()).ok_or(ProbeError::NoHealth)? {
        SERVING => Ok(()),
        other => {
            let known = usize::try_from(other).ok().and_then(|at| STATUSES.get(at));
            Err(ProbeError::NotServing(known.unwrap_or(&STATUSES[0])))
        }
    }
}

/// A call without a status did not end as gRPC calls do.
fn check_status(trailers: &HeaderMap) -> Result<(), ProbeError> {
    let text = |name| {
        let value = trailers.get(name)?.to_str().ok()?;
        Some(value.chars().take(100).collect::<String>())
    };
    match text("grpc-status") {
        Some(code) if code == "0" => Ok(()),
        Some(code) => Err(ProbeError::Grpc {
            code,
            message: text("grpc-message")
                .map(|message| format!(" ({message})"))
                .unwrap_or_default(),
        }),
        None => Err(ProbeError::NoHealth),
    }
}

/// hyper's own words say little; what is below them says why.
fn http2_failed(mut error: &(dyn Error + 'static)) -> ProbeError {
    while let Some(source) = error.source() {
        error = source;
    }
    ProbeError::Http2(error.to_string())
}

/// `HealthCheckRequest { string service = 1; }` behind the five bytes that gRPC puts before a message. A text that is empty is
/// the default and not written.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(tag(1, LENGTH));
        write_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// The number of `HealthCheckResponse { ServingStatus status = 1; }`; `None` for what is none.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (&[compressed, a, b, c, d], mut message) = framed.split_first_chunk()?;
    if compressed != 0 || message.len() != u32::from_be_bytes([a, b, c, d]) as usize {
        return None;
    }
    // A number that is 0 is the default and not written.
    let mut status = 0;
    while !message.is_empty() {
        let tag = read_varint(&mut message)?;
        match tag & 7 {
            VARINT => {
                let number = read_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = number;
                }
            }
            FIXED_64 => message = message.get(8..)?,
            FIXED_32 => message = message.get(4..)?,
            LENGTH => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

const fn tag(field: u8, wire: u64) -> u8 {
    field << 3 | wire as u8
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What hyper spawned for one connection; ends with the probe, whatever the server does.
#[derive(Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        // Poisoned only if a push panicked; what was pushed before is there.
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }
}

#[derive(Clone)]
struct Spawner(Arc<Mutex<Vec<AbortHandle>>>);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::spawn(future).abort_handle();
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0, 0, 0, 0, message.len() as u8];
        framed.extend_from_slice(message);
        framed
    }

    #[test]
    fn question_is_what_generated_code_would_send() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], *b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn status_is_found_among_fields_of_later_versions() {
        for (message, status) in [
            (&b""[..], Some(0)),
            (b"\x08\x01", Some(1)),
            (b"\x08\x02", Some(2)),
            (b"\x08\x02\x08\x01", Some(1)),
            (b"\x12\x02hi\x08\x01", Some(1)),
            (b"\x08\x01\x19abcdefgh\x25abcd\x10\xff\x01", Some(1)),
            (b"\x08", None),
            (b"\x08\xff", None),
            (b"\x12\x09hi", None),
            (b"\x0b", None),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
        ] {
            assert_eq!(serving_status(&framed(message)), status, "{message:?}");
        }
        assert_eq!(
            serving_status(b"\x01\0\0\0\x02\x08\x01"),
            None,
            "compressed"
        );
        assert_eq!(serving_status(b"\0\0\0\0\x03\x08\x01"), None, "cut");
    }

    proptest! {
        #[test]
        fn number_reads_back(number in any::<u64>()) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            let mut rest = &bytes[..];
            prop_assert_eq!(read_varint(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_answer_is_too_odd_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = serving_status(&framed(&bytes));
            let _ = serving_status(&bytes);
        }
    }
}
