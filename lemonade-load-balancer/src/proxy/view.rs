//! What a shard sees of the published snapshot, with its own way to each backend.

use super::shard::Shard;
use super::upstream::Upstream;
use crate::backend::{Backend, State};
use crate::config::{Limits, Timeouts};
use crate::http1::HeadLimits;
use crate::snapshot::{Member, Snapshot};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A snapshot with this shard's way to each backend of its pool, in the same order, and after them to those on trial.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstreams: Box<[Rc<Upstream>]>,
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        HeadLimits {
            bytes: limits.header_bytes,
            fields: limits.header_fields,
            target: limits.uri_bytes,
        }
    }
}

/// The ways to `wanted`, which are in the order of `upstreams`.
fn these<'u>(
    upstreams: &'u [Rc<Upstream>],
    wanted: &'u [Arc<Backend>],
) -> impl Iterator<Item = Rc<Upstream>> + 'u {
    let mut upstreams = upstreams.iter();
    wanted.iter().filter_map(move |backend| {
        upstreams
            .find(|upstream| Arc::ptr_eq(&upstream.backend, backend))
            .cloned()
    })
}

impl View {
    /// Some backend may take another request.
    pub(super) fn has_room(&self) -> bool {
        let mut pool = self.snapshot.pool.backends().iter();
        pool.any(|backend| !backend.load.is_full())
    }

    pub(super) fn limits(&self) -> (Timeouts, HeadLimits) {
        (
            self.snapshot.config.timeouts,
            HeadLimits::from(&self.snapshot.config.limits),
        )
    }
}

impl Shard {
    /// Takes over a new snapshot, keeping the idle connections to every backend that stays. Costs a few microseconds for
    /// 1,000 backends of which most stay in their places: requests wait for it.
    pub(super) fn renew_view(&self, snapshot: Arc<Snapshot>) {
        let old = self.upstreams.take();
        let serves = |upstream: &&Rc<Upstream>, member: &Member| {
            upstream.endpoint == member.config.endpoint
                && Arc::ptr_eq(&upstream.backend, &member.live)
        };
        let elsewhere: OnceCell<HashMap<*const Backend, &Rc<Upstream>>> = OnceCell::new();
        let find_elsewhere = |member: &Member| {
            let by_backend = elsewhere.get_or_init(|| {
                let backends = old.iter();
                backends
                    .map(|upstream| (Arc::as_ptr(&upstream.backend), upstream))
                    .collect()
            });
            by_backend.get(&Arc::as_ptr(&member.live)).copied()
        };
        let upstream = |(place, member): (usize, &Member)| {
            let same_place = old.get(place).filter(|upstream| serves(upstream, member));
            let kept = same_place
                .or_else(|| find_elsewhere(member).filter(|upstream| serves(upstream, member)));
            let open = || Upstream::new(member.live.clone(), member.config.endpoint, self.index);
            let upstream = kept.cloned().unwrap_or_else(|| Rc::new(open()));
            upstream.rename(&member.config.name);
            if matches!(member.live.state.get(), State::Unhealthy | State::Ejected) {
                upstream.clear();
            }
            upstream
        };
        let upstreams: Vec<_> = snapshot.members.iter().enumerate().map(upstream).collect();
        // Both have some of the members, in their order.
        let in_pool = these(&upstreams, snapshot.pool.backends());
        let on_trial = these(&upstreams, &snapshot.trials);
        let ways = in_pool.chain(on_trial).collect();
        self.upstreams.replace(upstreams);
        self.sampling.adopt(snapshot.config.engine.trace_sample);
        *self.view.borrow_mut() = Rc::new(View {
            snapshot,
            upstreams: ways,
        });
    }
}
