//! The leader makes Raft's membership follow the log's nodes, one change at a time: learner first, then voter by itself.
//!
//! The number of voters is kept odd: an even number stands no more failures than one less, and has one machine more
//! whose failure counts. So of a fourth node stays a learner until a fifth comes; it serves like the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::promotion;
use flotilla_model::{NodeId, State};
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use tokio::time::{sleep, timeout};

use crate::manage::next_leader;
use crate::net::Peers;
use crate::shared::Shared;
use crate::types::Raft;

/// A learner may vote once it is at most this many entries behind.
const CLOSE_ENTRIES: u64 = 200;
/// How often the leader looks, besides changes of the nodes: catching up rings no bell.
const LOOK: Duration = Duration::from_millis(250);
const CHANGE_WITHIN: Duration = Duration::from_secs(10);
const TRANSFER_WITHIN: Duration = Duration::from_secs(2);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A change that an earlier leader left half way.
    Finish(BTreeSet<u64>),
    AddLearner(u64, String),
    SetAddress(u64, String),
    Promote(u64),
    /// This node is being removed: another voter, one that stays, must lead.
    HandOver,
    RemoveVoter(u64),
    RemoveLearner(u64),
}

/// What the leader sees.
struct View {
    me: u64,
    configs: Vec<BTreeSet<u64>>,
    /// Voters and learners with their addresses.
    nodes: BTreeMap<u64, String>,
    /// Members of the log that are not leaving, with their addresses.
    wanted: BTreeMap<u64, String>,
    last_node: u64,
    /// Learners that are alive and close to the log's end.
    ready: BTreeSet<u64>,
}

fn next_step(view: &View) -> Option<Step> {
    if let [_, last] = view.configs.as_slice() {
        return Some(Step::Finish(last.clone()));
    }
    let voters = view.configs.last()?;
    let gone = |node: &&u64| **node <= view.last_node && !view.wanted.contains_key(node);
    if let Some(node) = view.nodes.keys().find(gone) {
        return match (voters.contains(node), *node == view.me) {
            (true, true) => voters.iter().any(|voter| view.wanted.contains_key(voter)).then_some(Step::HandOver),
            (true, false) => Some(Step::RemoveVoter(*node)),
            (false, _) => Some(Step::RemoveLearner(*node)),
        };
    }
    for (node, address) in &view.wanted {
        match view.nodes.get(node) {
            None => return Some(Step::AddLearner(*node, address.clone())),
            Some(known) if known != address => return Some(Step::SetAddress(*node, address.clone())),
            Some(_) => {}
        }
    }
    promotion(voters.len(), &view.ready).map(Step::Promote)
}

pub struct MemberDuty {
    pub raft: Raft,
    pub shared: Arc<Shared>,
}

impl MemberDuty {
    pub async fn run(self) {
        let mut leadership = self.shared.leadership.subscribe();
        let mut roster = self.shared.rosters.changes();
        loop {
            if self.shared.leader() == Some(self.shared.node) {
                if let Some(step) = next_step(&self.view()) {
                    self.take(step).await;
                }
                let _ = timeout(LOOK, roster.changed()).await;
            } else if leadership.changed().await.is_err() {
                return;
            }
        }
    }

    fn view(&self) -> View {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let state = self.shared.state();
        let last = metrics.last_log_index.unwrap_or(0);
        let progress = metrics.replication.unwrap_or_default();
        let close = |node: &u64| {
            let matching = progress.get(node).cloned().flatten();
            matching.is_some_and(|id| id.index + CLOSE_ENTRIES >= last)
        };
        let alive = |node: &u64| state.node(NodeId(*node)).is_some_and(|row| row.alive && !row.leaving);
        View {
            me: self.shared.node.0,
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(node, address)| (*node, address.addr.clone())).collect(),
            wanted: wanted(&state),
            last_node: state.last_node().0,
            ready: membership.learner_ids().filter(|node| alive(node) && close(node)).collect(),
        }
    }

    async fn take(&self, step: Step) {
        tracing::info!(event = "membership_step", step = format!("{step:?}"));
        let change = match step {
            Step::HandOver => return self.step_aside().await,
            Step::Finish(voters) => ChangeMembers::ReplaceAllVoters(voters),
            Step::AddLearner(node, address) => ChangeMembers::AddNodes(one(node, address)),
            Step::SetAddress(node, address) => ChangeMembers::SetNodes(one(node, address)),
            Step::Promote(node) => ChangeMembers::AddVoterIds(BTreeSet::from([node])),
            Step::RemoveVoter(node) => ChangeMembers::RemoveVoters(BTreeSet::from([node])),
            Step::RemoveLearner(node) => ChangeMembers::RemoveNodes(BTreeSet::from([node])),
        };
        match timeout(CHANGE_WITHIN, self.raft.change_membership(change, false)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, event = "membership_step_failed"),
            Err(_) => tracing::warn!(event = "membership_step_failed", error = "no quorum in time"),
        }
    }

    async fn step_aside(&self) {
        let Some(next) = next_leader(&self.raft, &self.shared) else { return sleep(LOOK).await };
        let _ = timeout(TRANSFER_WITHIN, self.raft.trigger().transfer_leader(next)).await;
        sleep(LOOK).await;
    }
}

