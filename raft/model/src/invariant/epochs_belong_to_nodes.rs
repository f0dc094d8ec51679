//! Every session and kept number belongs to a living epoch or to a dead one that waits to be swept.

use super::{Violation, holds};
use crate::{Epoch, State};

pub fn epochs_belong_to_nodes(state: &State) -> Result<(), Violation> {
    let known = |epoch: Epoch| {
        state.dead_epochs.get(&epoch).is_some() || state.nodes().any(|node| node.alive && node.last_epoch == epoch)
    };
    let session = state.sessions.rows().find(|row| !known(row.id.epoch));
    holds("epochs_belong_to_nodes", session.is_none(), || format!("session {:?}", session.map(|row| row.id)))?;
    let number = state.answered_numbers.rows().find(|row| !known(row.epoch));
    holds("epochs_belong_to_nodes", number.is_none(), || format!("number {number:?}"))?;
    let revived = state.dead_epochs().find(|dead| state.epoch_alive(dead.node, dead.epoch));
    holds("epochs_belong_to_nodes", revived.is_none(), || format!("dead and alive: {revived:?}"))
}
