//! What is granted under a limit was within it: with used and what dead epochs may have spent it does not exceed the largest limit
//! of the account's users, unless a limit was lowered, a scan found more, or grants were not needed before.

use super::{Violation, holds};
use crate::{Account, Amount, State};

/// For accounts whose users never had another limit and whose scans found no more than was counted.
pub fn grants_within_limit(state: &State, row: &Account) -> Result<(), Violation> {
    let none = Amount::ZERO;
    let largest = state
        .users_of_account(row.id)
        .map(|user| user.limits())
        .fold(none, |largest, limits| largest.max_each(Amount::new(limits.bytes, limits.files)));
    holds("grants_within_limit", row.taken().fits(largest), || {
        format!("account {}: {:?} taken of {largest:?}", row.id, row.taken())
    })
}
