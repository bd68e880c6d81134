//! Numbers for whoever watches: what the shards count, written out when it is scraped.
//!
//! Nothing is aggregated while requests run. Each shard adds to plain counters of its own ([`crate::stats`]); a scrape, on
//! the admin's thread, sums them. What happens rarely (a reload) goes through the `metrics` crate.

mod scrape;

pub(crate) use scrape::{Sources, scrape};
