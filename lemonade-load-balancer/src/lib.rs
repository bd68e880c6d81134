#![doc = include_str!("../README.md")]
//!
//! # A request's path
//!
//! 1. The kernel hands a connection to one shard's listener (`proxy::shard`).
//! 2. `proxy::downstream` waits for a head, checks every byte of it (`http1`) and rewrites it (`proxy::headers`).
//! 3. `proxy::forward` takes the shard's view of the published [`snapshot`] and asks its [`strategy`] for a backend.
//! 4. A guard counts the request as in flight on that [`backend`].
//! 5. `proxy::upstream` lends an idle connection or opens one; if it cannot, the next backend is tried (`proxy::retry`).
//! 6. `proxy::exchange` sends the request and reads the answer's head, both in the same task.
//! 7. The answer is rewritten and relayed (`proxy::relay`), with backpressure and without copying what is large.
//! 8. The connection goes back to the pool, the guard drops, two counters go up.
//! 9. Every failure on the way becomes a status in `proxy::reply`.
//!
//! # The modules
//!
//! Imports point down only; services never import each other. `tests/architecture.rs` holds that rule.

pub mod app;
pub mod backend;
pub mod concurrency;
pub mod config;
pub mod config_watch;
pub mod control;
pub mod decision;
pub mod descriptors;
pub mod discovery;
pub mod drain;
pub mod listen;
pub mod outlier;
pub mod simulated;
pub mod snapshot;
pub mod stats;
pub mod strategy;

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;

mod access_log;
mod admin;
mod affinity;
mod digits;
mod explain;
mod external;
mod guard;
mod health;
mod history;
mod http1;
mod log_file;
mod metrics;
mod otlp;
mod proxy;
mod seal;
mod telemetry;
mod timestamp;
mod traces;
