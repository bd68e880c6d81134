//! Whether a backend may be picked, and if not, why: its state with what brought it about, in words.

use super::time;
use crate::backend::{State, UNLIMITED};
use crate::config::Tier;
use crate::snapshot::{Member, Panic, Snapshot};
use std::time::Duration;

/// What there is to say of one backend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    /// A request may go there now.
    pub(crate) eligible: bool,
    /// Why not, or why all the same.
    pub(crate) why: Option<String>,
}

/// Of a member of `snapshot`; `in_pool`: it may be picked, `on_trial`: it takes single requests.
pub(super) fn eligibility(
    member: &Member,
    snapshot: &Snapshot,
    (in_pool, on_trial): (bool, bool),
    now: Duration,
) -> Standing {
    let load = &member.live.load;
    if in_pool && load.is_full() {
        let (in_flight, limit) = (load.in_flight(), load.limit());
        return out(format!("full: {in_flight} of {limit} in flight"));
    }
    let state = member.live.state.get();
    if in_pool {
        let why = (!state.is_usable()).then(|| all_the_same(member, snapshot, now));
        let eligible = true;
        return Standing { eligible, why };
    }
    if on_trial {
        let standing = standing(member, now).unwrap_or_default();
        return out(format!("on trial, by one request at a time; {standing}"));
    }
    if let Some(standing) = standing(member, now) {
        return out(standing);
    }
    out(match member.config.tier {
        Tier::Backup => "a backup, and enough primaries are usable".to_owned(),
        Tier::Primary => "its state has just changed".to_owned(),
    })
}

fn out(why: String) -> Standing {
    let (eligible, why) = (false, Some(why));
    Standing { eligible, why }
}

/// Why the state is none for requests; `None` if it is.
pub(crate) fn standing(member: &Member, now: Duration) -> Option<String> {
    let state = member.live.state.get();
    let cause = member.live.cause.of(state);
    let cause = cause.as_deref().map(|cause| cause.text.as_str());
    let because = |otherwise: &str| cause.unwrap_or(otherwise).to_owned();
    match state {
        State::Healthy | State::Degraded => None,
        State::Starting => Some("no health check has answered yet".to_owned()),
        State::Draining if member.config.drained => Some("drained by hand".to_owned()),
        State::Draining => Some("no longer configured: it finishes what it has".to_owned()),
        State::Unhealthy => Some(because("health checks fail")),
        State::Ejected => {
            let cause = because("requests failed there");
            let until = member.live.ejected_until();
            let left = until.map(|until| until.saturating_sub(now));
            Some(match left.filter(|left| !left.is_zero()) {
                Some(left) => {
                    format!("{cause}; for another {}", time(left.as_secs_f64()))
                }
                None => format!("{cause}; to be tried by single requests"),
            })
        }
    }
}

/// Why one that is not usable is in the pool.
fn all_the_same(member: &Member, snapshot: &Snapshot, now: Duration) -> String {
    let standing = standing(member, now).unwrap_or_default();
    match snapshot.panic {
        Some(Panic::FewUsable) => {
            format!("picked all the same, because too few are usable; {standing}")
        }
        Some(Panic::NoneTrusted) => {
            format!("picked all the same, because requests fail everywhere; {standing}")
        }
        None => format!("{standing}, and nothing better is known of the others"),
    }
}

/// Requests that it may have at once, if there is a limit.
pub(super) fn limit(member: &Member) -> Option<u32> {
    Some(member.live.load.limit()).filter(|limit| *limit != UNLIMITED)
}
