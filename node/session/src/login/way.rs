//! Sessions in the way of a login: no ghost keeps a user out (`PROTOCOL.md` 2.5).

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_cluster::ProbeAnswer;
use flotilla_cluster::lease::TTL_MS;
use flotilla_model::{NodeId, SessionId, SlotHolder, State};
use tokio::time::Instant;

use crate::core::Core;

/// A silent client has 2 s to answer; a node that says nothing in this time counts as not answering.
const PROBE_DEADLINE: Duration = Duration::from_millis(2_500);
/// A node out of reach is asked again this often: it may have come back.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A node whose last renewal is this old may be dying, whatever it answers.
const MISSED_RENEWAL_MS: u64 = TTL_MS / 2;
/// Sessions that a refusal names.
const DESCRIBED: usize = 3;

pub(crate) enum Way {
    /// A session in the way is over: try again.
    Clear,
    /// All that are in the way live, or the wait is over.
    Blocked,
}

/// Asks the nodes of the sessions in the way, and waits for those that are ending or whose node may be dead.
pub(crate) async fn clear(core: &Core, holders: &[SlotHolder], until: Instant) -> Way {
    let sessions: Vec<SessionId> = holders.iter().map(|holder| holder.session).collect();
    loop {
        let ending = ask(core, &sessions).await;
        if any_over(&core.cluster.state(), &sessions) {
            return Way::Clear;
        }
        if ending.is_empty() || Instant::now() >= until {
            return Way::Blocked;
        }
        let ask_again = (Instant::now() + ASK_AGAIN).min(until);
        if tokio::time::timeout_at(ask_again, one_is_over(core, &ending)).await.is_ok() {
            return Way::Clear;
        }
    }
}

async fn one_is_over(core: &Core, sessions: &[SessionId]) {
    let mut applied = core.cluster.applied();
    loop {
        applied.borrow_and_update();
        if any_over(&core.cluster.state(), sessions) || applied.changed().await.is_err() {
            return;
        }
    }
}

fn any_over(state: &State, sessions: &[SessionId]) -> bool {
    let lives = |id: &SessionId| state.session(*id).is_some() && state.epoch_alive(id.node, id.epoch);
    sessions.iter().any(|id| !lives(id))
}

/// The sessions that are not known to live: closing, found dead, or on a node that does not answer.
async fn ask(core: &Core, sessions: &[SessionId]) -> Vec<SessionId> {
    let mut by_node: BTreeMap<NodeId, Vec<SessionId>> = BTreeMap::new();
    for id in sessions {
        by_node.entry(id.node).or_default().push(*id);
    }
    let asked = by_node.into_iter().map(|(node, sessions)| ask_node(core, node, sessions));
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn ask_node(core: &Core, node: NodeId, sessions: Vec<SessionId>) -> Vec<SessionId> {
    let answers = if node == core.cluster.node() {
        Some(futures::future::join_all(sessions.iter().map(|id| core.registry.probe(*id))).await)
    } else {
        let probe = core.cluster.probe(node, sessions.clone());
        let answers = tokio::time::timeout(PROBE_DEADLINE, probe).await.ok().flatten();
        answers.filter(|_| !missed_renewal(&core.cluster.state(), node))
    };
    let Some(answers) = answers else { return sessions };
    let answers = answers.into_iter().chain(std::iter::repeat(ProbeAnswer::Closing));
    sessions.into_iter().zip(answers).filter(|(_, answer)| *answer != ProbeAnswer::Alive).map(|(id, _)| id).collect()
}

fn missed_renewal(state: &State, node: NodeId) -> bool {
    state.node(node).is_none_or(|row| state.time().0.saturating_sub(row.renewed_at.0) > MISSED_RENEWAL_MS)
}

/// Node, address and start of the sessions in the way, as many as a client is shown.
pub(crate) fn describe(core: &Core, holders: &[SlotHolder]) -> String {
    let state = core.cluster.state();
    let one = |holder: &SlotHolder| {
        let node = holder.session.node;
        let name = state.node(node).map_or_else(|| format!("node {node}"), |row| row.name.clone());
        format!("on {name} from {} since {}", holder.remote, utc(holder.opened_wall.0))
    };
    holders.iter().take(DESCRIBED).map(one).collect::<Vec<_>>().join("; ")
}

/// Milliseconds since the epoch as `2026-11-25 00:14:01 UTC` (days to civil date: Hinnant, "chrono-compatible low-level date algorithms").
fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_shown_as_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_826_154_000), "2000-02-29 12:09:14 UTC");
        assert_eq!(utc(1_795_565_641_999), "2026-11-25 00:14:01 UTC");
    }
}
