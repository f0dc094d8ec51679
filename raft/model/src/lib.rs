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
pub(crate) use record::change;
pub use record::*;
pub use reply::{AccountDone, AccountRefusal, Done, MembershipRefusal, Refusal, Reply, SlotHolder};

mod apply;
pub mod codec;
mod history;
mod index;
pub mod invariant;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod query;
mod restore;
pub mod snapshot;
pub mod state;
mod table;

pub use history::EventsError;
pub use index::{Referrer, SlotCount};
pub use snapshot::{Restore, SnapshotError};
pub use state::{Applied, State};
