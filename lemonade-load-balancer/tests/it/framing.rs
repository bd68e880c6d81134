//! Requests that two readers could read differently are refused before anyone acts on them.

use crate::balancer::balancer;
use lemonade_test::Origin;

/// What one origin sees of requests that are all refused.
async fn refused(status: u16, requests: &[&[u8]]) {
    let origin = Origin::named("seen").await;
    let balancer = balancer(&[&origin]);
    for request in requests {
        let shown = request.escape_ascii();
        let mut client = balancer.client().await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), status, "{shown}");
        assert_eq!(answer.field("connection"), Some("close"), "{shown}");
        assert!(answer.has("proxy-status"), "{shown}");
        assert!(client.rest().await.is_empty(), "{shown}");
    }
    let bytes: usize = origin.bytes().iter().map(Vec::len).sum();
    assert_eq!(bytes, 0, "the backend saw {:?}", origin.requests());
}

#[tokio::test]
async fn requests_of_two_lengths_are_refused_unseen() {
    refused(
        400,
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 0\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        ],
    )
    .await;
}

#[tokio::test]
async fn transfer_codings_other_than_plain_chunked_are_refused_unseen() {
    let spellings: [&str; 14] = [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "gzip",
        "identity",
        "chunked,",
        ", chunked",
        "chunked;x=y",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "",
        "\x0bchunked",
    ];
    let requests: Vec<Vec<u8>> = spellings
        .iter()
        .map(|coding| {
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n")
        })
        .chain([
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ])
        .map(String::into_bytes)
        .collect();
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    refused(400, &requests).await;
}

#[tokio::test]
async fn heads_that_parsers_disagree_on_are_refused_unseen() {
    refused(
        400,
        &[
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
            b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\tb HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn requests_without_exactly_one_valid_host_are_refused_unseen() {
    refused(
        400,
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\n\r\n",
            b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn other_protocols_are_refused_unseen() {
    refused(
        505,
        &[
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
    refused(
        501,
        &[
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    .await;
}

#[tokio::test]
async fn bad_chunks_are_refused_before_they_reach_a_backend() {
    let bodies: [&str; 13] = [
        "g\r\n",
        "-1\r\nx\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "\r\n5\r\nhello\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;\0\r\nhello\r\n",
        "ffffffffffffffff5\r\nhello\r\n",
        "0\r\nbad trailer\r\n\r\n",
    ];
    let requests: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| {
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
                .into_bytes()
        })
        .collect();
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    refused(400, &requests).await;
}

#[tokio::test]
async fn chunked_body_that_goes_bad_on_its_way_is_never_whole_at_the_backend() {
    let origin = Origin::named("seen").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    lemonade_test::until("the backend is asked", || origin.connections() == 1).await;
    client.send("none\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 400);
    lemonade_test::until("the backend is let go", || origin.open() == 0).await;
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn absolute_form_replaces_the_host() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let answer = balancer
        .ask("GET http://real:81/path?q HTTP/1.1\r\nHost: other\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 200);
    balancer
        .ask("GET HTTP://real HTTP/1.1\r\nHost: other\r\n\r\n")
        .await;
    let requests = origin.requests();
    assert_eq!(requests[0].start, "GET /path?q HTTP/1.1");
    assert_eq!(requests[0].all("host").collect::<Vec<_>>(), ["real:81"]);
    assert_eq!(requests[0].field("x-forwarded-host"), Some("real:81"));
    assert_eq!(requests[1].start, "GET / HTTP/1.1");
    assert_eq!(requests[1].all("host").collect::<Vec<_>>(), ["real"]);
}

#[tokio::test]
async fn asterisk_form_of_options_passes() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    balancer.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // RFC 9112 3.2.4: what an absolute-form without a path becomes at the last proxy.
    balancer
        .ask("OPTIONS http://a:81 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    for request in origin.requests() {
        assert_eq!(request.start, "OPTIONS * HTTP/1.1");
    }
}

#[tokio::test]
async fn refused_request_does_not_hide_a_second_one() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.get("/").await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 400);
    assert!(client.rest().await.is_empty());
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn refusal_of_a_head_request_has_no_body() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("HEAD / HTTP/1.1\r\nBad Name: 1\r\n\r\n").await;
    assert_eq!(client.answer_to_head().await.status(), 400);
    client.closed().await;
}
