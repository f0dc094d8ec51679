//! Commands of accounts: grants, settlements, recalls, credits, fences, scans (`PROTOCOL.md` 4 to 7).

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, CreditedInode, Epoch, Limits, LogIndex, NodeId, OpenUpload, UploadOrder, Username, Walked,
};

/// What a node asks of an account's ledger. `Grant`, `Settle`, `Answer`, `WaitOver`, `Confirm`, `ScanConfirm` and `ScanReport` are
/// numbered by `CommandId::Node` and speak for that node's epoch; the others are conditional or idempotent by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccountCommand {
    Grant(Grant),
    Settle(Settle),
    Answer(RecallAnswer),
    WaitOver(WaitOver),
    Confirm(ConfirmLimited),
    SettleDead(SettleDead),
    Fenced(Fenced),
    Inspected(Inspected),
    ScanBegin(ScanBegin),
    ScanCommit(ScanCommit),
    ScanConfirm(ScanWord),
    ScanWalked(ScanWalked),
    ScanReport(ScanWord),
    ScanGiveUp(ScanGiveUp),
    /// An administrator asks for a scan.
    WantScan {
        account: AccountId,
        /// Do not wait for processes of dead epochs that may still write: what such a one writes in place meanwhile is not counted.
        force: bool,
    },
}

/// Asks for room (4.2). With a `need` it becomes a waiter if that does not fit; without, what can be had ahead is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    pub account: AccountId,
    pub username: Username,
    /// The user's creation index: its current limits are applied.
    pub incarnation: LogIndex,
    pub need: Amount,
    /// Wanted beyond the need. Apply gives less where room is short, and nothing while somebody waits.
    pub ahead: Amount,
    /// What the upload holds already, and its order; `None` while it holds nothing or its session's buffer is full.
    pub holds: Amount,
    pub order: Option<UploadOrder>,
}

/// One account's part of a settlement. All amounts are changes since the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountSettlement {
    pub account: AccountId,
    /// The holder's `since`: a settlement of an earlier row changes nothing and marks.
    pub since: LogIndex,
    /// Published: from outstanding to used, per limits of the grant.
    pub spent: Vec<(Limits, Amount)>,
    /// Unspent: from outstanding back to the account.
    pub returned: Vec<(Limits, Amount)>,
    /// Stored without a grant, in an account without a limit.
    pub reported: Amount,
    pub credits: Vec<CreditItem>,
    /// Every credit that this node measured before having applied this index is settled by now.
    pub settled_through: LogIndex,
    /// Something was over-counted that cannot be credited (an in-place shrink, a capture without a measure).
    pub mark: bool,
    /// Since the last settlement a file or folder was renamed, made shorter in place, or removed while it was open here: a walk of that
    /// time may have missed what is stored.
    pub disturbed: bool,
    /// Asks whose outcome the node has taken; of a refused one: after its room came back.
    pub seen: Vec<u64>,
}

/// A removed or replaced file that was caught, synced and measured (6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CreditItem {
    pub amount: Amount,
    pub inode: CreditedInode,
    /// The index that the node had applied when it measured.
    pub measured: LogIndex,
}

/// Settlements of one node, of many accounts. At most `MAX_SETTLED_ACCOUNTS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settle {
    pub accounts: Vec<AccountSettlement>,
}

pub const MAX_SETTLED_ACCOUNTS: usize = 128;
/// Credits of one account in one command.
pub const MAX_CREDITS: usize = 512;
/// Uploads listed in one answer; a node with more sums the youngest up.
pub const MAX_LISTED_UPLOADS: usize = 512;

/// A node's answer to a recall (5.1): it settles, returns all that is unspent and lists what is unpublished.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecallAnswer {
    pub settlement: AccountSettlement,
    /// The index that the node had applied when it began.
    pub begun: LogIndex,
    pub uploads: Vec<OpenUpload>,
}

/// A word of the node about its waiter, and the occasion to decide anew (somebody's epoch ended).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaitOver {
    pub account: AccountId,
    /// The number of the `Grant` command.
    pub number: u64,
    /// Its 10 s are over.
    pub time_over: bool,
    /// Its session's buffer is full: it counts as the youngest from here on.
    pub buffer_full: bool,
    /// Nobody waits for the answer any more: forget it.
    pub gone: bool,
}

/// A node takes grants only from here on, and has reported everything else (4.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfirmLimited {
    pub settlement: AccountSettlement,
    /// The account's `limited_since` that this confirms.
    pub limited_since: LogIndex,
    /// What unpublished uploads hold that was written without a grant: outstanding from here on.
    pub held: Amount,
}

/// A process that outlived its lease settles its dead epoch: all jobs have returned, its staged files are gone (7.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SettleDead {
    pub account: AccountId,
    pub node: NodeId,
    pub epoch: Epoch,
    pub since: LogIndex,
    /// Everything that was published or reported in the holder's whole life: what was settled before is subtracted in apply.
    pub total: Amount,
    pub credits: Vec<CreditItem>,
    pub mark: bool,
}

/// A dead epoch's staging folder is gone for good (8.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fenced {
    pub account: AccountId,
    pub node: NodeId,
    pub epoch: Epoch,
}

/// What lay in a root before it was first used. The first answer counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inspected {
    pub account: AccountId,
    pub found: Amount,
    /// It was not counted (an account without a limit): a scan is wanted.
    pub uncounted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanBegin {
    pub account: AccountId,
    pub node: NodeId,
    pub epoch: Epoch,
    /// Do not wait until a dead epoch's process has settled or is known to be gone.
    pub force: bool,
    /// The account may be in use: its nodes confirm, then it is walked, then they report (7.3).
    pub live: bool,
}

/// A node's word about a scan of an account that it uses: that it knows of it, or all that it has stored since. The settlement is both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanWord {
    /// Index of the `ScanBegin`.
    pub begun: LogIndex,
    pub settlement: AccountSettlement,
}

/// Staging, the tree and staging again were walked, in this order, from behind the scan's barrier on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanWalked {
    pub account: AccountId,
    /// Index of the `ScanBegin`.
    pub begun: LogIndex,
    pub walked: Walked,
}

/// The scanning node ends a scan without a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanGiveUp {
    pub account: AccountId,
    /// Index of the last `ScanBegin`.
    pub begun: LogIndex,
    /// For people; at most `MAX_REASON` bytes.
    pub reason: String,
}

pub const MAX_REASON: usize = 512;

/// The result of a scan of an idle account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanCommit {
    pub account: AccountId,
    /// Index of the `ScanBegin`.
    pub begun: LogIndex,
    pub found: Amount,
}