/// Keeps this node's connections to what the membership says: new members' addresses are known to followers too, who forward to
/// a leader and ask for cuts; connections to removed nodes are dropped.
pub async fn follow_roster(shared: Arc<Shared>, peers: Arc<Peers>) {
    let mut changes = shared.rosters.changes();
    loop {
        let roster = shared.rosters.now();
        for (node, member) in &roster.members {
            peers.set_address(*node, &member.address);
        }
        peers.retain(|node| node > roster.last_node || roster.members.contains_key(&node));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn one(node: u64, address: String) -> BTreeMap<u64, BasicNode> {
    BTreeMap::from([(node, BasicNode::new(address))])
}

fn wanted(state: &State) -> BTreeMap<u64, String> {
    let stays = state.nodes().filter(|row| !row.leaving);
    stays.map(|row| (row.id.0, row.peer_address.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(voters: &[u64], learners: &[u64], wanted: &[u64], ready: &[u64]) -> View {
        let address = |node: &u64| (*node, format!("h{node}:1"));
        View {
            me: 1,
            configs: vec![voters.iter().copied().collect()],
            nodes: voters.iter().chain(learners).map(address).collect(),
            wanted: wanted.iter().map(address).collect(),
            last_node: 9,
            ready: ready.iter().copied().collect(),
        }
    }

    #[test]
    fn a_new_node_is_a_learner_first_and_two_that_are_ready_become_voters() {
        assert_eq!(next_step(&view(&[1], &[], &[1, 2], &[])), Some(Step::AddLearner(2, "h2:1".into())));
        assert_eq!(next_step(&view(&[1], &[2], &[1, 2], &[2])), None, "two voters would gain nothing");
        assert_eq!(next_step(&view(&[1], &[2, 3], &[1, 2, 3], &[2])), None, "3 has not caught up");
        assert_eq!(next_step(&view(&[1], &[2, 3], &[1, 2, 3], &[2, 3])), Some(Step::Promote(2)));
        assert_eq!(next_step(&view(&[1, 2], &[3], &[1, 2, 3], &[3])), Some(Step::Promote(3)));
        assert_eq!(next_step(&view(&[1, 2, 3], &[4], &[1, 2, 3, 4], &[4])), None);
    }

    #[test]
    fn a_removed_node_leaves_and_a_spare_takes_its_vote() {
        assert_eq!(next_step(&view(&[1, 2, 3], &[4], &[1, 2, 4], &[4])), Some(Step::RemoveVoter(3)));
        assert_eq!(next_step(&view(&[1, 2], &[4], &[1, 2, 4], &[4])), Some(Step::Promote(4)));
        assert_eq!(next_step(&view(&[1, 2], &[], &[1, 2], &[])), None, "nobody is demoted");
        assert_eq!(next_step(&view(&[1, 2, 3], &[4], &[1, 2, 3], &[])), Some(Step::RemoveLearner(4)));
        assert_eq!(next_step(&view(&[1, 2, 3], &[], &[2, 3], &[])), Some(Step::HandOver));
        assert_eq!(next_step(&view(&[1, 3, 4], &[2], &[2, 3, 4], &[])), Some(Step::HandOver), "3 and 4 have votes");
        assert_eq!(next_step(&view(&[1], &[2], &[2], &[])), None, "2 has no vote, and nobody else is there");
    }

    #[test]
    fn what_the_log_has_not_named_yet_stays_and_what_was_half_done_is_finished() {
        let mut first = view(&[1, 2, 3], &[], &[1], &[]);
        first.last_node = 1;
        assert_eq!(next_step(&first), None);
        let mut joint = view(&[1, 2], &[], &[1, 2], &[]);
        joint.configs.push(BTreeSet::from([1]));
        assert_eq!(next_step(&joint), Some(Step::Finish(BTreeSet::from([1]))));
    }

    #[test]
    fn seven_voters_are_enough_and_a_moved_node_gets_its_new_address() {
        assert_eq!(promotion(7, &BTreeSet::from([8, 9])), None);
        let mut moved = view(&[1], &[2], &[1, 2], &[]);
        moved.wanted.insert(2, "elsewhere:1".into());
        assert_eq!(next_step(&moved), Some(Step::SetAddress(2, "elsewhere:1".into())));
    }
}
