//! What would become of one request: who would get it, why, and what speaks for or against every backend.

use super::asked::{Asked, Unclear};
use super::eligibility::{Standing, eligibility, limit};
use super::percent;
use super::reason::{Candidate, reason, score};
use crate::affinity::{Recognised, cookies};
use crate::backend::{Backend, FULL_SHARE, State};
use crate::config::{Key, Tier};
use crate::http1::framing::Framing;
use crate::http1::request::RequestHead;
use crate::snapshot::{MOST_COOKIES, Member, Panic, Snapshot};
use crate::strategy::{Choice, Explanation, Name, PickContext, Term};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Chances that are named where nobody is sure to be picked.
const MOST_NAMED: usize = 3;

/// When it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the process began.
    pub(crate) now: Duration,
    /// Seconds since 1970, for sticky cookies.
    pub(crate) today: u32,
    /// Requests that wait for a backend with room.
    pub(crate) queued: u32,
}

/// Who would get a request, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Report {
    /// The strategy that was asked for.
    #[schema(value_type = String)]
    strategy: Name,
    /// The one that picks: another only under `adaptive`.
    #[schema(value_type = String)]
    picks_by: Name,
    /// How that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    /// What the request is recognised by, where the strategy goes by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What its sticky cookie says; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<String>,
    /// Why backends are picked that are not usable, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    panic: Option<&'static str>,
    /// Ejected backends that would take such a request first, to show that they are well again.
    trials: Vec<String>,
    /// Requests that wait for a backend with room.
    queued: u32,
    /// Who would get it; absent where that is a matter of chance, or nobody would.
    #[serde(skip_serializing_if = "Option::is_none")]
    picked: Option<String>,
    /// Why.
    why: String,
    /// Every backend: those that may be picked first, the best of them at the front.
    backends: Vec<BackendReport>,
}

/// What speaks for one backend, or against it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct BackendReport {
    /// For people.
    name: String,
    /// `host:port`: who it is.
    address: String,
    /// `starting`, `healthy`, `degraded`, `unhealthy`, `ejected` or `draining`.
    #[schema(value_type = String)]
    state: State,
    /// `primary`, or `backup`.
    #[schema(value_type = String)]
    tier: Tier,
    /// The strategy may pick it, and it has room.
    eligible: bool,
    /// Why not; or why all the same, though its state speaks against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// It would get the request.
    picked: bool,
    /// Requests sent to it whose answer has not ended.
    in_flight: u32,
    /// Requests that it takes at once; absent where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    /// Its weight as far as that counts now: less in a slow start, or while it is degraded.
    effective_weight: f64,
    /// What the strategy goes by; units are in the names.
    #[schema(value_type = Vec<Term>)]
    terms: Vec<Term>,
    /// What backends are compared by, the lowest being the best; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// Its place by that, or by chance; 1 is the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    /// The chance that the strategy picks it, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    chance: Option<f64>,
}

/// What matters of the request.
struct Request {
    recognised: Option<(String, u64)>,
    sticky: Sticky,
    /// If it fails, another backend can serve it.
    repeatable: bool,
}

/// What its sticky cookie says.
#[derive(Default)]
struct Sticky {
    words: Option<String>,
    /// Where in the pool it leads.
    place: Option<usize>,
}

/// Where it would go.
struct Outcome {
    /// A place among the members.
    picked: Option<usize>,
    why: String,
}

/// Explains one request.
pub(crate) fn report(
    snapshot: &Snapshot,
    asked: &Asked,
    moment: &Moment,
) -> Result<Report, Unclear> {
    let config = &snapshot.config;
    let request = asked.read(config, |head, peer| Request {
        recognised: snapshot.key().map(|by| {
            let recognised = Recognised::of(head, by, peer, &config.headers);
            (origin(by, recognised), recognised.key())
        }),
        sticky: sticky(snapshot, head, moment.today),
        repeatable: head.is_idempotent()
            && matches!(head.framing, Framing::Empty | Framing::Length(_))
            && config.retries.attempts > 0,
    })?;
    let key = request.recognised.as_ref().map(|(_, key)| *key);
    let dry_run = DryRun::new(snapshot, key, moment.now);
    let trials: Vec<&Arc<Backend>> = snapshot
        .trials
        .iter()
        .filter(|backend| backend.trial.would_take(request.repeatable) && !backend.load.is_full())
        .collect();
    let outcome = dry_run.outcome(&request, trials.first().copied(), moment.queued);
    Ok(Report {
        strategy: snapshot.strategy_name,
        picks_by: snapshot.picks_by,
        rule: dry_run.explained.as_ref().map(|explained| explained.rule),
        trials: trials.iter().map(|it| snapshot.name_of(it)).collect(),
        panic: snapshot.panic.map(Panic::as_str),
        queued: moment.queued,
        picked: outcome.picked.map(|place| dry_run.name(place).to_owned()),
        backends: dry_run.backends(outcome.picked, moment.now),
        why: outcome.why,
        key: request.recognised.map(|(origin, _)| origin),
        sticky: request.sticky.words,
    })
}

