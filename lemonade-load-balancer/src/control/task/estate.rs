//! What the next process gets.

use super::super::Estate;
use super::super::handover::{FoundBackend, Handover, Learned};
use super::Task;
use crate::listen::Listeners;
use std::io;

impl Task {
    pub(super) fn hand_over(&self) -> io::Result<Estate> {
        let present = self.own.publisher.load();
        let now = self.own.now();
        let (overlay, found) = self.own.membership.hand_over();
        let members = present.members.iter();
        let handover = Handover {
            overlay,
            strategy_for: self.own.steering.left(now).map(|left| left.as_secs_f64()),
            cursor: self.own.cursor.place(),
            learned: members
                .map(|member| Learned::of(&member.live, now))
                .collect(),
            found: found.iter().map(FoundBackend::of).collect(),
            sticky_key: present.carried().key,
        };
        let listeners = self.own.listeners.as_ref();
        let sockets = listeners.map(Listeners::share).transpose()?;
        Ok(Estate {
            handover,
            sockets: sockets.unwrap_or_default(),
            held: listeners.is_some_and(Listeners::are_held),
        })
    }
}
