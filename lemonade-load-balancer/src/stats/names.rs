//! Every metric's name, once. Seconds, `_total` for counters, labels bounded: backend, status class, strategy.
//!
//! What begins with `process_` has the names and meanings that every Prometheus client gives it, so that dashboards for
//! any process show this one. docs/observability.md has a row for each name here; a test holds it to that.

/// Requests answered, by status class; 499 is a client that left.
pub const REQUESTS: &str = "lemonade_http_requests_total";
/// From a request's head to the last byte of its answer.
pub const REQUEST_DURATION: &str = "lemonade_http_request_duration_seconds";
/// Requests refused before a backend was chosen, by status.
pub const REFUSED: &str = "lemonade_http_requests_refused_total";
/// Client connections open.
pub const CONNECTIONS: &str = "lemonade_connections";
/// `limits.max_connections`.
pub const CONNECTIONS_LIMIT: &str = "lemonade_connections_limit";
/// Client connections accepted.
pub const CONNECTIONS_TOTAL: &str = "lemonade_connections_total";
/// Client connections turned away at `max_connections`.
pub const CONNECTIONS_TURNED_AWAY: &str = "lemonade_connections_turned_away_total";
/// Client connections turned away at `max_connections_per_client`.
pub const CONNECTIONS_OVER_CLIENT_LIMIT: &str = "lemonade_connections_over_client_limit_total";
/// Tasks, of a connection most often, that ended because the program has a fault.
pub const PANICS: &str = "lemonade_panics_total";
/// Answers of a backend, by status class.
pub const BACKEND_REQUESTS: &str = "lemonade_backend_requests_total";
/// From the request's sending to the first byte of the backend's answer.
pub const BACKEND_DURATION: &str = "lemonade_backend_request_duration_seconds";
/// Attempts for which no connection could be made.
pub const BACKEND_CONNECT_FAILURES: &str = "lemonade_backend_connect_failures_total";
/// Attempts that brought no usable answer.
pub const BACKEND_FAILURES: &str = "lemonade_backend_failures_total";
/// Attempts at this backend that failed and were made again, there or elsewhere.
pub const BACKEND_RETRIES: &str = "lemonade_backend_retries_total";
/// Connections opened to a backend.
pub const BACKEND_CONNECTIONS: &str = "lemonade_backend_connections_total";
/// Attempts that failed by the backend's fault: no connection, no usable answer, 5xx (but 501, 505, and 503 with `Retry-After`).
pub const BACKEND_FAULTS: &str = "lemonade_backend_faults_total";
/// How often a backend was ejected.
pub const BACKEND_EJECTIONS: &str = "lemonade_backend_ejections_total";
/// Requests that a backend takes at once; absent where there is no limit.
pub const BACKEND_LIMIT: &str = "lemonade_backend_in_flight_limit";
/// Requests in flight.
pub const BACKEND_IN_FLIGHT: &str = "lemonade_backend_in_flight";
/// 1 if the backend may be picked.
pub const BACKEND_UP: &str = "lemonade_backend_up";
/// 1 for the state that the backend is in.
pub const BACKEND_STATE: &str = "lemonade_backend_state";
/// The weight that strategies see.
pub const BACKEND_WEIGHT: &str = "lemonade_backend_weight_effective";
/// 1 if a source of backends besides the file can be asked.
pub const SOURCE_UP: &str = "lemonade_source_up";
/// Requests that wait for a backend with room.
pub const QUEUE_DEPTH: &str = "lemonade_queue_depth";
/// `limits.max_queued`.
pub const QUEUE_LIMIT: &str = "lemonade_queue_limit";
/// Requests that were answered 503 because no backend had room.
pub const OVERFLOW: &str = "lemonade_requests_shed_total";
/// Retries that the budget did not allow.
pub const RETRIES_REFUSED: &str = "lemonade_retry_budget_exhausted_total";
/// Requests that were sent twice.
pub const HEDGES: &str = "lemonade_hedges_total";
/// Those of them that the second copy answered.
pub const HEDGES_WON: &str = "lemonade_hedges_won_total";
/// Requests whose sticky cookie was not ours, or too old.
pub const STICKY_IGNORED: &str = "lemonade_sticky_cookies_ignored_total";
/// Attempts at another backend than the one that the request's sticky cookie names.
pub const STICKY_MOVED: &str = "lemonade_sticky_moves_total";
/// Sampled picks that were not kept: `engine.trace_sample` asks for more than 256 a second.
pub const PICKS_DROPPED: &str = "lemonade_pick_traces_dropped_total";
/// 1 while backends are picked that are not usable.
pub const PANIC: &str = "lemonade_panic_mode";
/// Switches of the strategy by the engine.
pub const DECISIONS: &str = "lemonade_decisions_total";
/// Switches that it did not make, by reason.
pub const DECISIONS_SUPPRESSED: &str = "lemonade_decisions_suppressed_total";
/// 1 for the strategy that picks.
pub const STRATEGY: &str = "lemonade_strategy_info";
/// 1, with the version as a label.
pub const BUILD: &str = "lemonade_build_info";
/// Access log lines dropped because the writer was behind or the disk full.
pub const ACCESS_LOG_DROPPED: &str = "lemonade_access_log_dropped_total";
/// Reloads, by result.
pub const RELOADS: &str = "lemonade_config_reloads_total";
/// 1 if the last reload was applied.
pub const LAST_RELOAD: &str = "lemonade_config_last_reload_success";
/// Pushes of traces, metrics and StatsD, by signal and result: `ok`, `partial`, `away` (to be tried again) or `refused`.
pub const TELEMETRY_EXPORTS: &str = "lemonade_telemetry_exports_total";
/// What reached no server, by signal: traces, readings of metrics, StatsD datagrams.
pub const TELEMETRY_DROPPED: &str = "lemonade_telemetry_dropped_total";
/// Spans, or data points, that a server left out of what it took, by signal.
pub const TELEMETRY_REJECTED: &str = "lemonade_telemetry_rejected_total";
/// Processor time of the process.
pub const PROCESS_CPU: &str = "process_cpu_seconds_total";
/// Its memory in RAM.
pub const PROCESS_MEMORY: &str = "process_resident_memory_bytes";
/// Its open descriptors.
pub const PROCESS_DESCRIPTORS: &str = "process_open_fds";
/// How many it may open.
pub const PROCESS_DESCRIPTORS_LIMIT: &str = "process_max_fds";
/// When it was started, since the Unix epoch.
pub const PROCESS_STARTED: &str = "process_start_time_seconds";
