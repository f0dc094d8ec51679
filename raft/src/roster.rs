//! Who may speak as which node: the log's members with their keys, and what to think of an id that is not among them.
//!
//! The state decides. A file keeps the last answer, since a starting node talks before its log is applied again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flotilla_model::{LogIndex, NodeId, State};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::folder::{self, FolderError, Start};
use crate::pki;

/// Wait before a failed write of the file is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// A member as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` at which it takes peers.
    pub address: String,
    /// DER SubjectPublicKeyInfo; empty: any key of the cluster's CA (tests only).
    pub public_key: Vec<u8>,
    /// The start that it registered last; none before the first.
    pub start: Option<Start>,
}

/// A member's word for a node that others may not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    pub by: NodeId,
    pub signature: Vec<u8>,
}

/// What is signed in a voucher.
pub fn vouched(cluster_id: &str, node: NodeId, public_key: &[u8]) -> Vec<u8> {
    [format!("flotilla member {cluster_id} {node} ").as_bytes(), public_key].concat()
}

/// All members at an index of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    pub index: LogIndex,
    /// Ids up to this one were given: without a member they were removed.
    pub last_node: NodeId,
    pub members: BTreeMap<NodeId, Member>,
}

impl Roster {
    pub(crate) fn of(state: &State) -> Roster {
        let member = |row: &Arc<flotilla_model::Node>| {
            let start = Start { identity: row.store, counter: row.start, nonce: row.nonce };
            let start = (row.store != 0).then_some(start);
            (row.id, Member { address: row.peer_address.clone(), public_key: row.public_key.clone(), start })
        };
        let members = state.nodes().filter(|row| !row.leaving).map(member).collect();
        Roster { index: state.applied_index(), last_node: state.last_node(), members }
    }

    /// Whether this key may speak as this node, and on whose word if it is no member that is known here. The refusal is for
    /// the other side's operator.
    pub fn admits(
        &self,
        cluster_id: &str,
        node: NodeId,
        public_key: &[u8],
        voucher: Option<&Voucher>,
    ) -> Result<Option<NodeId>, String> {
        if let Some(member) = self.members.get(&node) {
            if member.public_key.is_empty() || member.public_key == public_key {
                return Ok(None);
            }
            return Err(format!("the key of its certificate is not the one that the log holds for node {node}"));
        }
        if node <= self.last_node {
            return Err(removed(node));
        }
        let vouches = |voucher: &&Voucher| {
            let by = self.members.get(&voucher.by);
            by.is_some_and(|by| pki::verify(&by.public_key, &vouched(cluster_id, node, public_key), &voucher.signature))
        };
        match voucher.filter(vouches) {
            Some(voucher) => Ok(Some(voucher.by)),
            None => Err(format!("node {node} is not known here and no member vouches for it")),
        }
    }
}

impl Roster {
    /// Whether whom `admits` let in once may go on: asked for each request and each read and write. `vouched_by` is what
    /// `admits` said: a word counts as long as who gave it is a member.
    pub fn still_admits(&self, node: NodeId, public_key: &[u8], vouched_by: Option<NodeId>) -> bool {
        match self.members.get(&node) {
            Some(member) => member.public_key.is_empty() || member.public_key == public_key,
            None => node > self.last_node && vouched_by.is_some_and(|by| self.members.contains_key(&by)),
        }
    }
}

/// What a removed node is told.
fn removed(node: NodeId) -> String {
    format!(
        "node {node} was removed from the cluster and never comes back under that number: \
         empty its data folder and join with a new token (`flotilla cluster token`)"
    )
}

/// The roster of now. Cheap to read: every request asks it.
pub struct Rosters {
    pub cluster_id: String,
    file: PathBuf,
    now: ArcSwap<Roster>,
    changed: watch::Sender<LogIndex>,
}

impl Rosters {
    /// From the file, else from what the configuration or the answer to a join says.
    pub fn open(cluster_id: &str, file: &Path, first: Roster) -> Result<Arc<Self>, FolderError> {
        let kept: Option<Roster> = folder::read_value(file)?;
        let now = kept.unwrap_or(first);
        let changed = watch::Sender::new(now.index);
        let cluster_id = cluster_id.to_owned();
        Ok(Arc::new(Rosters { cluster_id, file: file.to_owned(), now: ArcSwap::from_pointee(now), changed }))
    }

    /// A roster that lives in memory only and knows nobody.
    pub fn empty() -> Arc<Self> {
        let now = ArcSwap::from_pointee(Roster::default());
        Arc::new(Rosters { cluster_id: String::new(), file: PathBuf::new(), now, changed: watch::Sender::new(0) })
    }

    pub fn now(&self) -> Arc<Roster> {
        self.now.load_full()
    }

    pub fn changes(&self) -> watch::Receiver<LogIndex> {
        self.changed.subscribe()
    }

    pub fn admits(&self, node: NodeId, public_key: &[u8], voucher: Option<&Voucher>) -> Result<Option<NodeId>, String> {
        self.now.load().admits(&self.cluster_id, node, public_key, voucher)
    }

