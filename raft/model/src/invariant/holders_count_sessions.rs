//! The holders of living epochs count the sessions that are open on their account, and every open session has one.

use std::collections::BTreeMap;

use super::{Violation, holds};
use crate::State;

const NAME: &str = "holders_count_sessions";

pub fn holders_count_sessions(state: &State) -> Result<(), Violation> {
    let mut open = BTreeMap::new();
    for session in state.live_sessions() {
        *open.entry((session.account, session.id.node, session.id.epoch)).or_insert(0_u32) += 1;
    }
    for row in state.accounts() {
        for ((node, epoch), holder) in row.holders.iter().filter(|(key, _)| state.epoch_alive(key.0, key.1)) {
            let count = open.remove(&(row.id, *node, *epoch)).unwrap_or(0);
            holds(NAME, count == holder.sessions, || {
                format!("account {}: node {node} counts {} sessions, {count} are open", row.id, holder.sessions)
            })?;
        }
    }
    holds(NAME, open.is_empty(), || format!("sessions without a holder: {open:?}"))
}
