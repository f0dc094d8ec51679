//! A quota account: the ledger of one root. Owned by the escrow rules (`PROTOCOL.md` 4 to 7).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AccountId, Epoch, LogIndex, NodeId, Root, Username, WallTime};

/// Bytes and files, signed: usage may pass below zero while reports overtake each other and is shown as max(0, used).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount {
    pub bytes: i64,
    pub files: i64,
}

impl Amount {
    pub const ZERO: Amount = Amount { bytes: 0, files: 0 };

    pub fn new(bytes: i64, files: i64) -> Self {
        Amount { bytes, files }
    }
    /// From what a client asks for; absurd sizes saturate and so never fit a limit.
    pub fn of(bytes: u64, files: u64) -> Self {
        Amount { bytes: clamp(bytes), files: clamp(files) }
    }
    pub fn is_zero(self) -> bool {
        self == Amount::ZERO
    }
    /// Whether something is left in either dimension.
    pub fn is_positive(self) -> bool {
        self.bytes > 0 || self.files > 0
    }
    pub fn is_negative(self) -> bool {
        self.bytes < 0 || self.files < 0
    }
    /// Whether both dimensions are within `other`.
    pub fn fits(self, other: Amount) -> bool {
        self.bytes <= other.bytes && self.files <= other.files
    }
    /// The smaller of each dimension.
    pub fn min_each(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.min(other.bytes), files: self.files.min(other.files) }
    }
    /// The larger of each dimension.
    pub fn max_each(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }
    pub fn at_least_zero(self) -> Amount {
        self.max_each(Amount::ZERO)
    }
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Add for Amount {
    type Output = Amount;
    fn add(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.saturating_add(other.bytes), files: self.files.saturating_add(other.files) }
    }
}
impl Sub for Amount {
    type Output = Amount;
    fn sub(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.saturating_sub(other.bytes), files: self.files.saturating_sub(other.files) }
    }
}
impl Neg for Amount {
    type Output = Amount;
    fn neg(self) -> Amount {
        Amount::ZERO - self
    }
}
impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        *self = *self + other;
    }
}
impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Amount) {
        *self = *self - other;
    }
}
impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Amount {
        amounts.fold(Amount::ZERO, Add::add)
    }
}

/// A user's limits of an account; `i64::MAX` where there is none. A grant is tagged with those under which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limits {
    pub bytes: i64,
    pub files: i64,
}

impl Limits {
    pub const NONE: Limits = Limits { bytes: i64::MAX, files: i64::MAX };

    /// From the user record's fields, where 0 is no limit.
    pub fn of(quota_size: u64, quota_files: u64) -> Self {
        let limit = |value| if value == 0 { i64::MAX } else { clamp(value) };
        Limits { bytes: limit(quota_size), files: limit(quota_files) }
    }
    pub fn is_none(self) -> bool {
        self == Limits::NONE
    }
    /// Whether a user held to these limits may spend what was granted under `tag` (4.2).
    pub fn may_spend(self, tag: Limits) -> bool {
        tag.bytes <= self.bytes && tag.files <= self.files
    }
    /// What is left when `taken` is taken; unlimited dimensions stay unlimited.
    pub fn room(self, taken: Amount) -> Amount {
        let left = |limit: i64, taken: i64| if limit == i64::MAX { i64::MAX } else { limit.saturating_sub(taken) };
        Amount { bytes: left(self.bytes, taken.bytes), files: left(self.files, taken.files) }
    }
}

impl crate::User {
    /// The limits of this user's account for this user.
    pub fn limits(&self) -> Limits {
        Limits::of(self.quota_size, self.quota_files)
    }
}

/// The order of an upload (5.1): the index of the grant it first spent from, then node, then local number. Smaller is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadOrder {
    pub grant: LogIndex,
    pub node: NodeId,
    pub number: u64,
}

/// A node's unpublished upload in its answer to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpenUpload {
    pub order: UploadOrder,
    /// The room it holds.
    pub room: Amount,
    /// It failed and its room is on the way back.
    pub failed: bool,
}

/// A node's last answer to a recall: what it has that is not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The index that the node had applied when it began to answer.
    pub begun: LogIndex,
    pub uploads: Vec<OpenUpload>,
}

