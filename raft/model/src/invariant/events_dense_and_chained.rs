//! P6 in the state: events are numbered without a gap and each carries the hash of all before it.

use super::{Violation, holds};
use crate::State;

pub fn events_dense_and_chained(state: &State) -> Result<(), Violation> {
    let mut before = state.history.before;
    for (number, event) in &state.history.window {
        let dense = *number == before.number + 1 && event.number == *number;
        holds("events_dense_and_chained", dense, || format!("{} follows {}", event.number, before.number))?;
        let chained = event.hash == event.chain(&before.hash);
        holds("events_dense_and_chained", chained, || format!("the hash of {number} is not that of its fields"))?;
        before.number = *number;
        before.hash = event.hash;
    }
    Ok(())
}
