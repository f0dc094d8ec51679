//! Commands: what the log holds. One struct per verb, applied by one file per verb.

mod account;
mod cost;
mod kept;
mod membership;
mod node;
mod session;
mod settings;
mod user;

pub use account::*;
pub use cost::{COMMAND_ROWS, ENTRY_ROWS};
pub use kept::*;
pub use membership::*;
pub use node::*;
use serde::{Deserialize, Serialize};
pub use session::*;
pub use settings::*;
pub use user::*;

use crate::{AdminSpec, Epoch, FolderSpec, GroupSpec, LogTime, NodeId, RequestId, RoleSpec, WallTime};

/// One log entry: commands of one or many nodes, grouped. Stored as a version byte and postcard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's count, see `LogTime`; apply takes the larger of this and the state's.
    pub time: LogTime,
    /// The leader's wall clock.
    pub wall: WallTime,
    pub commands: Vec<Envelope>,
}

/// A command with the id under which it is taken once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub id: CommandId,
    /// Who asked, for events: `admin NAME from ADDRESS`, `admin token NAME from ADDRESS`, `node N`, `leader`.
    pub actor: String,
    pub command: Command,
}

/// What makes a command be taken once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CommandId {
    /// An outside caller's: replies are kept in the bounded request table.
    Request(RequestId),
    /// A node's own, numbered within its epoch; the node has the answers of all numbers below `answered_below`.
    Node { node: NodeId, epoch: Epoch, number: u64, answered_below: u64 },
    /// A command that is conditional or idempotent by itself (registration, renewals, expiry, storage adoption).
    Unnumbered,
}

/// Everything that can be decided by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    InitCluster(InitCluster),
    PutNode(PutNode),
    RegisterNode(RegisterNode),
    Renew(Renew),
    Expire(Expire),
    CreateUser(CreateUser),
    UpdateUser(UpdateUser),
    ReplaceUser(ReplaceUser),
    DeleteUser(DeleteUser),
    OpenSession(OpenSession),
    AddSlot(AddSlot),
    CloseSession(CloseSession),
    KillSession(KillSession),
    PutSecret(PutSecret),
    PutToken(PutToken),
    DeleteToken(DeleteToken),
    AdoptStorage(AdoptStorage),
    MarkerWritten(MarkerWritten),
    Account(AccountCommand),
    PutAdmin(Put<AdminSpec>),
    DeleteAdmin(Delete),
    PutGroup(Put<GroupSpec>),
    DeleteGroup(Delete),
    PutFolder(Put<FolderSpec>),
    DeleteFolder(Delete),
    PutRole(Put<RoleSpec>),
    DeleteRole(Delete),
    IssueToken(IssueToken),
    PutApiKey(PutApiKey),
    MakeJoinToken(MakeJoinToken),
    AdmitNode(AdmitNode),
    RemoveNode(RemoveNode),
    ResealSecrets(ResealSecrets),
    ChangeOfRole(ChangeOfRole),
    Note(Note),
}