/// Where a key comes from.
fn origin(by: &Key, recognised: Recognised<'_>) -> String {
    let wanted = match by {
        Key::Client => None,
        Key::Path => Some("the path".to_owned()),
        Key::Header(name) => Some(format!("header {name}")),
        Key::Cookie(name) => Some(format!("cookie {name}")),
    };
    match (wanted, recognised) {
        (Some(wanted), Recognised::Said(_)) => wanted,
        (Some(wanted), Recognised::Client(address)) => {
            format!("client address {address}, because the request has no {wanted}")
        }
        (None, Recognised::Client(address)) => format!("client address {address}"),
        (None, Recognised::Said(_)) => "the request".to_owned(),
    }
}

fn sticky(snapshot: &Snapshot, head: &RequestHead<'_>, today: u32) -> Sticky {
    let (Some(config), Some(stickiness)) = (&snapshot.config.sticky, &snapshot.stickiness) else {
        return Sticky::default();
    };
    let name = &config.cookie;
    let mut values = cookies(head, name).take(MOST_COOKIES).peekable();
    let any = values.peek().is_some();
    let said = stickiness.said(values, || today);
    let place = said.and_then(|said| stickiness.place(said.backend));
    let words = match (any, said, place) {
        (_, _, Some(place)) => {
            let backend = &snapshot.pool.backends()[place];
            format!("cookie {name} names {}", snapshot.name_of(backend))
        }
        (_, Some(_), None) => format!("cookie {name} names a backend that may not be picked now"),
        (true, None, _) => format!("cookie {name} is not ours, or too old: ignored"),
        (false, None, _) => format!("no cookie {name}: its answer will bring one"),
    };
    Sticky {
        words: Some(words),
        place,
    }
}

/// The strategy's view, with where the pool's backends are among the members.
struct DryRun<'s> {
    snapshot: &'s Snapshot,
    /// `None`: there is nobody to pick.
    explained: Option<Explanation>,
    /// By place in the pool.
    members: Vec<usize>,
    /// By place among the members.
    places: HashMap<usize, usize>,
}

impl<'s> DryRun<'s> {
    fn new(snapshot: &'s Snapshot, key: Option<u64>, now: Duration) -> Self {
        let pool = snapshot.pool.backends().iter();
        let members: Vec<usize> = pool
            .filter_map(|backend| snapshot.place_of(&backend.id))
            .collect();
        // Nothing is drawn in a dry run.
        let mut rng = fastrand::Rng::with_seed(0);
        let rng = &mut rng;
        let context = PickContext { now, rng, key };
        let explain = || snapshot.strategy.explain(&snapshot.pool, &context);
        DryRun {
            snapshot,
            explained: (!snapshot.pool.is_empty()).then(explain),
            places: members.iter().enumerate().map(|(a, b)| (*b, a)).collect(),
            members,
        }
    }

