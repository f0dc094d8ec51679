//! P1 in the state: sessions that may go on never hold more slots than their user's limit.

use std::collections::BTreeMap;

use super::{Violation, holds};
use crate::{State, Username};

/// Counts sessions that are not cut. Those that are cut keep their slots until closed, but acknowledge nothing.
pub fn sessions_within_limit(state: &State) -> Result<(), Violation> {
    let mut slots: BTreeMap<&Username, u64> = BTreeMap::new();
    for session in state.live_sessions().filter(|session| state.session_cut(session).is_none()) {
        *slots.entry(&session.username).or_default() += u64::from(session.slots);
    }
    slots.into_iter().try_for_each(|(username, slots)| {
        let limit = state.user(username).map_or(0, |user| user.max_sessions);
        let within = limit == 0 || slots <= u64::from(limit);
        holds("sessions_within_limit", within, || format!("{username} has {slots} slots of {limit}"))
    })
}
