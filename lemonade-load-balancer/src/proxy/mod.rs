//! The proxy service: the request's story, from a client's socket to a backend's and back.
//!
//! [`shard`] is one core; [`accept`] its way in; [`downstream`] one client connection; [`forward`] one request; `exchange` one request on one
//! backend connection; `relay` one message on its way. Nothing here takes a lock, sends on a channel or wakes another thread
//! while requests succeed; what fails is reported to the control task.

mod accept;
mod access_log;
mod admission;
mod asked;
mod budget;
mod buffer;
mod claim;
mod deadline;
mod downstream;
mod exchange;
mod forward;
pub(crate) mod headers;
mod hedge;
mod hops;
mod journal;
mod pace;
mod queue;
mod record;
mod relay;
mod reply;
mod retry;
mod sampling;
mod scarcity;
pub(crate) mod server_timing;
mod shard;
mod sticky;
mod tracing;
mod upstream;
mod view;

pub(crate) use admission::Admission;
pub(crate) use shard::{Shared, run};
