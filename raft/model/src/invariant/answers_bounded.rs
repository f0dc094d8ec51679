//! Kept replies stay within their windows, and none lies where the floor says that none is kept.

use super::{Violation, holds};
use crate::State;
use crate::apply::NUMBER_WINDOW;

pub fn answers_bounded(state: &State) -> Result<(), Violation> {
    let window = state.settings().map_or(0, |settings| settings.request_window);
    let kept = state.answered_requests.len() as u64;
    holds("answers_bounded", kept <= window, || format!("{kept} requests are kept, the window is {window}"))?;
    let smallest = state.answered_requests.first().map(|row| row.id);
    let floor = state.meta.request_floor;
    holds("answers_bounded", smallest.is_none_or(|id| id > floor), || format!("{smallest:?} lies below {floor:?}"))?;
    for node in state.nodes().filter(|node| node.alive) {
        let numbers = state.answered_numbers.range((node.last_epoch, 0)..=(node.last_epoch, u64::MAX));
        let beyond = numbers.filter(|row| row.number > node.floor.saturating_add(NUMBER_WINDOW)).count();
        holds("answers_bounded", beyond == 0, || format!("node {} has {beyond} numbers beyond its window", node.id))?;
    }
    Ok(())
}
