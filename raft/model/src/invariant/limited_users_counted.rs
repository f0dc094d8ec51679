//! An account knows how many of its users have a limit: by it nodes know whether grants are needed.

use super::{Violation, holds};
use crate::State;

pub fn limited_users_counted(state: &State) -> Result<(), Violation> {
    for row in state.accounts() {
        let limited = state.users_of_account(row.id).filter(|user| !user.limits().is_none()).count();
        holds("limited_users_counted", limited == row.limited_users as usize, || {
            format!("account {}: counts {} limited users, there are {limited}", row.id, row.limited_users)
        })?;
    }
    Ok(())
}
