//! What operators ask of one node, directly or by way of another: to hand leadership over, to drain, to keep a key.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::MAX_TRANSFERS;
use flotilla_model::{NodeId, State};
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::net::{DeskSlot, Manage, Managed};
use crate::shared::Shared;
use crate::types::Raft;

/// The engine is asked again after this long while leadership has not moved.
const TRANSFER_AGAIN: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub desk: DeskSlot,
    /// Rings when this node is to drain.
    pub drain: Arc<watch::Sender<bool>>,
}

impl Manager {
    pub async fn answer(&self, from: NodeId, asked: Manage) -> Managed {
        // Whom a member only vouches for may speak consensus, and learns nothing else.
        if !self.shared.rosters.now().members.contains_key(&from) {
            tracing::warn!(event = "manage_refused", node = from.0, "a node that is not known as a member asks");
            return Managed::Refused(format!("node {from} is not known here as a member: only members are answered"));
        }
        match asked {
            Manage::Transfer { to, within_ms } => {
                self.transfer(to, Duration::from_millis(within_ms).min(LONGEST)).await
            }
            Manage::Drain => {
                tracing::info!(event = "drain_asked", by = from.0);
                self.drain.send_replace(true);
                Managed::Done
            }
            Manage::Transfers => {
                let told = self.shared.agent().map(|agent| agent.transfers()).unwrap_or_default();
                Managed::Transfers(told.into_iter().take(MAX_TRANSFERS).collect())
            }
            Manage::OfferKey(key) => match self.desk.get() {
                None => Managed::Refused("this node is starting".to_owned()),
                Some(desk) => desk.keep_key(&key).map_or_else(Managed::Refused, |()| Managed::Done),
            },
            Manage::Keys => match self.desk.get() {
                None => Managed::Refused("this node is starting".to_owned()),
                Some(desk) => Managed::Keys(desk.keys()),
            },
        }
    }

    /// Hands leadership over, if this node leads.
    pub async fn transfer(&self, to: Option<NodeId>, within: Duration) -> Managed {
        if let Err(why) = self.may_lead(to) {
            return Managed::Refused(why);
        }
        let moved = timeout(within, self.step_aside(to)).await;
        match (moved, to) {
            (Ok(leader), Some(to)) if leader != to => Managed::Refused(format!("node {leader} leads, not node {to}")),
            (Ok(leader), _) => Managed::Leads(leader),
            (Err(_), _) => Managed::Refused(format!(
                "leadership did not move within {} ms: is another voter alive and close to the log's end?",
                within.as_millis()
            )),
        }
    }

    /// Whether this node may lead; without a name, whether any other may.
    fn may_lead(&self, to: Option<NodeId>) -> Result<(), String> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let state = self.shared.state();
        let mut voters = metrics.membership_config.membership().voter_ids();
        let Some(to) = to else {
            let other = voters.any(|voter| may_follow(&self.shared, &state, voter));
            return if other { Ok(()) } else { Err("no other node has a vote, so no other can lead".to_owned()) };
        };
        if voters.any(|voter| voter == to.0) {
            return Ok(());
        }
        let known = state.node(to).is_some();
        Err(if known { format!("node {to} has no vote, so it cannot lead") } else { format!("there is no node {to}") })
    }

    /// Until another leads; who.
    async fn step_aside(&self, to: Option<NodeId>) -> NodeId {
        let mut leadership = self.shared.leadership.subscribe();
        loop {
            let leader = leadership.borrow_and_update().leader;
            match leader {
                Some(leader) if leader != self.shared.node || Some(leader) == to => return leader,
                Some(_) => {
                    if let Some(next) = to.map(|to| to.0).or_else(|| next_leader(&self.raft, &self.shared)) {
                        let _ = self.raft.trigger().transfer_leader(next).await;
                    }
                }
                None => {}
            }
            let _ = timeout(TRANSFER_AGAIN, leadership.changed()).await;
        }
    }
}

/// Another one, and not one that is being removed.
fn may_follow(shared: &Shared, state: &State, voter: u64) -> bool {
    voter != shared.node.0 && state.node(NodeId(voter)).is_some_and(|row| !row.leaving)
}

/// Whom this leader hands over to: of the other voters one that is alive, and whose log reaches furthest.
pub fn next_leader(raft: &Raft, shared: &Shared) -> Option<u64> {
    let metrics = raft.metrics().borrow_watched().clone();
    let voters: Vec<u64> = metrics.membership_config.membership().voter_ids().collect();
    let progress = metrics.replication?;
    let state = shared.state();
    let reaches = |voter: &u64| {
        let alive = state.node(NodeId(*voter)).is_some_and(|row| row.alive);
        (alive, progress.get(voter).cloned().flatten().map(|id| id.index))
    };
    voters.into_iter().filter(|voter| may_follow(shared, &state, *voter)).max_by_key(reaches)
}
