//! An account is somebody's home, or somebody holds something of it.

use super::{Violation, holds};
use crate::State;

pub fn accounts_used(state: &State) -> Result<(), Violation> {
    let idle = state.accounts().find(|row| row.holders.is_empty() && state.users_of_account(row.id).next().is_none());
    holds("accounts_used", idle.is_none(), || format!("nobody has account {:?}", idle.map(|row| row.id)))
}
