//! The behaviours that every framework shows alike.

use lemonade_service::Framework;

lemonade_service::conformance!(Framework::Axum, lemonade_worker_axum::run);
