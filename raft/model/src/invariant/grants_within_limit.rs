//! What is granted under a limit is within it: used + outstanding grants + what dead epochs may have spent (4.1).

use super::{Violation, holds};
use crate::{Account, Amount, State};

/// Of every account, in each dimension of which the last grant came after whatever else may have raised what is taken, or lowered a
/// limit.
pub fn grants_within_limit(state: &State) -> Result<(), Violation> {
    state.accounts().try_for_each(|row| within(state, row))
}

fn within(state: &State, row: &Account) -> Result<(), Violation> {
    let (bytes, files) = (row.granted.bytes > row.excused, row.granted.files > row.excused);
    if !bytes && !files {
        return Ok(());
    }
    let limits = state.users_of_account(row.id).map(|user| user.limits());
    let largest =
        limits.fold(Amount::ZERO, |largest, limits| largest.max_each(Amount::new(limits.bytes, limits.files)));
    let taken = row.taken();
    let fits = (!bytes || taken.bytes <= largest.bytes) && (!files || taken.files <= largest.files);
    holds("grants_within_limit", fits, || format!("account {}: {taken:?} taken of {largest:?}", row.id))
}
