//! The behaviours that every framework shows alike.

use lemonade_service::Framework;

lemonade_service::conformance!(Framework::Actix, lemonade_worker_actix::run);
