//! The door to the account ledger: account commands, and what users and sessions mean for their accounts.
//!
//! Owned by the escrow rules (`PROTOCOL.md` 4 to 7); the other verbs call these functions and know nothing else of ledgers.

use std::collections::BTreeSet;

use super::Scope;
use crate::command::AccountCommand;
use crate::{AccountDone, CommandId, Done, NodeId, Refusal, Reply, Session, User};

pub(super) fn apply(_scope: &mut Scope<'_>, _id: CommandId, command: &AccountCommand) -> Reply {
    match command {
        AccountCommand::WantScan { .. } => Ok(Done::Account(AccountDone::Nothing)),
        _ => Err(Refusal::Invalid("account command: not known to this version".into())),
    }
}

/// A user's row changes: created (`before` is `None`), updated, or deleted (`after` is `None`). Called after the rows and indices
/// have changed; the account rows exist. Returns the nodes that must confirm before the change binds (a recall).
pub(super) fn user_changed(_scope: &mut Scope<'_>, _before: Option<&User>, _after: Option<&User>) -> BTreeSet<NodeId> {
    BTreeSet::new()
}

/// A session of the account (`session.account`) was opened under a living epoch.
pub(super) fn session_opened(_scope: &mut Scope<'_>, _session: &Session) {}

/// A session of a living epoch was closed by its node.
pub(super) fn session_closed(_scope: &mut Scope<'_>, _session: &Session) {}

/// The row of a session whose epoch is over was swept; the epoch itself ended earlier.
pub(super) fn session_swept(_scope: &mut Scope<'_>, _session: &Session) {}
