//! Numbers for whoever watches: one reading, in three languages.
//!
//! Nothing is aggregated while requests run. Each shard adds to plain counters of its own ([`crate::stats`]); [`scrape`] sums
//! them, with the levels of the moment, on the thread of who asks. What happens rarely (a reload) goes through the `metrics`
//! crate, and is read from there. [`prometheus`] writes a reading as text, [`otlp`] as OpenTelemetry has it, [`statsd`] as
//! lines.

mod family;
pub(crate) mod otlp;
mod process;
pub(crate) mod prometheus;
mod recorded;
mod scrape;
pub(crate) mod statsd;

pub(crate) use family::{BOUNDS, Family, Kind, Sample, Text, Times, Value};
pub(crate) use scrape::{Sources, scrape};
