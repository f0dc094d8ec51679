//! What applying a command costs at most, in rows, judged from the command alone: what a proposer splits entries by.

use super::{AccountCommand, Command, CommandId, Envelope, MAX_SETTLED_ACCOUNTS};
use crate::apply::{MOST_NODES, MOST_SECRETS};

/// Rows that one command may touch, whatever it is.
pub const COMMAND_ROWS: u64 = 2_000;
/// Rows that one entry may touch: no apply takes longer than 20 ms at a million users.
pub const ENTRY_ROWS: u64 = 20_000;
/// An event, with those that it pushes out of the window.
const EVENT: u64 = 5;
/// An account's row with its index, and the events of its mark and its end.
const ACCOUNT: u64 = 2 + 2 * EVENT;
/// A secret's row and its event.
const SECRET: u64 = 1 + EVENT;
/// Answers that a node's command clears away, its own, its node's row.
const ONCE: u64 = 66;
/// A record that is kept by name, with what it names.
const KEPT: u64 = 66;
/// An admin's tokens and API keys, each with its indices.
const TOKENS: u64 = 3 * 128;
/// A few rows of any kind, each with indices and an event.
const FEW: u64 = 40;

// The largest of those that count what they name.
const _: () = assert!(ONCE + ACCOUNT * MAX_SETTLED_ACCOUNTS as u64 <= COMMAND_ROWS);
const _: () = assert!(ONCE + FEW + SECRET * MOST_SECRETS as u64 <= COMMAND_ROWS);

impl Envelope {
    /// An upper bound of the rows that this touches in any state. `State::apply` asserts it in debug builds.
    pub fn rows_at_most(&self) -> u64 {
        let once = match self.id {
            CommandId::Request(_) => 5,
            CommandId::Node { .. } => ONCE,
            CommandId::Unnumbered => 0,
        };
        (once + self.command.rows_at_most()).min(COMMAND_ROWS)
    }
}

impl Command {
    fn rows_at_most(&self) -> u64 {
        match self {
            // These may mark the sessions of a user or end those of a node.
            Command::RegisterNode(_)
            | Command::Expire(_)
            | Command::UpdateUser(_)
            | Command::ReplaceUser(_)
            | Command::DeleteUser(_)
            | Command::ChangeOfRole(_) => COMMAND_ROWS,
            Command::Renew(renew) => 1 + renew.renewals.len() as u64,
            Command::Account(AccountCommand::Settle(settle)) => ACCOUNT * settle.accounts.len() as u64,
            // These may end all tokens of an admin.
            Command::PutAdmin(_) | Command::DeleteAdmin(_) | Command::IssueToken(_) => FEW + KEPT + TOKENS,
            Command::PutGroup(_)
            | Command::DeleteGroup(_)
            | Command::PutFolder(_)
            | Command::DeleteFolder(_)
            | Command::PutRole(_)
            | Command::DeleteRole(_) => FEW + KEPT,
            Command::ResealSecrets(reseal) => FEW + SECRET * reseal.secrets.len() as u64,
            // Looks at every node.
            Command::AdmitNode(_) => FEW + MOST_NODES as u64,
            _ => FEW,
        }
    }
}
