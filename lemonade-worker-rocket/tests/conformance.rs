//! The behaviours that every framework shows alike.

use lemonade_service::Framework;

lemonade_service::conformance!(Framework::Rocket, lemonade_worker_rocket::run);
