//! The replicated model: records, commands and `State::apply`, pure.
//!
//! No clock, randomness, IO, logging, floats or unordered maps live here: time and ids arrive in the log entry,
//! things to do leave as effects. Every node applies the same entries and so holds the same state.
//! The rules are those of `PROTOCOL.md`; every verb of `command` has a file under `apply`.

pub mod command;
pub mod effect;
pub mod event;
pub mod ids;
pub mod record;
pub mod reply;

pub use command::{Command, CommandId, Entry, Envelope};
pub use effect::Effect;
pub use event::Event;
pub use ids::*;
pub use record::*;
pub use reply::{Done, Refusal, Reply};

pub mod codec;
pub mod state;
pub use state::{Applied, State};
