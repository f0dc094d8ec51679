//! The one session core under every front end: admission, permission, quota ledger, lease check, throttle, one file per verb.

pub mod files;
pub use files::*;
