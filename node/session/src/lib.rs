//! The one session core under every front end: admission, permission, quota ledger, lease check, throttle, one file per verb.

pub mod connection;
pub mod core;
pub mod files;
pub mod gate;
pub mod login;
pub mod session;

pub use connection::Connection;
pub use core::{Core, CoreConfig};
pub mod ledger;
pub use files::*;
pub use gate::{EndReason, Gate};
pub use login::{Admitted, AuthOutcome, Credential};
pub use session::{Bandwidth, ChannelRefused, Session};
