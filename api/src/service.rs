//! The service layer under every interface of administration: who may, what is read, what is proposed, whom to wait for.

pub mod api_keys;
pub mod backups;
pub mod checks;
pub mod cluster;
pub mod connections;
pub mod events;
pub(crate) mod identity;
pub mod input;
pub mod membership;
pub mod patch;
pub mod progress;
pub mod quotas;
pub(crate) mod record_input;
pub mod records;
pub mod sessions;
mod throttle;
pub mod tokens;
pub mod users;
pub mod vault;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flotilla_auth::{Verifier, VerifierConfig};
use flotilla_cluster::{Cluster, new_request_id};
use flotilla_model::{Command, CommandId, Done, LogIndex, NodeId, RequestId, Root, State, StorageName};
use futures::{StreamExt, TryStreamExt};

pub use self::identity::Caller;
use self::throttle::Throttle;
use crate::error::{ApiError, Code};

/// How long a write or a linearizable read may wait for a quorum.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a revoking reply waits for the nodes concerned (`PROTOCOL.md` 3.3).
const REVOKE: Duration = Duration::from_secs(1);
/// How long a caller who asks for the cluster's status waits for a quorum before it is judged without.
const STATUS_BARRIER: Duration = Duration::from_secs(1);

/// A change that was applied.
#[derive(Clone, Debug)]
pub struct Changed {
    /// At which the change was made: by an earlier request under the same id, if it is a repetition.
    pub index: LogIndex,
    /// It had been made before.
    is_repeated: bool,
    /// The id under which it was taken once.
    pub request_id: RequestId,
    pub done: Done,
    /// Nodes that have not confirmed that the sessions concerned are cut; nothing of those is acknowledged later than a lease.
    pub unconfirmed: Vec<NodeId>,
}

impl Changed {
    /// What was done by an earlier request under the same id.
    pub(crate) fn repeated(index: LogIndex, request_id: RequestId) -> Changed {
        Changed { index, is_repeated: true, request_id, done: Done::Revision(index), unconfirmed: Vec::new() }
    }

    /// With what another change left to wait for.
    pub(crate) fn and(mut self, other: Changed) -> Changed {
        self.index = self.index.max(other.index);
        self.unconfirmed.extend(other.unconfirmed);
        self.unconfirmed.sort_unstable();
        self.unconfirmed.dedup();
        self
    }

    /// At which index the record was made, if the change made one.
    fn made_at(&self) -> Option<LogIndex> {
        match self.done {
            Done::Revision(revision) => Some(revision),
            _ => None,
        }
    }

    /// The record that this creation made: as it is now, or as it was made if it is gone by now or not to be seen. `there` is the
    /// record of that name with its incarnation. An id that was used before answers for what it did then: nothing is shown that
    /// it did not make.
    pub(crate) fn record<T>(
        &self,
        there: Option<(LogIndex, T)>,
        as_made: impl FnOnce(LogIndex) -> T,
        called: &str,
    ) -> Result<T, ApiError> {
        match (there, self.made_at()) {
            (Some((incarnation, record)), Some(made)) if incarnation == made => Ok(record),
            (_, Some(made)) if !self.is_repeated => Ok(as_made(made)),
            _ => Err(self.used_before(called)),
        }
    }

    /// Whether it was made now, and not by an earlier request under the same id.
    pub(crate) fn is_first(&self, called: &str) -> Result<(), ApiError> {
        if self.made_at().is_some() && !self.is_repeated { Ok(()) } else { Err(self.used_before(called)) }
    }

    /// Not definite: the earlier request may have made the record, which is gone since.
    fn used_before(&self, called: &str) -> ApiError {
        let text = format!(
            "this request id was used before, and {called} is not there as that request made it: look what is there, and take a \
             new request id for a new change"
        );
        let (request_id, log_index) = (Some(self.request_id), Some(self.index));
        ApiError { definite: false, request_id, log_index, ..ApiError::new(Code::Conflict, text) }
    }
}

/// One per node.
pub struct Service {
    pub(crate) cluster: Arc<dyn Cluster>,
    /// Name and absolute path, in the order of the configuration.
    storages: Vec<(StorageName, PathBuf)>,
    /// Password hashes that are made at one time.
    hashing: tokio::sync::Semaphore,
    /// Of admins' passwords.
    verifier: Verifier,
    throttle: Throttle,
    /// Who holds the cluster's keys; none where there are none (tests).
    vault: Option<Arc<dyn vault::Vault>>,
    /// Dumps that are being loaded through this node.
    pub(crate) loads: progress::Loads,
}

impl Service {
    pub fn new(cluster: Arc<dyn Cluster>, storages: Vec<(StorageName, PathBuf)>) -> Service {
        let verifier = Verifier::new(VerifierConfig { workers: 2, queue: 16, ..VerifierConfig::default() });
        let hashing = tokio::sync::Semaphore::new(2);
        Service {
            cluster,
            storages,
            hashing,
            verifier,
            throttle: Throttle::default(),
            vault: None,
            loads: progress::Loads::default(),
        }
    }

