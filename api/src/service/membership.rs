//! Who is let in and put out, who leads, and the keys that go with it.

use std::sync::Arc;
use std::time::Duration;

use flotilla_model::command::{MakeJoinToken, Note, RemoveNode};
use flotilla_model::{Command, NodeId, Refusal, RequestId};
use tokio::time::timeout;

use super::vault::{HostKeyView, Vault};
use super::{Caller, Changed, Service, checks};
use crate::access::Verb;
use crate::error::{ApiError, Code};

const TRANSFER: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(3);
/// A removed node's lease is over after TTL (6 s), its margins and an election.
const GONE: Duration = Duration::from_secs(10);
/// A secret that changed while the others were sealed anew.
const RESEAL_TRIES: usize = 3;

/// What stands in a join token besides its secret.
#[derive(Clone, Debug)]
pub struct JoinTokenMade {
    pub changed: Changed,
    pub cluster_id: String,
    pub ca_fingerprint: [u8; 32],
    /// Peer addresses, this node's first.
    pub addresses: Vec<String>,
}

/// What became of a removal.
#[derive(Clone, Debug)]
pub struct Removed {
    pub changed: Changed,
    pub gone: bool,
    pub notes: Vec<String>,
}

impl Service {
    fn vault(&self) -> Result<&Arc<dyn Vault>, ApiError> {
        self.vault.as_ref().ok_or_else(|| ApiError::new(Code::Unsupported, "this node holds no cluster key"))
    }

    pub async fn create_join_token(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        hash: &[u8],
        life_seconds: u32,
    ) -> Result<JoinTokenMade, ApiError> {
        caller.may(Verb::CreateJoinToken)?;
        let hash = checks::hash(hash)?;
        let ca_fingerprint = self.vault()?.ca_fingerprint();
        let life_ms = u64::from(life_seconds) * 1_000;
        let changed = self.change(caller, id, Command::MakeJoinToken(MakeJoinToken { hash, life_ms })).await?;
        let state = self.local_state();
        let own = self.cluster.node();
        let mut members: Vec<_> = state.nodes().filter(|row| row.alive && !row.leaving).collect();
        members.sort_by_key(|row| (row.id != own, row.id));
        Ok(JoinTokenMade {
            changed,
            cluster_id: state.settings().map(|settings| settings.cluster_id.clone()).unwrap_or_default(),
            ca_fingerprint,
            addresses: members.iter().take(5).map(|row| row.peer_address.clone()).collect(),
        })
    }

    /// Who leads then.
    pub async fn transfer_leadership(&self, caller: &Caller, to: Option<NodeId>) -> Result<NodeId, ApiError> {
        caller.may(Verb::TransferLeadership)?;
        self.note(caller, Note::LeadershipMoves { to }).await;
        Ok(self.cluster.transfer(to, TRANSFER).await?)
    }

    /// For the history. What is asked for is the remedy where the log takes nothing: then this node's own log tells of it.
    async fn note(&self, caller: &Caller, note: Note) {
        if let Err(error) = self.change(caller, None, Command::Note(note.clone())).await {
            tracing::warn!(sender = "api", ?note, error = error.message, "what is asked for is not in the history");
        }
    }

    pub async fn drain_node(&self, caller: &Caller, node: NodeId) -> Result<(), ApiError> {
        caller.may(Verb::DrainNode)?;
        let state = self.state(false).await?;
        match state.node(node) {
            None => Err(ApiError::from(Refusal::NodeNotFound { node }).judged_by(&state)),
            Some(row) if !row.alive => {
                Err(ApiError::new(Code::Conflict, format!("node {node} is down: there is nothing to drain")))
            }
            Some(_) => {
                self.note(caller, Note::NodeDrains { node }).await;
                Ok(self.cluster.drain(node, DRAIN).await?)
            }
        }
    }

