#![doc = include_str!("../README.md")]

mod answer;
mod chaos;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod delay;
mod framework;
mod listen;
mod overrides;
mod route;
mod scenario;
mod slots;
mod speed;
mod wait;
mod worker;

pub use answer::{Answer, Payload};
pub use config::{WorkerConfig, WorkerOptions};
pub use delay::{Delay, DelayTextError};
pub use framework::{Framework, UnknownFramework};
pub use listen::{KEEP_ALIVE, each, listener, prompt};
pub use scenario::Scenario;
pub use speed::{Speed, SpeedError};
pub use wait::MAX_WAIT;
pub use worker::{RequestHead, Worker};