/// One node's epoch in an account: its sessions, its grants, its last answer. It stays after the epoch's end until it is settled
/// and fenced, or scanned; its outstanding grants are then what a dead epoch may have spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Index of the open that made this row: tells it from an earlier one of the same epoch.
    pub since: LogIndex,
    /// The process's start number: a later one means that no thread of this holder runs any more.
    pub start: u64,
    pub sessions: u32,
    /// Granted and neither settled nor returned, per limits under which it was given.
    pub outstanding: BTreeMap<Limits, Amount>,
    /// All that was ever settled or reported here: a dead epoch's last settlement is a total, so that it counts once.
    pub settled_total: Amount,
    /// Index of the last grant: an answer counts only if it began later (5.3).
    pub last_grant: LogIndex,
    /// The account's `limited_since` up to which this node takes grants only and has reported all else (4.4).
    pub confirmed: LogIndex,
    /// It may have written without grants: its death leaves the account uncertain.
    pub unlimited: bool,
    pub answer: Option<Answer>,
    /// Credits measured before this index have been settled.
    pub settled_through: LogIndex,
    pub fenced: bool,
    /// Dead and settled by its own process.
    pub settled: bool,
}

impl Holder {
    pub fn outstanding(&self) -> Amount {
        self.outstanding.values().copied().sum()
    }
}

/// Names one ask for room: the number of the `Grant` command within its node's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WaiterId {
    pub node: NodeId,
    pub epoch: Epoch,
    pub number: u64,
}

/// Where an ask that did not fit stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaiterState {
    Waiting,
    /// Its need was granted at this index under these limits.
    Granted {
        index: LogIndex,
        limits: Limits,
    },
    /// Refused. While it `holds` room it is a failed upload that is not credited yet.
    Refused(Shortage),
}

/// An upload that asks for more than there is room for (5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    pub username: Username,
    pub incarnation: LogIndex,
    pub need: Amount,
    /// What it held when it asked.
    pub holds: Amount,
    /// `None`: it holds nothing, or its session's buffer is full: the youngest of all.
    pub order: Option<UploadOrder>,
    /// Its 10 s are over.
    pub time_over: bool,
    pub state: WaiterState,
}

/// Why there was no room, with numbers (5.4): taken, in use, or held by nodes out of reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shortage {
    pub limits: Limits,
    pub need: Amount,
    pub used: Amount,
    /// Granted to living nodes: being written right now.
    pub in_use: Amount,
    /// What dead epochs may have spent, until they are settled or scanned.
    pub dead: Amount,
    /// Living nodes that hold room and have not answered.
    pub out_of_reach: Vec<NodeId>,
    /// The account's use is not known before a scan.
    pub uncertain: bool,
    /// The user is gone or changed.
    pub user_gone: bool,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.user_gone {
            return f.write_str("quota: the user was deleted or made anew");
        }
        if self.uncertain {
            return f.write_str("quota: what is stored is not counted yet, a scan must come first; it runs by itself");
        }
        let used = self.used.at_least_zero();
        let bytes_short = self.limits.bytes != i64::MAX
            && !self.need.bytes.saturating_add(used.bytes + self.in_use.bytes + self.dead.bytes).le(&self.limits.bytes);
        let (limit, unit, used, in_use, dead, need) = if bytes_short || self.limits.files == i64::MAX {
            (self.limits.bytes, "bytes", used.bytes, self.in_use.bytes, self.dead.bytes, self.need.bytes)
        } else {
            (self.limits.files, "files", used.files, self.in_use.files, self.dead.files, self.need.files)
        };
        write!(f, "quota exceeded: {need} more {unit} do not fit into {limit}: {used} taken")?;
        if in_use > 0 {
            write!(f, ", {in_use} in use by uploads")?;
        }
        if dead > 0 {
            write!(f, ", {dead} held for a node that stopped until it is settled or scanned")?;
        }
        if !self.out_of_reach.is_empty() {
            let nodes: Vec<String> = self.out_of_reach.iter().map(ToString::to_string).collect();
            write!(f, ", some of it held by node {} which cannot be reached", nodes.join(", "))?;
        }
        Ok(())
    }
}

/// Names an inode for ever within a root: inode numbers are reused, so the birth time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreditedInode {
    pub inode: u64,
    pub birth_ns: i64,
}

/// A scan under way. One per account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    pub begun: LogIndex,
    pub node: NodeId,
    pub epoch: Epoch,
    /// The entry's wall clock at the begin, for people.
    pub begun_wall: WallTime,
    /// Of an account in use; `None`: it is refused if anything of the account lives before its commit.
    pub live: Option<LiveScan>,
}

