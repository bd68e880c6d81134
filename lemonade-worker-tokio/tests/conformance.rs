//! The behaviours that every framework shows alike.

use lemonade_service::Framework;

lemonade_service::conformance!(Framework::Tokio, lemonade_worker_tokio::run);
