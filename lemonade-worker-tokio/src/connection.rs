//! One connection: a head, an answer, and again, until either side has had enough.

use std::fmt::Write as _;
use std::io;

use futures_util::stream;
use http::{Response, StatusCode};
use lemonade_service::{Answer, KEEP_ALIVE, Payload, RequestHead, Worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::body::{Body, Framing};

/// A longer head is refused with 431.
const MAX_HEAD: usize = 16 << 10;
/// More fields are refused with 431 too.
const MAX_FIELDS: usize = 100;

/// A head that was read and understood.
struct Head {
    method: String,
    path: String,
    query: Option<String>,
    framing: Framing,
    expects_continue: bool,
    keep_alive: bool,
}

/// Serves requests until the client leaves, an error, or `stopped`, which an idle connection ends at once and a busy one
/// after its answer.
pub(crate) async fn serve(mut stream: TcpStream, worker: Worker, mut stopped: watch::Receiver<()>) {
    // What was read and not used yet: the next request of a client that does not wait.
    let mut received = Vec::new();
    loop {
        let head = tokio::select! {
            head = timeout(KEEP_ALIVE, read_head(&mut stream, &mut received)) => head,
            _ = stopped.changed(), if received.is_empty() => return,
        };
        let head = match head {
            Ok(Ok(Ok(head))) => head,
            Ok(Ok(Err(status))) => {
                let _ = refuse(&mut stream, status).await;
                return;
            }
            // It left, or said nothing for too long.
            Ok(Err(_)) | Err(_) => return,
        };
        let stopping = stopped.has_changed().is_err();
        match answer(&mut stream, &mut received, &worker, head, stopping).await {
            Ok(true) if !stopping => {}
            _ => return,
        }
    }
}

/// Answers one request; whether another may follow.
async fn answer(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    worker: &Worker,
    head: Head,
    stopping: bool,
) -> io::Result<bool> {
    let mut body = Body::new(stream, received, head.framing, head.expects_continue);
    let request = RequestHead {
        method: &head.method,
        path: &head.path,
        query: head.query.as_deref(),
    };
    let pieces = stream::try_unfold(&mut body, |body| async move {
        let piece = body.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, body)))
    });
    let answer = worker.handle(request, pieces).await;
    let keep_alive = head.keep_alive && !stopping && body.is_done();
    match answer {
        Answer::Close => Ok(false),
        Answer::Reply(response) => {
            write(stream, response, head.method == "HEAD", keep_alive).await?;
            Ok(keep_alive)
        }
    }
}

/// The outer error is the connection's, the inner one the status that a bad head is refused with.
async fn read_head(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> io::Result<Result<Head, StatusCode>> {
    loop {
        match parse(received) {
            Ok(Some((head, length))) => {
                received.drain(..length);
                return Ok(Ok(head));
            }
            Ok(None) if received.len() < MAX_HEAD => {}
            Ok(None) => return Ok(Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
            Err(status) => return Ok(Err(status)),
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The head at the front of `bytes` and its length; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, StatusCode> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        Err(_) => return Err(StatusCode::BAD_REQUEST),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let modern = request.version == Some(1);
    let connection = values(request.headers, "connection");
    let has = |option: &str| {
        connection.clone().any(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(option))
        })
    };
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        framing: framing(request.headers)?,
        expects_continue: modern
            && values(request.headers, "expect")
                .any(|value| value.eq_ignore_ascii_case("100-continue")),
        keep_alive: if modern {
            !has("close")
        } else {
            has("keep-alive") && !has("close")
        },
    };
    Ok(Some((head, length)))
}

fn values<'h>(
    fields: &'h [httparse::Header<'h>],
    name: &'h str,
) -> impl Iterator<Item = &'h str> + Clone {
    let named = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| {
        std::str::from_utf8(field.value)
            .unwrap_or("\u{fffd}")
            .trim()
    })
}

/// RFC 9112 6.3. Both fields, or either in doubt, are refused.
fn framing(fields: &[httparse::Header<'_>]) -> Result<Framing, StatusCode> {
    let mut lengths = values(fields, "content-length");
    let mut codings = values(fields, "transfer-encoding");
    match (
        lengths.next(),
        codings.next(),
        lengths.next(),
        codings.next(),
    ) {
        (None, None, ..) => Ok(Framing::Length(0)),
        (Some(length), None, None, _) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
            .parse()
            .map(Framing::Length)
            .map_err(|_| StatusCode::BAD_REQUEST),
        (None, Some(coding), _, None) if coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

async fn refuse(stream: &mut TcpStream, status: StatusCode) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing over unread bytes would take the refusal back; read a little of what is still coming.
    let mut rest = [0; 1024];
    let drained = async { while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {} };
    let _ = timeout(std::time::Duration::from_secs(1), drained).await;
    Ok(())
}

async fn write(
    stream: &mut TcpStream,
    response: Response<Payload>,
    head_only: bool,
    keep_alive: bool,
) -> io::Result<()> {
    let (parts, mut payload) = response.into_parts();
    let mut head = String::with_capacity(256);
    // Writing to a `String` cannot fail.
    let _ = write!(head, "HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    head.push_str(if keep_alive {
        "Connection: keep-alive\r\n\r\n"
    } else {
        "Connection: close\r\n\r\n"
    });
    let mut out = head.into_bytes();
    // The first piece leaves with the head.
    if let Some(piece) = payload.next_piece().filter(|_| !head_only) {
        out.extend_from_slice(&piece);
    }
    stream.write_all(&out).await?;
    if head_only {
        return Ok(());
    }
    while let Some(piece) = payload.next_piece() {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn refused(head: &str) -> StatusCode {
        parse(head.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("accepted {head:?}"))
    }

    #[test]
    fn request_is_read() {
        let text = b"POST /work?delay=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!(
            (head.path.as_str(), head.query.as_deref()),
            ("/work", Some("delay=1"))
        );
        assert_eq!(
            (head.framing, head.keep_alive, length),
            (Framing::Length(3), true, text.len() - 3)
        );
        assert!(parse(b"GET / HTTP/1.1\r\n").unwrap().is_none());
    }

    #[test]
    fn doubtful_framing_is_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: +1",
            "Content-Length: ",
            "Transfer-Encoding: gzip, chunked",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(refused(&head), StatusCode::BAD_REQUEST, "{fields}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(refused(&many), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