/// What is known of the scan of an account in use (7.3). Its rows confirm, then comes the barrier, then the walk, then they report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveScan {
    /// Epochs that had ended when it began; all are fenced.
    pub ended: BTreeSet<(NodeId, Epoch)>,
    /// Rows that have to confirm; once it was walked: those that have to report. A row that goes has settled all.
    pub awaited: BTreeSet<(NodeId, Epoch)>,
    /// Where the last one had confirmed: the walk begins behind it, and counts what is settled from there on.
    pub barrier: Option<LogIndex>,
    /// Settled behind the barrier: the walk may have seen it or not.
    pub added: Amount,
    /// Credited behind the barrier: the walk may have seen it.
    pub credited: Amount,
    /// Something was renamed or made shorter in place: the walk may have missed what is stored.
    pub disturbed: bool,
    pub walked: Option<Walked>,
}

/// What a walk of staging, the tree and staging again found, each inode once with its largest size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Walked {
    pub found: Amount,
    /// Of it in staging: uploads that hold their room still, and files whose credit is on its way.
    pub staged: Amount,
}

/// Index of the last grant of each dimension: right behind it no more of it was taken than the limit of its user. A grant of the
/// other one says nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGrants {
    pub bytes: LogIndex,
    pub files: LogIndex,
}

/// The ledger of one root. Every user whose home is this root shares it, each held to its own limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub root: Root,
    pub used: Amount,
    /// Whether some node has looked what lay in the root when it was first used. No grants before.
    pub inspected: bool,
    /// What is stored may be less than `used`: a scan is wanted.
    pub marked: bool,
    /// The wall clock when it was marked, for people.
    pub marked_wall: WallTime,
    /// An administrator said not to wait for processes of dead epochs that may still write: until the next scan.
    pub forced: bool,
    /// An administrator asked for a scan: it does not wait until the account is idle.
    pub asked: bool,
    /// What is stored may be more than `used`: a limited account takes no grants before a scan.
    pub uncertain: bool,
    /// Users of this root with a limit. The account is limited if there is one.
    pub limited_users: u32,
    /// Index at which the account last became limited.
    pub limited_since: LogIndex,
    pub holders: BTreeMap<(NodeId, Epoch), Holder>,
    pub waiters: BTreeMap<WaiterId, Waiter>,
    /// Every holder must answer with a beginning at or after this index.
    pub recall: LogIndex,
    /// Inodes that were credited, with the index, until every holder has settled past it.
    pub credited: Arc<BTreeMap<CreditedInode, LogIndex>>,
    /// Index of the last sign of life: a session or grant existed up to here.
    pub activity: LogIndex,
    pub scan: Option<Scan>,
    pub scan_committed: LogIndex,
    /// Scans in a row that were disturbed.
    pub scan_tries: u8,
    /// Why the last scan was given up, until one is committed.
    pub scan_given_up: Option<String>,
    pub granted: LastGrants,
    /// Index at which more may have come to be taken than any limit: a limit fell or its user left, a scan found more, something was
    /// reported that had no grant.
    pub excused: LogIndex,
    pub revision: LogIndex,
}

impl Account {
    /// A root's ledger at its first use.
    pub fn new(id: AccountId, root: Root, index: LogIndex) -> Self {
        Account {
            id,
            root,
            used: Amount::ZERO,
            inspected: false,
            marked: false,
            marked_wall: WallTime(0),
            forced: false,
            asked: false,
            uncertain: false,
            limited_users: 0,
            limited_since: 0,
            holders: BTreeMap::new(),
            waiters: BTreeMap::new(),
            recall: 0,
            credited: Arc::new(BTreeMap::new()),
            activity: 0,
            scan: None,
            scan_committed: 0,
            scan_tries: 0,
            scan_given_up: None,
            granted: LastGrants::default(),
            excused: 0,
            revision: index,
        }
    }

    pub fn is_limited(&self) -> bool {
        self.limited_users > 0
    }
    /// All grants that are neither settled nor returned, dead epochs' too.
    pub fn outstanding(&self) -> Amount {
        self.holders.values().map(Holder::outstanding).sum()
    }
    /// used + outstanding grants + what dead epochs may have spent: what a limit is held against.
    pub fn taken(&self) -> Amount {
        self.used + self.outstanding()
    }
    /// Whether some upload waits for room.
    pub fn has_waiting(&self) -> bool {
        self.waiters.values().any(|waiter| waiter.state == WaiterState::Waiting)
    }
}
