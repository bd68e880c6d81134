//! What clients, operators and backends of the balancer meet: the whole of it, in this process, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_log;
mod admin;
mod affinity;
mod answers;
mod apart;
mod backpressure;
mod balancer;
mod bodies;
mod connections;
mod drain;
mod engine;
mod equivalence;
mod explain;
mod forwarding;
mod framing;
mod grpc;
mod headers;
mod health;
mod hedging;
mod history;
mod hops;
mod hostile;
mod interim;
mod least_delay;
mod limits;
mod moves;
mod observability;
mod outlier;
mod overload;
mod reload;
mod retries;
mod server_timing;
mod telemetry;
mod timeouts;
mod tracing;
mod upgrade;
