#![doc = include_str!("../README.md")]

mod client;
pub mod judge;
mod message;
mod origin;
mod patience;
pub mod postgres;
pub mod process;
pub mod strict;
mod wire;

pub use client::Client;
pub use message::Message;
pub use origin::{Connection, Origin};
pub use patience::{Gate, PATIENCE, until};
pub use wire::Broken;
