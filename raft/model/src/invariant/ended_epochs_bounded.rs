//! Rows of ended epochs do not gather in an account without a bound.

use super::{Violation, holds};
use crate::State;
use crate::apply::MAX_ENDED;

/// Those that are alive at the bound may end too: one per node.
pub fn ended_epochs_bounded(state: &State) -> Result<(), Violation> {
    let most = MAX_ENDED + state.nodes().count();
    state.accounts().try_for_each(|row| {
        let ended = state.dead_holders(row).count();
        holds("ended_epochs_bounded", ended <= most, || format!("account {}: {ended} ended epochs of {most}", row.id))
    })
}
