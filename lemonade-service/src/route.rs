//! Which paths there are, and which methods each has.

/// What a path leads to. Each is there with and without `/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Health,
    Work,
    Chaos,
}

impl Route {
    /// None for a path that leads nowhere; a slash at its end is another path.
    pub(crate) fn find(path: &str) -> Option<Route> {
        match path.strip_prefix("/v1").unwrap_or(path) {
            "/health" => Some(Route::Health),
            "/work" => Some(Route::Work),
            "/chaos" => Some(Route::Chaos),
            _ => None,
        }
    }

    /// As in `Allow` (RFC 9110, section 10.2.1).
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Route::Health => "GET, HEAD",
            Route::Work => "GET, HEAD, POST",
            Route::Chaos => "GET, HEAD, PUT, DELETE",
        }
    }

    /// Methods are case-sensitive: `get` is none of ours.
    pub(crate) fn allows(self, method: &str) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        for (path, route) in [
            ("/health", Some(Route::Health)),
            ("/v1/work", Some(Route::Work)),
            ("/v1/chaos", Some(Route::Chaos)),
            ("/", None),
            ("/v1", None),
            ("/v1/v1/work", None),
            ("/v2/work", None),
            ("/work/", None),
            ("work", None),
        ] {
            assert_eq!(Route::find(path), route, "{path}");
        }
    }

    #[test]
    fn methods_are_matched_whole() {
        assert!(Route::Work.allows("POST"));
        for method in ["DELETE", "post", "POS", "GET, HEAD", ""] {
            assert!(!Route::Work.allows(method), "{method}");
        }
    }
}