    /// Moves leadership away, removes, replaces the cluster key, waits until the node's last lease is over.
    pub async fn remove_node(&self, caller: &Caller, id: Option<RequestId>, node: NodeId) -> Result<Removed, ApiError> {
        caller.may(Verb::RemoveNode)?;
        let state = self.state(false).await?;
        self.may_remove(node)?;
        if node == self.cluster.node() {
            return Err(ApiError::new(
                Code::Conflict,
                format!(
                    "node {node} is the one you ask: it could not tell how it ended; ask another node (--endpoint)"
                ),
            ));
        }
        if self.cluster.status().leader == Some(node) && state.node(node).is_some() {
            self.cluster.transfer(None, TRANSFER).await?;
        }
        let changed = self.change(caller, id, Command::RemoveNode(RemoveNode { node, lost: false })).await?;
        let mut notes = vec![match self.rotate_cluster_key(caller).await {
            Ok(()) => "the cluster key was replaced and all secrets were sealed anew".to_owned(),
            Err(error) => format!("the cluster key could not be replaced ({error}): run this removal again"),
        }];
        notes.extend(self.known_host_keys(node));
        let gone = self.wait_gone(node).await;
        notes.extend(flotilla_cluster::voter_notes(self.voters_without(node), 0));
        Ok(Removed { changed, gone, notes })
    }

    /// Without the node there must be voters left that can go on.
    fn may_remove(&self, node: NodeId) -> Result<(), ApiError> {
        let status = self.cluster.status();
        if status.voters == [node] {
            return Err(ApiError::new(
                Code::Conflict,
                format!(
                    "node {node} is the only voter: join nodes first, or if it is lost for good run \
                     `flotilla cluster recover` on another node"
                ),
            ));
        }
        Ok(())
    }

    fn voters_without(&self, node: NodeId) -> usize {
        self.cluster.status().voters.iter().filter(|voter| **voter != node).count()
    }

    fn known_host_keys(&self, node: NodeId) -> Vec<String> {
        let keys = self.vault.as_ref().and_then(|vault| vault.host_keys().ok()).unwrap_or_default();
        let shown: Vec<String> = keys.iter().map(|key| format!("{} {}", key.algorithm, key.fingerprint)).collect();
        if shown.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "node {node} knew these SSH host keys: {}. If its disk may be in other hands, replace them: \
             flotilla host-key rotate (clients that know the old ones will warn)",
            shown.join(", ")
        )]
    }

    async fn wait_gone(&self, node: NodeId) -> bool {
        let mut applied = self.cluster.applied();
        let gone = async {
            while self.cluster.state().node(node).is_some() {
                if applied.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(GONE, gone).await.unwrap_or(false)
    }

    async fn rotate_cluster_key(&self, caller: &Caller) -> Result<(), ApiError> {
        let vault = self.vault()?;
        let internal = |why: String| ApiError::new(Code::Internal, why);
        let mut last = None;
        for _ in 0..RESEAL_TRIES {
            let command = vault.rotate_cluster_key().await.map_err(internal)?;
            match self.change(caller, None, command).await {
                Err(error) if error.code == Code::RevisionMismatch => last = Some(error),
                other => return other.map(|_| ()),
            }
        }
        Err(last.unwrap_or_else(|| internal("secrets keep changing".to_owned())))
    }

    pub async fn list_host_keys(&self, caller: &Caller) -> Result<(u64, Vec<HostKeyView>), ApiError> {
        caller.may(Verb::ListHostKeys)?;
        let state = self.state(false).await?;
        let keys = self.vault()?.host_keys().map_err(|why| ApiError::new(Code::Internal, why))?;
        Ok((state.applied_index(), keys))
    }

    pub async fn rotate_host_keys(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
    ) -> Result<(Changed, Vec<HostKeyView>), ApiError> {
        caller.may(Verb::RotateHostKeys)?;
        self.state(false).await?;
        let internal = |why| ApiError::new(Code::Internal, why);
        let (command, made) = self.vault()?.new_host_keys().map_err(internal)?;
        let changed = self.change(caller, id, command).await?;
        // A repeated request answers with the keys that are shown, not with those that it would have made.
        let keys = if changed.is_repeated { self.vault()?.host_keys().map_err(internal)? } else { made };
        Ok((changed, keys))
    }
}
