//! Scans (`PROTOCOL.md` 7, 8.5): a node that stops in the middle of its work, thaws or is killed, and another that fences, scans and
//! serves again. The idle form, which is what the product has.
//!
//! Looked at: never is less counted than is stored, whatever the frozen process still does; when all is quiet just what is stored is
//! used. Called: `State::apply` (expiry, settlements of dead epochs, fences, begin and commit of scans), `State::scan_obstacle` and
//! `wants_scan` for whether one may begin, the node's book for all that is charged, published, credited and settled late. The walk
//! is two steps, tree and staging, with anything in between.
//!
//! Bound: the dying node has one upload, one write in place and one remove; the other has one upload; repeats as given.

mod step;

use flotilla_model::command::AccountCommand;
use flotilla_model::{Amount, Command, Epoch, NodeId};
use stateright::{Model, Property};

use crate::explore::goes_by_steps;
use crate::logs::{Logs, unnumbered};
use crate::quota::{ACCOUNT, E, Process, row};
use crate::world;

/// What breaks when a rule is left out. Each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Product,
    /// The log hears of a fence that was not made (8.5).
    FencesInWordOnly,
    /// The scan does not wait for a process that may still write (7.2).
    ForcesAlways,
    /// What was walked before the begin is committed (7.2).
    WalksBeforeTheBegin,
    /// A fence unlinks what lies in the folder and leaves it: a file that was on its way there still gets in (8.5).
    FenceLeavesTheFolder,
    /// A caught file that a fence took away before it was measured leaves no mark (6.1).
    NoMarkForTheUnmeasured,
    /// The grants of an ended epoch are free at once (7.1).
    DeadGrantsAreFree,
    /// A dead epoch's settlement counts what was settled before once more (7.1).
    SettlesDeadTwice,
}

impl Variant {
    pub const BROKEN: [Variant; 7] = [
        Variant::FencesInWordOnly,
        Variant::ForcesAlways,
        Variant::WalksBeforeTheBegin,
        Variant::FenceLeavesTheFolder,
        Variant::NoMarkForTheUnmeasured,
        Variant::DeadGrantsAreFree,
        Variant::SettlesDeadTwice,
    ];
}

/// A job of the dying node: one thread, with a check of the lease right before each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    Idle,
    /// Its room is asked for.
    Asking,
    /// Charged under this number; an upload lies in staging.
    Charged(u64),
    /// The last check is behind it: the call will be made, however late.
    Checked(u64),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    Idle,
    /// The log hears from now on, under this token, that something may be measured, and the last check is behind it: the name will be
    /// taken away, however late.
    Checked {
        token: u64,
    },
    Caught {
        token: u64,
    },
    Measured {
        token: u64,
        index: u64,
    },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Runs,
    /// It does nothing but what was checked before, and thaws some time.
    LeaseDead,
    /// No thread of it runs.
    Killed,
    /// Thawed, and its last word is said.
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scanner {
    Idle,
    /// The tree was walked, then the staging.
    Tree {
        begun: u64,
        found: i64,
    },
    Walked {
        begun: u64,
        found: i64,
    },
    Begun {
        begun: u64,
    },
}

/// What the second node's client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    Away,
    Here(Job),
    Closing,
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    pub log: Vec<E>,
    pub first: Process,
    pub fate: Fate,
    pub upload: Job,
    pub in_place: Job,
    pub removal: Removal,
    /// Plain commands on their way; they may arrive twice.
    pub plain: Vec<E>,
    /// Entries that the second node has applied.
    pub applied: usize,
    pub scanner: Scanner,
    pub guest: Guest,
    pub second: Option<Process>,
    /// Bytes under names, and in the staging folder of the first epoch: its upload's, and what it caught.
    pub named: i64,
    pub staged: i64,
    pub caught: i64,
    /// The storage has no such folder any more; the log was told so.
    pub fenced: bool,
    pub told: bool,
    /// A name was to be taken away behind the fence.
    pub removed_late: bool,
    pub scans: u8,
    pub repeats: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Upload,
    InPlace,
    Remove,
    Settle,
    Arrive { flight: usize },
    Hear { flight: usize },
    LeaseDies,
    Expire,
    Kill,
    SettleDead,
    RegisterLater,
    Plain { at: usize, again: bool },
    CatchUp,
    Fence,
    Begin,
    Walk,
    Commit,
    Guest,
    GuestArrives { flight: usize },
    GuestHears { flight: usize },
}

/// Which of the first node's jobs take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jobs {
    pub upload: bool,
    pub in_place: bool,
    pub remove: bool,
    pub guest: bool,
    /// An administrator has said not to wait for processes that may still write.
    pub forced: bool,
    pub scans: u8,
    pub repeats: u8,
}

pub struct Scan {
    pub variant: Variant,
    pub jobs: Jobs,
    pub logs: Logs<E>,
}

/// What lies there at the beginning: a file to be removed and one that grows.
pub const FOUND: i64 = 3;
pub const REMOVED: i64 = 2;
/// So much that nobody waits for room.
const LIMIT: u64 = 1 << 40;
/// What a session gets with its open.
pub const ROOM: i64 = 1 << 20;

impl Scan {
    pub fn new(variant: Variant, jobs: Jobs) -> Self {
        let mut begin = world::with_user(2, 0, LIMIT, Amount::new(FOUND, 2));
        begin.extend(world::opened(ROOM).into_iter().take(1));
        if jobs.forced {
            begin.push(unnumbered(Command::Account(AccountCommand::WantScan { account: ACCOUNT, force: true })));
        }
        Scan { variant, jobs, logs: Logs::behind(begin) }
    }

    fn stored(s: &S) -> i64 {
        s.named + s.staged + s.caught
    }

    fn is_counted(&self, s: &S) -> bool {
        let state = &self.logs.at(&s.log).state;
        let row = row(state);
        state.account_is_uncertain(row) || Scan::stored(s) <= row.taken().bytes
    }

    /// Nothing of the first node will happen any more, and no scan is wanted.
    fn is_quiet(&self, s: &S) -> bool {
        let over = matches!(s.fate, Fate::Killed | Fate::Settled) && s.plain.is_empty();
        let state = &self.logs.at(&s.log).state;
        let over = over && !state.epoch_alive(NodeId(1), Epoch(world::FIRST_EPOCH));
        over && matches!(s.guest, Guest::Away | Guest::Gone) && !state.wants_scan(row(state))
    }

    fn is_scanned(&self, s: &S) -> bool {
        row(&self.logs.at(&s.log).state).scan_committed > 0
    }

    fn is_exact(&self, s: &S) -> bool {
        !self.is_quiet(s) || row(&self.logs.at(&s.log).state).used.bytes == Scan::stored(s)
    }
}

impl Model for Scan {
    goes_by_steps!();

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("no more is stored than is counted", Scan::is_counted),
            Property::always("when all is quiet just what is stored is used", Scan::is_exact),
            Property::sometimes("a scan is committed", Scan::is_scanned),
            Property::sometimes("all is quiet", |model: &Scan, s: &S| model.is_quiet(s) && model.is_scanned(s)),
            Property::sometimes("a dead epoch settles itself", |_, s: &S| s.fate == Fate::Settled),
        ];
        if self.jobs.remove {
            all.push(Property::sometimes("a name is to be taken away behind a fence", |_, s: &S| s.removed_late));
        }
        all
    }
}
