//! What the operator would read in the log: warnings and errors, kept for those who ask.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on warnings are kept; all that is said goes to standard error if `LEMONADE_CHAOS_LOG` is set.
pub(crate) fn keep() {
    let log = std::env::var_os("LEMONADE_CHAOS_LOG").is_some();
    // Fails only if somebody else listens already, which nobody does here.
    let _ = tracing::subscriber::set_global_default(Keeper { log });
}

/// How many of them hold this text.
pub(crate) fn count(text: &str) -> usize {
    all().iter().filter(|line| line.contains(text)).count()
}

pub(crate) fn all() -> Vec<String> {
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.clone()
}

struct Keeper {
    log: bool,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = if self.log { Level::DEBUG } else { Level::WARN };
        *metadata.level() <= level && metadata.target().starts_with("lemonade")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        if self.log {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            eprintln!("{:.3} {}", now.unwrap_or_default().as_secs_f64(), line.0);
        }
        if *event.metadata().level() <= Level::WARN {
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(line.0);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
