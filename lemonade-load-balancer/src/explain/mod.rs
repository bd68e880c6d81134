//! Who would get a request, and why: all that a pick goes by, in words, and the same of a sample of real picks.
//!
//! A dry run on a snapshot. Pure: the request as somebody describes it and the moment are arguments, and asking changes
//! nothing, so that whoever asks a thousand times sees the same. The admin API asks and writes down what it is told; the shards
//! draft what they saw of a sampled pick, and the control task keeps it.

mod asked;
mod eligibility;
mod picks;
mod reason;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use asked::{Asked, Unclear};
pub(crate) use eligibility::standing;
pub(crate) use picks::{Pick, Sketch};
pub(crate) use report::{Moment, Report, report};

/// A time as people say it.
fn time(seconds: f64) -> String {
    match seconds < 1.0 {
        true => format!("{:.1} ms", seconds * 1e3),
        false => format!("{seconds:.1} s"),
    }
}

/// A chance as people say it.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
