//! The records of the replicated state. Field names are those that operators know (`username`, `max_sessions`, `quota_size` …).

pub mod account;
pub mod admin;
pub mod answered;
pub(crate) mod change;
pub mod group;
pub mod kept;
pub mod node;
pub mod session;
pub mod settings;
pub mod user;
mod user_fields;

pub use account::*;
pub use admin::*;
pub use answered::*;
pub use change::FieldChange;
pub use group::*;
pub use kept::*;
pub use node::*;
pub use session::*;
pub use settings::*;
pub use user::*;
