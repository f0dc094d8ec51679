//! The records of the replicated state. Field names are those that operators know (`username`, `max_sessions`, `quota_size` …).

pub mod account;
pub mod node;
pub mod session;
pub mod settings;
pub mod user;

pub use account::*;
pub use node::*;
pub use session::*;
pub use settings::*;
pub use user::*;
