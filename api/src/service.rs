//! The service layer under every interface of administration: who may, what is read, what is proposed, whom to wait for.

pub mod connections;
pub mod cluster;
pub mod quotas;
pub mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::{Cluster, new_request_id};
use flotilla_model::{Command, CommandId, Done, LogIndex, NodeId, RequestId, Root, State, StorageName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ApiError, Code};

/// How long a write or a linearizable read may wait for a quorum.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a revoking reply waits for the nodes concerned (`PROTOCOL.md` 3.3).
const REVOKE: Duration = Duration::from_secs(1);

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `admin token NAME`, for events.
    pub name: String,
    permissions: Vec<String>,
}

impl Caller {
    /// Permission names are SFTPGo's; `*` is all of them.
    pub fn may(&self, permission: &str) -> Result<(), ApiError> {
        if self.permissions.iter().any(|held| held == "*" || held == permission) {
            return Ok(());
        }
        Err(ApiError::new(Code::Forbidden, format!("{} lacks the permission {permission}", self.name)))
    }
}

/// A change that was applied.
#[derive(Clone, Debug)]
pub struct Changed {
    pub index: LogIndex,
    pub done: Done,
    /// Nodes that have not confirmed that the sessions concerned are cut; nothing of those is acknowledged later than a lease.
    pub unconfirmed: Vec<NodeId>,
}

/// One per node.
pub struct Service {
    pub(crate) cluster: Arc<dyn Cluster>,
    /// Name and absolute path, in the order of the configuration.
    storages: Vec<(StorageName, PathBuf)>,
    /// Password hashes that are made at one time.
    hashing: tokio::sync::Semaphore,
}

impl Service {
    pub fn new(cluster: Arc<dyn Cluster>, storages: Vec<(StorageName, PathBuf)>) -> Service {
        Service { cluster, storages, hashing: tokio::sync::Semaphore::new(2) }
    }

    /// The state behind a read barrier, or the local one.
    pub async fn state(&self, stale: bool) -> Result<Arc<State>, ApiError> {
        if !stale {
            self.cluster.barrier(DEADLINE).await?;
        }
        Ok(self.cluster.state())
    }

    /// Who holds this token. A refusal is as fresh as a grant: unknown tokens are looked up once more behind a barrier.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, ApiError> {
        // A token that was revoked elsewhere must not pass here: tokens are always judged behind a barrier.
        let state = self.state(false).await?;
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let found = state.tokens().filter(|row| bool::from(row.hash.ct_eq(&hash))).last();
        match found {
            Some(row) if row.expires_at == 0 || row.expires_at > now => {
                Ok(Caller { name: format!("admin token {}", row.name), permissions: row.permissions.clone() })
            }
            Some(row) => Err(ApiError::new(Code::Unauthenticated, format!("token {} has expired", row.name))),
            None => Err(ApiError::new(Code::Unauthenticated, "unknown token")),
        }
    }

    /// Proposes a change under the caller's request id and waits for the nodes that must cut sessions.
    pub(crate) async fn change(&self, caller: &Caller, id: Option<RequestId>, command: Command) -> Result<Changed, ApiError> {
        let id = CommandId::Request(id.unwrap_or_else(new_request_id));
        let submitted = self.cluster.submit(id, &caller.name, command, DEADLINE).await?;
        let index = submitted.index;
        let done = submitted.reply.map_err(|refusal| ApiError { log_index: Some(index), ..ApiError::from(refusal) })?;
        let unconfirmed = match &done {
            Done::Revoked { nodes, .. } => self.cluster.cuts_effective(nodes, index, REVOKE).await,
            _ => Vec::new(),
        };
        Ok(Changed { index, done, unconfirmed })
    }

    /// Where a home folder lies: an absolute path under one of the storages.
    pub(crate) fn root_of(&self, home_dir: &str) -> Result<Root, ApiError> {
        for (name, path) in &self.storages {
            if let Ok(rest) = std::path::Path::new(home_dir).strip_prefix(path) {
                let rest = rest.to_str().ok_or_else(|| ApiError::invalid("home_dir: not UTF-8"))?;
                return Ok(Root::new(name.clone(), rest)?);
            }
        }
        let known: Vec<String> = self.storages.iter().map(|(name, path)| format!("{name} at {}", path.display())).collect();
        Err(ApiError::invalid(format!("home_dir: {home_dir:?} lies under none of the storages ({})", known.join(", "))))
    }

    pub(crate) fn default_root(&self, username: &str) -> Result<Root, ApiError> {
        let (name, _) = self.storages.first().ok_or_else(|| ApiError::new(Code::Internal, "no storage is configured"))?;
        Ok(Root::new(name.clone(), username)?)
    }

    /// A root as this node's absolute path; by storage name where this node does not have it.
    pub(crate) fn home_dir(&self, root: &Root) -> String {
        match self.storages.iter().find(|(name, _)| *name == root.storage) {
            Some((_, path)) => path.join(root.path()).to_string_lossy().trim_end_matches('/').to_owned(),
            None => root.to_string(),
        }
    }

    /// argon2id, off the async threads, two at a time.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        let internal = |text: String| ApiError::new(Code::Internal, text);
        let _turn = self.hashing.acquire().await.map_err(|error| internal(error.to_string()))?;
        let hashed = tokio::task::spawn_blocking(move || flotilla_auth::hash_password(password.as_bytes())).await;
        hashed.map_err(|error| internal(error.to_string()))?.map_err(|error| ApiError::invalid(format!("password: {error}")))
    }
}
