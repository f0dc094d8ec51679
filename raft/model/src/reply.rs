//! Replies of apply: what was done, or the refusal with its numbers.

use serde::{Deserialize, Serialize};

use crate::{Amount, Epoch, Limits, LogIndex, LogTime, Name, NodeId, SessionId, StorageName, Username, WallTime};

pub type Reply = Result<Done, Refusal>;

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// Applied; `revision` of the record concerned where there is one.
    Revision(LogIndex),
    Registered {
        epoch: Epoch,
    },
    Opened {
        session: SessionId,
    },
    /// The command changed something that ends sessions; these nodes hold such sessions and must confirm.
    Revoked {
        revision: LogIndex,
        nodes: Vec<NodeId>,
    },
    /// A node was let in, now or by an earlier asking of the same key.
    Admitted {
        node: NodeId,
    },
    /// Nothing to do: already so, or a leader's duty overtaken by a later entry.
    Nothing,
    Account(AccountDone),
}

/// What an accepted account command did. Owned by the escrow rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountDone {
    Nothing,
    /// Room was given: at this index, under these limits.
    Granted {
        index: LogIndex,
        limits: Limits,
        amount: Amount,
    },
    /// The need does not fit now: the outcome will stand in the account's waiter of this command's number.
    Waiting,
    Settled,
    ScanBegun {
        begun: LogIndex,
    },
    Scanned {
        used: Amount,
    },
}

/// A session that holds a slot in the way of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotHolder {
    pub session: SessionId,
    pub remote: String,
    pub opened_at: LogTime,
    pub opened_wall: WallTime,
    pub slots: u32,
}

/// Why apply refused a command. All are definite: nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("the cluster is already initialised as {cluster_id}")]
    AlreadyInitialised { cluster_id: String },
    #[error("the cluster is not initialised")]
    NotInitialised,
    #[error("user {username} does not exist")]
    UserNotFound { username: Username },
    #[error("user {username} already exists")]
    UserExists { username: Username },
    #[error("user {username} is disabled")]
    UserDisabled { username: Username },
    #[error("user {username} expired")]
    UserExpired { username: Username },
    #[error("user {username} has changed since the credential was verified")]
    UserChanged { username: Username },
    #[error("revision is {actual}, not {expected}: read the record again and repeat the change on it")]
    RevisionMismatch { expected: LogIndex, actual: LogIndex },
    #[error("{username} has {in_use} of {max_sessions} sessions")]
    SessionLimitReached { username: Username, max_sessions: u32, in_use: u32, holders: Vec<SlotHolder> },
    #[error("session {session} does not exist or has ended")]
    SessionNotFound { session: SessionId },
    #[error("session {session} was closed before it was opened")]
    SessionClosedBefore { session: SessionId },
    #[error("node {node} does not exist")]
    NodeNotFound { node: NodeId },
    #[error("node {node}: epoch {epoch} has ended or was never its own")]
    StaleEpoch { node: NodeId, epoch: Epoch },
    #[error("node {node}: its last epoch is {actual}, not {replaces}")]
    RegistrationOvertaken { node: NodeId, replaces: Epoch, actual: Epoch },
    #[error("another registration stands in the same entry: repeat")]
    RegistrationCollided,
    #[error("request id is older than the table of replies reaches: whether it was applied is not known")]
    RequestExpired,
    #[error("request id lies more than five minutes ahead of the cluster: is the clock right where it was made?")]
    RequestFromFuture,
    #[error("command {number} is answered already and its reply is no longer kept")]
    NumberForgotten { number: u64 },
    #[error("command {number} lies more than {window} numbers above the answered ones: repeat it later")]
    NumberTooFar { number: u64, window: u64 },
    #[error("node {node}: start {start} lies before its last registered start {registered}")]
    StartWentBack { node: NodeId, start: u64, registered: u64 },
    #[error("{name} already exists")]
    NameExists { name: String },
    #[error("{name} does not exist")]
    NameNotFound { name: String },
    #[error("{name} is named by {by}: take it away there first")]
    InUse { name: String, by: String },
    #[error("storage {name} is already adopted with id {storage_id}")]
    StorageKnown { name: StorageName, storage_id: String },
    #[error("root {root} overlaps with {other}, and one of them has a quota")]
    RootOverlaps { root: String, other: String },
    #[error("{0}")]
    Membership(#[from] MembershipRefusal),
    #[error("account refusal: {0}")]
    Account(AccountRefusal),
    #[error("invalid: {0}")]
    Invalid(String),
    #[error("home_dir: {home} is not the own of role {role}: {why}")]
    HomeOfOthers { role: Name, home: String, why: String },
}

