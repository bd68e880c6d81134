#![doc = include_str!("../README.md")]

mod address;
mod decode;
mod document;
mod duration;
mod environment;
mod expand;
mod fault;
mod json;
mod node;
mod percent;
mod schema;
mod shape;
mod size;
mod suggest;
mod toml;
mod words;
mod yaml;

pub use address::{Address, AddressError, ListenAddress};
pub use document::{Document, Format};
pub use duration::{DurationError, MAX_DURATION, RawDuration, format_duration, parse_duration};
pub use environment::Environment;
pub use fault::{Fault, Faults, Position};
pub use percent::{Percent, PercentError};
pub use shape::{Located, OneOrMany, ShortOr, Switch};
pub use size::{ByteSize, ByteSizeError};
pub use suggest::suggest;
