//! The dashboard at the admin listener's `/`: a page, a style sheet and a few modules, in the binary as they lie in this folder.
//!
//! The files are open to whoever can connect: they hold no data, and the page needs the API, and its token, for all that it
//! shows. [`offline`] makes one file of them, with the data inside.

mod assets;
mod offline;

pub(super) use offline::page as offline_page;

use super::Admin;
use assets::{ALL, Asset};
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing is loaded from elsewhere, nothing inline is run or applied, nobody frames the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every file is sent with.
const FIELDS: [(&str, &str); 5] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// This is the path of a file of the dashboard.
pub(super) fn is_asset(path: &str) -> bool {
    ALL.iter().any(|asset| asset.path == path)
}

pub(super) fn routes() -> Router<Admin> {
    ALL.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset);
        let serve = move |headers: HeaderMap| std::future::ready(answer(asset, &tag, &headers));
        router.route(asset.path, get(serve))
    })
}

/// Another program, another tag: a browser asks each time and is sent what has changed.
fn tag(asset: &Asset) -> HeaderValue {
    let key = crate::strategy::key(asset.text.as_bytes());
    // Hexadecimal digits in quotes are always a field's value.
    HeaderValue::try_from(format!("\"{key:016x}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn answer(asset: &Asset, tag: &HeaderValue, asked: &HeaderMap) -> Response {
    let mut response = match has(asked, tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, asset.kind)], asset.text).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// RFC 9110 13.1.2: a list of tags, compared weakly; `*` is any.
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.any(|given| {
        let given = given.trim();
        given == "*" || given.trim_start_matches("W/") == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(tag: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.parse().unwrap())])
    }

    #[test]
    fn file_that_the_browser_has_is_not_sent_again() {
        let asset = &ALL[0];
        let tag = tag(asset);
        let text = tag.to_str().unwrap().to_owned();
        for (given, status) in [
            (text.clone(), 304),
            (format!("\"x\", W/{text}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let response = answer(asset, &tag, &asking(&given));
            assert_eq!(response.status(), status, "{given}");
            assert_eq!(response.headers()[header::ETAG], tag);
            assert_eq!(response.headers()["content-security-policy"], POLICY);
        }
    }
}
