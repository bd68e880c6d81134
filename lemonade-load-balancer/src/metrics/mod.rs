//! Numbers for whoever watches: what the shards count, and how it is written out when it is scraped.
//!
//! Nothing is aggregated while requests run. Each shard adds to plain counters of its own; a scrape, on the admin's thread,
//! sums them. What happens rarely (a reload) goes through the `metrics` crate.

pub mod names;
mod scrape;
mod stats;

pub(crate) use scrape::{Sources, describe, reloaded, scrape};
pub(crate) use stats::RequestStats;
