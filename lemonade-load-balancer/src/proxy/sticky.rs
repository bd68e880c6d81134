//! The cookie that keeps a client at the backend that answered it first (`sticky`), over whatever strategy picks.
//!
//! What a client shows is opened once, when its request is read; where it leads is looked up in the view of the moment, so a
//! client whose backend is full, ejected, draining or gone is picked for anew, and gets another cookie with the answer. A
//! value that we did not make, or that is too old, is as good as none. Where `sticky` is off nothing of this runs.

use super::claim::Slot;
use super::forward::Request;
use super::headers::Forwarding;
use super::shard::Shard;
use super::view::View;
use crate::affinity;
use crate::config::{SameSite, Secure, Sticky};
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::seal::Said;
use crate::snapshot::MOST_COOKIES;
use crate::stats::ShardStats;
use crate::timestamp::since_1970;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// What a request says about where its client was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    said: Option<Said>,
    /// The client came by HTTPS, as far as a trusted proxy says so.
    by_https: bool,
}

impl Shown {
    /// What the head's cookies of our name say: the first that is ours.
    pub(super) fn of(
        head: &RequestHead<'_>,
        forwarding: &Forwarding,
        view: &View,
        shard: &Shard,
    ) -> Self {
        let (Some(stickiness), Some(config)) = sticky_of(view) else {
            return Shown::default();
        };
        let values = affinity::cookies(head, &config.cookie);
        let mut values = values.take(MOST_COOKIES).peekable();
        let any = values.peek().is_some();
        let said = stickiness.said(values, || seconds(Duration::ZERO));
        if any && said.is_none() {
            ShardStats::count(&shard.stats.sticky_ignored);
        }
        let proto = head.field(Known::XForwardedProto);
        Shown {
            said,
            by_https: forwarding.peer.trusted
                && proto.is_some_and(|it| it.eq_ignore_ascii_case(b"https")),
        }
    }

    /// The place in the view's pool that the client was at, if it is there.
    pub(super) fn place(self, view: &View) -> Option<usize> {
        let stickiness = view.snapshot.stickiness.as_ref()?;
        stickiness.place(self.said?.backend)
    }
}

/// What is to be set with the answer of the slot's backend, if anything is: a cookie that names it. Allocates only then.
pub(super) fn cookie(
    request: &Request,
    slot: &Slot<'_>,
    view: &View,
    shard: &Shard,
) -> Option<Box<[u8]>> {
    let (Some(stickiness), Some(config)) = sticky_of(view) else {
        return None;
    };
    let Shown { said, by_https } = request.shown;
    let place = request.shown.place(view);
    let stays = place.is_some_and(|place| Rc::ptr_eq(&view.upstreams[place], &slot.upstream));
    if stays && !said.is_some_and(|said| is_half_over(said, config)) {
        return None;
    }
    if said.is_some() && !stays {
        ShardStats::count(&shard.stats.sticky_moved);
    }
    let until = match config.ttl.is_zero() {
        true => 0,
        false => seconds(config.ttl),
    };
    let value = stickiness.value(&slot.upstream.backend, until);
    Some(written(config, &value, by_https))
}

fn sticky_of(view: &View) -> (Option<&crate::snapshot::Stickiness>, Option<&Sticky>) {
    let snapshot = &view.snapshot;
    (
        snapshot.stickiness.as_ref(),
        snapshot.config.sticky.as_ref(),
    )
}

/// So that who keeps coming is not moved when the time is over.
fn is_half_over(said: Said, config: &Sticky) -> bool {
    said.until != 0 && !config.ttl.is_zero() && said.until < seconds(config.ttl / 2)
}

/// So much later than now, in seconds since 1970, which last until 2106.
fn seconds(later: Duration) -> u32 {
    let then = since_1970(SystemTime::now()) + later;
    u32::try_from(then.as_secs()).unwrap_or(u32::MAX)
}

/// RFC 6265 4.1.1.
fn written(config: &Sticky, value: &[u8], by_https: bool) -> Box<[u8]> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(config.cookie.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(config.path.as_bytes());
    if !config.ttl.is_zero() {
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "; Max-Age={}", config.ttl.as_secs());
    }
    let secure = match config.secure {
        Secure::Auto => by_https,
        Secure::Always => true,
        Secure::Never => false,
    };
    if secure {
        out.extend_from_slice(b"; Secure");
    }
    if config.http_only {
        out.extend_from_slice(b"; HttpOnly");
    }
    out.extend_from_slice(match config.same_site {
        SameSite::Strict => b"; SameSite=Strict".as_slice(),
        SameSite::Lax => b"; SameSite=Lax",
        SameSite::None => b"; SameSite=None",
    });
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(config: &Sticky, by_https: bool) -> String {
        String::from_utf8(written(config, b"v", by_https).into()).unwrap()
    }

    #[test]
    fn attributes_are_those_of_the_configuration() {
        let plain = Sticky::default();
        assert_eq!(
            text(&plain, false),
            "lemonade=v; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            text(&plain, true),
            "lemonade=v; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        let other = Sticky {
            cookie: "s".to_owned(),
            ttl: Duration::from_secs(90),
            secure: Secure::Always,
            same_site: SameSite::None,
            http_only: false,
            path: "/a".to_owned(),
            secret: None,
        };
        assert_eq!(
            text(&other, false),
            "s=v; Path=/a; Max-Age=90; Secure; SameSite=None"
        );
        let never = Sticky {
            secure: Secure::Never,
            same_site: SameSite::Strict,
            ..Sticky::default()
        };
        assert_eq!(
            text(&never, true),
            "lemonade=v; Path=/; HttpOnly; SameSite=Strict"
        );
    }

    #[test]
    fn cookie_is_renewed_when_half_of_its_time_is_over() {
        let config = Sticky {
            ttl: Duration::from_secs(100),
            ..Sticky::default()
        };
        let left = |left: u64| Said {
            backend: 1,
            until: seconds(Duration::from_secs(left)),
        };
        assert!(!is_half_over(left(60), &config));
        assert!(is_half_over(left(40), &config));
        let for_ever = Said {
            backend: 1,
            until: 0,
        };
        assert!(!is_half_over(for_ever, &config));
    }
}
