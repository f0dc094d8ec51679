//! The records of the replicated state. Field names are those that operators know (`username`, `max_sessions`, `quota_size` …).

pub mod account;
pub mod answered;
pub mod node;
pub mod session;
pub mod settings;
pub mod user;
mod user_fields;

pub use account::*;
pub use answered::*;
pub use node::*;
pub use session::*;
pub use settings::*;
pub use user::*;
