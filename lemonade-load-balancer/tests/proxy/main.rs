//! The balancer between scripted origins and raw clients: what a client sees, what a backend gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balancer;
mod bodies;
mod connections;
mod failures;
mod forwarding;
mod operation;
mod strictness;
