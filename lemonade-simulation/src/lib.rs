#![doc = include_str!("../README.md")]

pub mod report;
pub mod scenario;

mod compare;
mod ideal;
mod picker;
mod world;

pub use compare::{Case, Contestant, Progress, compare};
pub use picker::Picker;
