//! Effects: hints which rows a node should look at again. Level-triggered: the truth is the state, an effect seen twice or never changes nothing.

use crate::{AccountId, NodeId, SessionId, StorageName, Username};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The user was changed or deleted: sessions may be cut, policies may have grown.
    User(Username),
    /// The session's own row changed (opened, cut, closed).
    Session(SessionId),
    /// A node's epoch began or ended.
    Node(NodeId),
    /// The account's ledger changed: a recall, a granted or refused waiter, a fence or a scan may be wanted.
    Account(AccountId),
    Storage(StorageName),
    /// Secrets, tokens, settings.
    Settings,
}
