//! Commands of accounts: grants, settlements, recalls, credits, fences, scans (`PROTOCOL.md` 4 to 7).

use serde::{Deserialize, Serialize};

use crate::AccountId;

/// What a node asks of an account's ledger. Numbered by `CommandId::Node`, except where it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// An administrator asks for a scan.
    WantScan { account: AccountId },
}