    /// Whether who was let in once may go on.
    pub fn still_admits(&self, node: NodeId, public_key: &[u8], vouched_by: Option<NodeId>) -> bool {
        self.now.load().still_admits(node, public_key, vouched_by)
    }

    /// Takes what the state says, unless it is older than what is known: a log that is being applied again.
    pub fn follow(&self, state: &State) {
        if state.settings().is_none() {
            return;
        }
        let (known, mut new) = (self.now.load(), Roster::of(state));
        // Of members that this log has not come to yet the answer to the join has told.
        let ahead = known.members.iter().filter(|(node, _)| **node > new.last_node);
        new.members.extend(ahead.map(|(node, member)| (*node, member.clone())));
        let same = known.members == new.members && known.last_node == new.last_node;
        if new.index < known.index || same || new.members.is_empty() {
            return;
        }
        let index = new.index;
        self.now.store(Arc::new(new));
        self.changed.send_replace(index);
    }

    /// Writes each change to the file, again and again until that succeeds. Ends with the runtime that it runs on.
    pub async fn keep(self: Arc<Self>) {
        let mut changes = self.changes();
        // One may have come before this was first polled.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            let roster = self.now();
            // What only the configuration says may still be changed there.
            if roster.index == 0 {
                continue;
            }
            let file = self.file.clone();
            let written = tokio::task::spawn_blocking(move || folder::write_value(&file, &*roster)).await;
            let failed = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(error = failed, "the members' file could not be written: trying again");
            tokio::time::sleep(WRITE_AGAIN).await;
            changes.mark_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(key: &[u8]) -> Member {
        Member { address: "127.0.0.1:1".into(), public_key: key.to_vec(), start: None }
    }

    #[test]
    fn only_the_logs_key_speaks_for_a_member_and_nothing_for_a_removed_node() {
        let members = BTreeMap::from([(NodeId(1), member(b"one"))]);
        let roster = Roster { index: 9, last_node: NodeId(2), members };
        roster.admits("c", NodeId(1), b"one", None).unwrap();
        assert!(roster.admits("c", NodeId(1), b"other", None).unwrap_err().contains("key"));
        assert!(roster.admits("c", NodeId(2), b"two", None).unwrap_err().contains("was removed"));
        assert!(roster.admits("c", NodeId(3), b"three", None).unwrap_err().contains("vouches"));
    }

    #[test]
    fn an_id_not_known_yet_is_taken_on_a_members_word() {
        let (member_key, new_key) = (pki::make_key().unwrap(), pki::make_key().unwrap());
        let public = |key: &str| pki::public_key(key).unwrap();
        let members = BTreeMap::from([(NodeId(1), member(&public(&member_key)))]);
        let roster = Roster { index: 9, last_node: NodeId(1), members };
        let signature = pki::sign(&member_key, &vouched("c", NodeId(2), &public(&new_key))).unwrap();
        let voucher = Voucher { by: NodeId(1), signature: signature.clone() };
        let by = roster.admits("c", NodeId(2), &public(&new_key), Some(&voucher)).unwrap();
        assert_eq!(by, Some(NodeId(1)));
        assert!(roster.admits("c", NodeId(3), &public(&new_key), Some(&voucher)).is_err(), "another id");
        assert!(roster.admits("d", NodeId(2), &public(&new_key), Some(&voucher)).is_err(), "another cluster");
        let stranger = Voucher { by: NodeId(7), signature };
        assert!(roster.admits("c", NodeId(2), &public(&new_key), Some(&stranger)).is_err(), "no member");
    }

    #[test]
    fn a_word_counts_no_longer_than_its_giver_is_a_member() {
        let members = BTreeMap::from([(NodeId(1), member(b"one")), (NodeId(3), member(b"three"))]);
        let mut roster = Roster { index: 9, last_node: NodeId(3), members };
        assert!(roster.still_admits(NodeId(99), b"key", Some(NodeId(3))));
        assert!(!roster.still_admits(NodeId(99), b"key", None), "nobody vouches");
        roster.members.remove(&NodeId(3));
        assert!(!roster.still_admits(NodeId(99), b"key", Some(NodeId(3))));
        roster.members.insert(NodeId(99), member(b"key"));
        assert!(roster.still_admits(NodeId(99), b"key", Some(NodeId(3))), "a member needs nobody's word");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_from_before_is_written_too_and_a_failed_write_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("later");
        let file = folder.join("ROSTER");
        let rosters = Rosters::open("c", &file, Roster::default()).unwrap();
        let members = BTreeMap::from([(NodeId(1), member(b"one"))]);
        let roster = Roster { index: 9, last_node: NodeId(1), members };
        rosters.now.store(Arc::new(roster.clone()));
        rosters.changed.send_replace(9);
        tokio::spawn(Arc::clone(&rosters).keep());
        // Time stands still while a write is under way.
        tokio::time::sleep(WRITE_AGAIN / 2).await;
        std::fs::create_dir(&folder).unwrap();
        tokio::time::sleep(WRITE_AGAIN).await;
        assert_eq!(folder::read_value::<Roster>(&file).unwrap(), Some(roster));
    }
}