    fn name(&self, member: usize) -> &'s str {
        &self.snapshot.members[member].config.name
    }

    /// In the order of the proxy's own: sticky cookie, trials, strategy, whoever has room.
    fn outcome(&self, request: &Request, trial: Option<&Arc<Backend>>, queued: u32) -> Outcome {
        let has_room = |place: usize| !self.snapshot.pool.backends()[place].load.is_full();
        let at = |place: usize, why: String| Outcome {
            picked: self.members.get(place).copied(),
            why,
        };
        let nobody = |why: String| Outcome { picked: None, why };
        if let Some(place) = request.sticky.place.filter(|place| has_room(*place))
            && queued == 0
        {
            return at(place, "its sticky cookie leads there".to_owned());
        }
        if let Some(trial) = trial {
            return Outcome {
                picked: self.snapshot.place_of(&trial.id),
                why: "it is ejected, and this request would be its trial".to_owned(),
            };
        }
        let Some(explained) = &self.explained else {
            return nobody("no backend may be picked: 503".to_owned());
        };
        if queued > 0 {
            return nobody(format!("it would queue behind {queued} that wait for room"));
        }
        let size = self.snapshot.pool.len();
        let picked = match &explained.choice {
            Choice::This(place) => *place,
            Choice::Chances(chances) => match chances.iter().position(|chance| *chance > 0.999) {
                Some(place) => place,
                None if (0..size).any(has_room) => return nobody(self.chances(chances)),
                None => 0,
            },
        };
        if has_room(picked) {
            return at(picked, self.reason(explained, picked));
        }
        let full = self.name(self.members.get(picked).copied().unwrap_or_default());
        let mut others = (picked + 1..size).chain(0..picked);
        match others.find(|place| has_room(*place)) {
            Some(place) => at(
                place,
                format!("{full} is picked, but full; next along with room"),
            ),
            None => nobody("every backend is full: it would queue for room".to_owned()),
        }
    }

    fn reason(&self, explained: &Explanation, picked: usize) -> String {
        let terms = self.members.iter().zip(&explained.terms);
        let candidates: Vec<Candidate<'_>> = terms
            .map(|(member, terms)| Candidate {
                name: self.name(*member),
                terms,
            })
            .collect();
        reason(
            self.snapshot.picks_by,
            &candidates,
            picked,
            candidates.len(),
        )
    }

    /// The likeliest by name.
    fn chances(&self, chances: &[f64]) -> String {
        let mut likely: Vec<(usize, f64)> = chances.iter().copied().enumerate().collect();
        likely.sort_by(|one, other| other.1.total_cmp(&one.1));
        let named = likely.iter().take(MOST_NAMED).map(|(place, chance)| {
            let member = self.members.get(*place).copied().unwrap_or_default();
            format!("{} with {}", self.name(member), percent(*chance))
        });
        let named: Vec<String> = named.collect();
        let more = match likely.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("a matter of chance: {}{more}", named.join(", "))
    }

    /// The place of each of the pool, 1 being the best.
    fn ranks(&self) -> Vec<usize> {
        let Some(explained) = &self.explained else {
            return Vec::new();
        };
        let worth = |place: usize| match score(&explained.terms[place]) {
            Some(score) => score,
            None => -explained.choice.chance(place),
        };
        let mut order: Vec<usize> = (0..explained.terms.len()).collect();
        order.sort_by(|one, other| worth(*one).total_cmp(&worth(*other)));
        let mut ranks = vec![0; order.len()];
        for (rank, place) in order.into_iter().enumerate() {
            ranks[place] = rank + 1;
        }
        ranks
    }

    fn backends(&self, picked: Option<usize>, now: Duration) -> Vec<BackendReport> {
        let ranks = self.ranks();
        let of = |(place, member): (usize, &Member)| {
            let in_pool = self.places.get(&place).copied();
            let rank = in_pool.and_then(|place| ranks.get(place).copied());
            BackendReport {
                picked: picked == Some(place),
                rank,
                ..self.backend(member, in_pool, now)
            }
        };
        let members = self.snapshot.members.iter().enumerate();
        let mut backends: Vec<BackendReport> = members.map(of).collect();
        backends.sort_by_key(|backend| backend.rank.unwrap_or(usize::MAX));
        backends
    }

    fn backend(&self, member: &Member, in_pool: Option<usize>, now: Duration) -> BackendReport {
        let mut trials = self.snapshot.trials.iter();
        let on_trial = trials.any(|backend| Arc::ptr_eq(backend, &member.live));
        let ways = (in_pool.is_some(), on_trial);
        let Standing { eligible, why } = eligibility(member, self.snapshot, ways, now);
        let explained = self.explained.as_ref().zip(in_pool);
        let terms = explained.and_then(|(explained, place)| explained.terms.get(place));
        let terms = terms.cloned().unwrap_or_default();
        BackendReport {
            name: member.config.name.clone(),
            address: member.live.id.to_string(),
            state: member.live.state.get(),
            tier: member.config.tier,
            eligible,
            why,
            picked: false,
            in_flight: member.live.load.in_flight(),
            max_in_flight: limit(member),
            effective_weight: f64::from(member.config.weight * member.live.share())
                / f64::from(FULL_SHARE),
            score: score(&terms),
            terms,
            rank: None,
            chance: explained.map(|(explained, place)| explained.choice.chance(place)),
        }
    }
}
