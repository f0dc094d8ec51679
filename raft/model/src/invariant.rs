//! Invariants: named pure functions that say what must hold of every state. Called by tests, simulations and checkers.

mod accounts_used;
mod answers_bounded;
mod ended_epochs_bounded;
mod epochs_belong_to_nodes;
mod events_dense_and_chained;
mod grants_within_limit;
mod holders_count_sessions;
mod indices_agree;
mod limited_users_counted;
mod roots_apart;
mod scans_in_order;
mod sessions_within_limit;

pub use accounts_used::accounts_used;
pub use answers_bounded::answers_bounded;
pub use ended_epochs_bounded::ended_epochs_bounded;
pub use epochs_belong_to_nodes::epochs_belong_to_nodes;
pub use events_dense_and_chained::events_dense_and_chained;
pub use grants_within_limit::grants_within_limit;
pub use holders_count_sessions::holders_count_sessions;
pub use indices_agree::indices_agree;
pub use limited_users_counted::limited_users_counted;
pub use roots_apart::roots_apart;
pub use scans_in_order::scans_in_order;
pub use sessions_within_limit::sessions_within_limit;

use crate::State;

/// An invariant that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct Violation {
    pub name: &'static str,
    pub what: String,
}

/// Checks a condition of an invariant.
pub(crate) fn holds(name: &'static str, condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { name, what: what() }) }
}

/// All of them.
pub fn check_all(state: &State) -> Result<(), Violation> {
    sessions_within_limit(state)?;
    events_dense_and_chained(state)?;
    indices_agree(state)?;
    roots_apart(state)?;
    answers_bounded(state)?;
    holders_count_sessions(state)?;
    limited_users_counted(state)?;
    grants_within_limit(state)?;
    ended_epochs_bounded(state)?;
    accounts_used(state)?;
    scans_in_order(state)?;
    epochs_belong_to_nodes(state)
}
