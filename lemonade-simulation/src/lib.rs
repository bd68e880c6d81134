#![doc = include_str!("../README.md")]

pub mod report;
pub mod scenario;

mod compare;
mod ideal;
mod picker;
mod planned;
mod replay;
mod world;

pub use compare::{Case, Contestant, Progress, compare};
pub use picker::Picker;
pub use planned::{Planned, requests};
pub use replay::{AS_RECORDED, LogError, read_log};