impl Refusal {
    /// Whether it is certain that nothing happened. Only a forgotten outcome is not.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Refusal::RequestExpired | Refusal::NumberForgotten { .. })
    }
}

/// Why a node was not let in, or not put out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MembershipRefusal {
    #[error(
        "this join token is not known here: it is another cluster's, or has expired; make one with `flotilla cluster token`"
    )]
    UnknownToken,
    #[error("this join token has expired: make a new one with `flotilla cluster token`")]
    TokenExpired,
    #[error("this join token was used for node {node} already: make a new one with `flotilla cluster token`")]
    TokenUsed { node: NodeId },
    #[error(
        "node {node} has the name {name} already: give another name, or remove that node first (`flotilla cluster remove {node}`)"
    )]
    NameTaken { name: String, node: NodeId },
    #[error(
        "node {node} has the peer address {address} already: give another address, or remove that node first (`flotilla cluster remove {node}`)"
    )]
    AddressTaken { address: String, node: NodeId },
    #[error(
        "this key belongs to node {node} already: start that node instead of joining, or join with an empty data folder"
    )]
    KeyTaken { node: NodeId },
    #[error("a cluster has at most {most} nodes")]
    TooManyNodes { most: u32 },
    #[error(
        "node {node} was removed from the cluster and never comes back under that number: empty its data folder and join with a new token"
    )]
    Removed { node: NodeId },
    #[error("node {node} is the last one: a cluster without nodes is none")]
    LastNode { node: NodeId },
    #[error(
        "without node {node} only {alive} of {members} members would be alive, and that is no majority: start the stopped nodes, \
         or join another one, before you remove this one; if a majority is lost for good run `flotilla cluster recover` on a \
         node that is left"
    )]
    NoMajority { node: NodeId, alive: u32, members: u32 },
    #[error(
        "node {node} has another store than the one it registered with: it was wiped or replaced; remove it (`flotilla cluster remove {node}`) and join with a new token"
    )]
    OtherStore { node: NodeId },
}

/// Why an account command was refused. Owned by the escrow rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AccountRefusal {
    #[error("account does not exist")]
    NotFound,
    #[error("no session of this node uses the account")]
    NoSession,
    #[error("user was deleted or made anew")]
    UserGone,
    #[error("too many uploads wait for room in this account")]
    TooManyWaiting,
    #[error("a command of a node must carry its number")]
    Unnumbered,
    #[error("too many parts in one command")]
    TooLarge,
    #[error("amounts of a command must not be negative")]
    Negative,
    #[error("account is in use: a scan waits until it is idle")]
    InUse,
    #[error("node {node}: epoch {epoch} has ended but is not fenced")]
    Unfenced { node: NodeId, epoch: Epoch },
    #[error("node {node}: epoch {epoch} has ended, its process has neither settled nor is known to be gone")]
    MayStillWrite { node: NodeId, epoch: Epoch },
    #[error(
        "{count} ended node epochs wait in this account for their fence or scan: look at the storages of the nodes"
    )]
    TooManyEnded { count: u64 },
    #[error("another scan is under way on node {node}")]
    ScanUnderWay { node: NodeId },
    #[error("the scan was overtaken: the account was used since it began")]
    ScanOvertaken,
    #[error("not every node that uses the account has confirmed the scan")]
    ScanUnconfirmed,
    #[error("the lease of node {node} ended during the scan: what it stored meanwhile is not known")]
    EndedDuringScan { node: NodeId },
}
