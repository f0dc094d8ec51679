//! The engine from outside: packets in, packets out, with other people's clients where there are any.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod back_pressure;
mod client;
mod codec;
mod directory;
mod failures;
mod fixtures;
mod fuzz;
mod openssh;
mod order;
mod protocol;
