//! What is granted under a limit is within it: used + outstanding grants + what dead epochs may have spent (4.1).

use super::{Violation, holds};
use crate::{Account, Amount, State};

/// Of every account whose last grant came after whatever else may have raised what is taken, or lowered a limit.
pub fn grants_within_limit(state: &State) -> Result<(), Violation> {
    state.accounts().filter(|row| row.granted > row.excused).try_for_each(|row| within(state, row))
}

fn within(state: &State, row: &Account) -> Result<(), Violation> {
    let limits = state.users_of_account(row.id).map(|user| user.limits());
    let largest =
        limits.fold(Amount::ZERO, |largest, limits| largest.max_each(Amount::new(limits.bytes, limits.files)));
    holds("grants_within_limit", row.taken().fits(largest), || {
        format!("account {}: {:?} taken of {largest:?}", row.id, row.taken())
    })
}
