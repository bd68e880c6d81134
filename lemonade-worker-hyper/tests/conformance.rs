//! The behaviours that every framework shows alike.

use lemonade_service::Framework;

lemonade_service::conformance!(Framework::Hyper, lemonade_worker_hyper::run);
