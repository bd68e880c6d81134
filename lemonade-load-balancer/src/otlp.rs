//! Times and attributes as OpenTelemetry's protocol has them.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the clock on the wall said when the steady one said this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

impl Clock {
    /// The same instant on the wall.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        let wall = match instant.checked_duration_since(self.steady) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.steady.duration_since(instant)),
        };
        nanos(wall.unwrap_or(self.wall))
    }
}

fn attribute(name: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: name.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute that is a text.
pub(crate) fn text(name: impl Into<String>, value: impl Into<String>) -> KeyValue {
    attribute(name, Value::StringValue(value.into()))
}

/// An attribute that is a number.
pub(crate) fn number(name: &'static str, number: u64) -> KeyValue {
    // An int of OTLP has a sign; no port, status or length comes near it.
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    attribute(name, Value::IntValue(number))
}

/// An attribute that is an address.
pub(crate) fn address(name: &'static str, address: IpAddr) -> KeyValue {
    text(name, address.to_canonical().to_string())
}

/// An attribute that is true; it is left out where it is not.
pub(crate) fn truth(name: &'static str) -> KeyValue {
    attribute(name, Value::BoolValue(true))
}
