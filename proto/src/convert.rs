//! The model's records on the wire: one file per record. Only shapes; what is allowed is decided in the service layer.

mod quota;
mod record;
mod session;
mod token;
mod user;

pub use quota::quota;
pub use record::{admin, folder, group, role};
pub use session::session;
pub use token::token;
pub use user::{filters_from, user};
