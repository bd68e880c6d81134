//! Who may call: whoever has the token, where there is one; else programs on this machine, and no browser that another
//! site's page drives.
//!
//! A browser says with a changing call where its page came from (`Origin`, `Sec-Fetch-Site`); a page from elsewhere has no
//! business here. And a name that somebody else's DNS points at this machine (DNS rebinding) is not ours, so without a token
//! only addresses and `localhost` are accepted as `Host`.

use super::Admin;
use super::dashboard;
use super::listener::Peer;
use super::problem::Problem;
use crate::config::Secret;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// What anyone may ask besides the dashboard's files, which hold no data: orchestrators have no token, and learn one word.
const OPEN: [&str; 2] = ["/live", "/ready"];

pub(super) async fn guard(
    State(admin): State<Admin>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let config = admin.published.load().config.clone();
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    let path = request.uri().path();
    if !OPEN.contains(&path) && !dashboard::is_asset(path) {
        let admitted = admit(request.method(), request.headers(), peer, token);
        if let Err(problem) = admitted {
            return refuse(problem);
        }
    }
    next.run(request).await
}

fn refuse(problem: Problem) -> Response {
    let unauthorized = problem.status() == StatusCode::UNAUTHORIZED;
    let mut response = problem.into_response();
    if unauthorized {
        let scheme = HeaderValue::from_static("Bearer realm=\"lemonade\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

fn admit(
    method: &Method,
    headers: &HeaderMap,
    peer: SocketAddr,
    token: Option<&Secret>,
) -> Result<(), Problem> {
    let host = text(headers, header::HOST).unwrap_or_default();
    match token {
        Some(token) if shows(headers, token) => {}
        Some(_) => {
            let detail = match headers.contains_key(header::AUTHORIZATION) {
                true => "the token is not the right one",
                false => "a token is needed: `Authorization: Bearer …`",
            };
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        }
        // The listener may have been moved here from where others could call it, with their calls under way.
        None if is_local(host) && peer.ip().to_canonical().is_loopback() => {}
        None => {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "without a token, the admin API is called by address or as localhost",
            ));
        }
    }
    if method.is_safe() || is_of_our_own(headers, host) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "changing calls from another origin are refused",
    ))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 6750 2.1; the scheme's case does not matter (RFC 9110 11.1).
fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let given = text(headers, header::AUTHORIZATION).and_then(|given| given.split_once(' '));
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case("bearer") && token.is(given.trim().as_bytes())
    })
}

/// No browser sent it, or one that shows a page of ours.
fn is_of_our_own(headers: &HeaderMap, host: &str) -> bool {
    let elsewhere = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none");
    let origin = headers.get(header::ORIGIN);
    let same = |origin: &HeaderValue| {
        origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, origin)| origin == host)
    };
    !elsewhere && origin.is_none_or(same)
}

/// `localhost`, or an address: neither can be somebody else's name.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    fn status(method: &Method, pairs: &[(&'static str, &str)], token: Option<&Secret>) -> u16 {
        admit(method, &headers(pairs), ([127, 0, 0, 1], 1).into(), token)
            .map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_pages_may_change_things() {
        let put = |pairs: &[(&'static str, &str)]| status(&Method::PUT, pairs, None);
        let host = ("host", "127.0.0.1:50500");
        assert_eq!(put(&[host]), 200, "not a browser");
        assert_eq!(put(&[host, ("origin", "http://127.0.0.1:50500")]), 200);
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(put(&[host, (name, value)]), 403, "{name}: {value}");
            assert_eq!(status(&Method::GET, &[host, (name, value)], None), 200);
        }
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let get = |host: &str| status(&Method::GET, &[("host", host)], None);
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:1",
            "[::1]:1",
            "10.0.0.1",
        ] {
            assert_eq!(get(host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:50500",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert_eq!(get(host), 403, "{host}");
        }
    }

    #[test]
    fn without_a_token_others_stay_outside() {
        let headers = headers(&[("host", "10.0.0.1")]);
        let ask = |peer: [u8; 4]| admit(&Method::GET, &headers, (peer, 1).into(), None);
        assert!(ask([127, 0, 0, 2]).is_ok());
        assert!(ask([10, 0, 0, 2]).is_err());
    }

    #[test]
    fn token_opens_and_nothing_else_does() {
        let token = Secret::new("0123456789abcdef");
        let get = |value: &str| {
            let pairs = [("host", "lb.example"), ("authorization", value)];
            status(&Method::GET, &pairs, Some(&token))
        };
        assert_eq!(get("Bearer 0123456789abcdef"), 200);
        assert_eq!(get("bearer 0123456789abcdef"), 200);
        for value in [
            "Bearer 0123456789abcdeF",
            "Bearer ",
            "Basic 0123456789abcdef",
            "x",
        ] {
            assert_eq!(get(value), 401, "{value}");
        }
        assert_eq!(
            status(&Method::GET, &[("host", "localhost")], Some(&token)),
            401
        );
    }
}