    pub fn with_vault(self, vault: Arc<dyn vault::Vault>) -> Service {
        Service { vault: Some(vault), ..self }
    }

    /// What this node has applied.
    pub fn applied_index(&self) -> LogIndex {
        self.cluster.state().applied_index()
    }

    /// What this node has applied: enough to show what a change just did here.
    pub(crate) fn local_state(&self) -> Arc<State> {
        self.cluster.state()
    }

    /// The state behind a read barrier, or the local one.
    pub async fn state(&self, stale: bool) -> Result<Arc<State>, ApiError> {
        if !stale {
            self.cluster.barrier(DEADLINE).await?;
        }
        Ok(self.cluster.state())
    }

    /// Proposes a change under the caller's request id and waits for the nodes that must cut sessions.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        command: Command,
    ) -> Result<Changed, ApiError> {
        let request_id = id.unwrap_or_else(new_request_id);
        let named = |error: ApiError| ApiError { request_id: Some(request_id), ..error };
        let submitted = self.cluster.submit(CommandId::Request(request_id), &caller.actor(), command, DEADLINE).await;
        let submitted = submitted.map_err(|error| named(error.into()))?;
        let index = submitted.index;
        let refused = |refusal| named(ApiError { log_index: Some(index), ..ApiError::from(refusal) });
        let done = submitted.reply.map_err(refused)?;
        let unconfirmed = match &done {
            Done::Revoked { nodes, .. } => self.cluster.cuts_effective(nodes, index, REVOKE).await,
            _ => Vec::new(),
        };
        let made = match &done {
            Done::Revision(revision) | Done::Revoked { revision, .. } => *revision,
            _ => index,
        };
        Ok(Changed { index: made, is_repeated: made != index, request_id, done, unconfirmed })
    }

    /// Where a home folder lies: an absolute path under one of the storages.
    pub(crate) fn root_of(&self, home_dir: &str) -> Result<Root, ApiError> {
        let under = |(name, path): &(StorageName, PathBuf)| {
            let rest = Path::new(home_dir).strip_prefix(path).ok()?;
            Some((name.clone(), rest.to_str()?.to_owned()))
        };
        // Of storages within each other the innermost is meant: the shortest rest.
        match self.storages.iter().filter_map(under).min_by_key(|(_, rest)| rest.len()) {
            Some((name, rest)) => Root::new(name, &rest).map_err(|error| ApiError::field("home_dir", error.reason)),
            None => Err(ApiError::field(
                "home_dir",
                format_args!("{home_dir:?} lies under none of the storages ({})", self.known_storages()),
            )),
        }
    }

    fn known_storages(&self) -> String {
        let known = self.storages.iter().map(|(name, path)| format!("{name} at {}", path.display()));
        known.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn default_root(&self, username: &str) -> Result<Root, ApiError> {
        let first = self.storages.first().ok_or_else(|| ApiError::new(Code::Internal, "no storage is configured"))?;
        // By its path: another storage may lie there.
        self.root_of(&first.1.join(username).to_string_lossy())
    }

    /// A root as this node's absolute path; by storage name where this node does not have it.
    pub(crate) fn home_dir(&self, root: &Root) -> String {
        match self.storages.iter().find(|(name, _)| *name == root.storage) {
            Some((_, path)) => path.join(root.path()).to_string_lossy().trim_end_matches('/').to_owned(),
            None => root.to_string(),
        }
    }

    /// argon2id, off the async threads, two at a time. A password that is a hash already is kept as it is, as SFTPGo does.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        if checks::is_hash(&password)? {
            return Ok(password);
        }
        let internal = |text: String| ApiError::new(Code::Internal, text);
        let _turn = self.hashing.acquire().await.map_err(|error| internal(error.to_string()))?;
        let hashed = tokio::task::spawn_blocking(move || flotilla_auth::hash_password(password.as_bytes())).await;
        hashed.map_err(|error| internal(error.to_string()))?.map_err(|error| ApiError::field("password", error))
    }
}

/// Changes that one request proposes at one time.
const AT_ONCE: usize = 32;

/// Makes a change of each item, some at a time; answers the last index and all nodes that have not confirmed. The first error ends
/// it.
pub(crate) async fn union<T, F: Future<Output = Result<Option<Changed>, ApiError>>>(
    items: Vec<T>,
    change: impl Fn(T) -> F,
) -> Result<Option<Changed>, ApiError> {
    let done = futures::stream::iter(items.into_iter().map(change)).buffer_unordered(AT_ONCE);
    done.try_fold(None, |all, done| std::future::ready(Ok(both(all, done)))).await
}

pub(crate) fn both(one: Option<Changed>, other: Option<Changed>) -> Option<Changed> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// What to skip and take of `count` rows in order for a page from `offset` on, backwards if `descending` (the caller reverses).
pub(crate) fn page(count: usize, offset: usize, limit: usize, descending: bool) -> (usize, usize) {
    if !descending {
        return (offset, limit);
    }
    let take = limit.min(count.saturating_sub(offset));
    (count.saturating_sub(offset.saturating_add(take)), take)
}

/// This node's wall clock, ms since 1970: for expiry dates, which are policy.
pub(crate) fn wall_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
