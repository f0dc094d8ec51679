//! The one session core under every front end: admission, permission, quota ledger, lease check, throttle, one file per verb.

mod agent;
mod captures;
pub mod connection;
pub mod core;
mod file;
pub mod files;
mod filters;
pub mod gate;
mod lease_watch;
pub mod ledger;
pub mod login;
mod open_inodes;
pub mod path;
mod registry;
pub mod rights;
pub mod session;
mod storages;
mod verb;

pub use connection::Connection;
pub use core::{Core, CoreConfig};
pub use files::*;
pub use gate::{EndReason, Gate};
pub use login::{Admitted, AuthOutcome, Credential};
pub use path::VPath;
pub use session::{Bandwidth, ChannelRefused, Session};
pub use storages::StorageStatus;
