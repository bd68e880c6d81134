//! Removed backends, until their last requests have ended.

use super::super::events::What;
use super::Task;
use crate::backend::Backend;
use std::sync::Arc;
use tokio::time::Instant;

/// A removed backend whose last requests are still in flight.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) backend: Arc<Backend>,
    /// When what is left is cut off.
    pub(super) until: Instant,
    /// Requests that were in flight then.
    pub(super) cut: Option<u32>,
}

impl Task {
    /// Lets go of removed backends: of each when its last request has ended, or has had its time.
    pub(super) fn see_off(&mut self, now: Instant) {
        let gone: Vec<Leaving> = self
            .leaving
            .extract_if(.., |leaving| leaving.backend.load.in_flight() == 0)
            .collect();
        for leaving in &gone {
            let (id, cut) = (&leaving.backend.id, leaving.cut.unwrap_or(0));
            self.own.registry.remove(id);
            tracing::info!(backend = %id, cut, "drained");
            self.own.events.record(What::Drained {
                backend: id.to_string(),
                cut,
            });
        }
        let mut lapsed = gone.iter().any(|leaving| leaving.cut.is_some());
        for leaving in &mut self.leaving {
            if leaving.until <= now && leaving.cut.is_none() {
                leaving.cut = Some(leaving.backend.load.in_flight());
                lapsed = true;
            }
        }
        if lapsed {
            let mut parts = self.own.publisher.load().parts();
            parts.lapsed = self.lapsed();
            self.publish(parts);
        }
    }

    /// Removed backends whose requests have had their time.
    pub(super) fn lapsed(&self) -> Arc<[Arc<Backend>]> {
        let lapsed = self.leaving.iter().filter(|leaving| leaving.cut.is_some());
        lapsed.map(|leaving| leaving.backend.clone()).collect()
    }
}
