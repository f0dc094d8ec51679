//! Scans of an account in use (`PROTOCOL.md` 7.3): two nodes with sessions, whose clients upload, rename, remove, write and shorten
//! files while the second node scans, and of which the first may lose its lease.
//!
//! Looked at: never is less counted than is stored; when all is quiet just what is stored is used, or the account is marked for
//! another scan. Called: `State::apply` for the begin, words, walk, settlements, ends and fences, and the node's book for what is charged,
//! published, measured, held, noted as unseen and said about a scan. The walk is four steps (staging, one folder, the other, staging
//! again), an operation one per system call and one per entry in the book, with anything in between.
//!
//! Bound: the second node has a session only where its clients do something. The operations given, on one file that lies there, or on one that is uploaded; scans, repeats and deaths as given. A word is
//! lost, late, repeated or overtaken by others without bound; a confirmation waits for earlier writes or does not.

mod step;
mod variant;

use flotilla_model::{Amount, Epoch, NodeId};
use stateright::{Model, Property};
pub use variant::Variant;

use crate::explore::{goes_by_steps, goes_on};
use crate::logs::Logs;
use crate::quota::{E, Process, row};
use crate::world::{self, FIRST_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Nowhere,
    Staging(usize),
    Folder(usize),
    /// Without a name, open.
    Nameless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File {
    pub place: Place,
    pub size: i64,
}

/// What a client asks for. All but `Upload` are about the file that lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Of a new file, into the folder that is walked first.
    Upload,
    /// From the folder that is walked last into the one that is walked first.
    Rename,
    Remove,
    /// While it is open at this node.
    RemoveOpen,
    /// A write in place up to this size, and a truncation to it.
    Grow(i64),
    Shrink(i64),
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// The book knows of it and the last check is behind it: the system call will be made, however late.
    Begun(Mark),
    /// On the disk.
    Done(Mark),
    /// A caught file that is being measured, and one that was and is unlinked: `index` dates it.
    Measuring {
        token: u64,
        index: u64,
    },
    Unlinked {
        token: u64,
        index: u64,
        size: i64,
    },
    /// Its credit is held back.
    Held {
        token: u64,
    },
    Over,
}

/// What the book knows an operation by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Of its charge, or of its measuring.
    pub number: Option<u64>,
    /// The scan that was confirmed when a write in place began.
    pub scan: u64,
    pub shrinks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub node: usize,
    pub what: What,
    pub phase: Phase,
}

/// For what size a node has the file charged, and since which scan it knows that (`OpenInode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    pub charged: i64,
    pub at: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Walk {
    pub part: usize,
    /// The largest size of each file, and of those in staging.
    pub seen: [i64; 2],
    pub staged: [i64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scanner {
    Idle,
    Walks { begun: u64, walk: Walk },
    Waits { begun: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    Runs,
    /// The first node's: it does nothing but what was checked before, and thaws some time.
    LeaseDead,
    Settled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    pub log: Vec<E>,
    /// Of the second node only if it takes part.
    pub processes: Vec<Process>,
    /// Words about a scan that are due: of which, and whether it is the report.
    pub words: [Option<(u64, bool)>; 2],
    pub fate: Fate,
    pub operations: Vec<Operation>,
    /// The one that lies there, and the one that is uploaded.
    pub files: [File; 2],
    pub known: [Known; 2],
    pub scanner: Scanner,
    /// Plain commands on their way, once more.
    pub plain: Vec<E>,
    pub fenced: bool,
    pub scans: u8,
    pub repeats: u8,
    pub deaths: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Go(usize),
    Settle(usize),
    CatchUp(usize),
    Say(usize),
    Arrive { process: usize, flight: usize, again: bool },
    Hear { process: usize, flight: usize },
    Begin { again: bool },
    Walk,
    Walked { again: bool },
    Plain(usize),
    LeaseDies,
    Expire,
    Fence,
    SettleDead,
}

pub struct Live {
    pub variant: Variant,
    pub operations: Vec<(usize, What)>,
    pub scans: u8,
    pub repeats: u8,
    pub deaths: u8,
    pub logs: Logs<E>,
}

/// What lies there at the beginning.
pub const FOUND: i64 = 3;
pub const UPLOADED: i64 = 2;
/// So much that nobody waits for room.
const LIMIT: u64 = 1 << 40;
const ROOM: i64 = 1 << 20;

impl Live {
    pub fn new(variant: Variant, operations: &[(usize, What)]) -> Self {
        let mut begin = world::with_user(2, 0, LIMIT, Amount::new(FOUND, 1));
        let logs = Logs::behind(begin.clone());
        let operations = operations.to_vec();
        let model = Live { variant, operations, scans: 1, repeats: 0, deaths: 0, logs };
        begin.extend(world::opened(ROOM).into_iter().take(model.nodes()));
        Live { logs: Logs::behind(begin), ..model }
    }

    /// Those that take part.
    pub fn nodes(&self) -> usize {
        self.operations.iter().map(|(node, _)| node + 1).max().unwrap_or(1)
    }

    fn stored(s: &S) -> i64 {
        s.files.iter().map(|file| file.size).sum()
    }

    /// Granted room that no operation holds stands for nothing that is stored.
    fn is_counted(&self, s: &S) -> bool {
        let state = &self.logs.at(&s.log).state;
        let row = row(state);
        let unspent: i64 = s.processes.iter().filter(|one| is_held(row, one)).map(|one| one.book.unspent().bytes).sum();
        state.account_is_uncertain(row) || Live::stored(s) <= row.taken().bytes - unspent
    }

    fn is_quiet(s: &S) -> bool {
        let quiet = |process: &Process| process.flights.is_empty() && !process.book.is_dirty();
        let alive = usize::from(s.fate != Fate::Runs);
        let over = |one: &Operation| one.phase == Phase::Over || (one.phase == Phase::Idle && one.node < alive);
        s.fate != Fate::LeaseDead
            && s.operations.iter().all(over)
            && s.processes[alive..].iter().all(quiet)
            && s.scanner == Scanner::Idle
            && s.plain.is_empty()
    }

    fn is_exact(&self, s: &S) -> bool {
        let state = &self.logs.at(&s.log).state;
        let row = row(state);
        !Live::is_quiet(s) || state.wants_scan(row) || row.used.bytes == Live::stored(s)
    }

    /// A scan was committed, and whether it says of itself that it is exact.
    fn is_committed(&self, s: &S, exact: bool) -> bool {
        let state = &self.logs.at(&s.log).state;
        row(state).scan_committed > 0 && row(state).marked != exact
    }
}

/// Whether the log counts what was granted to a process still.
fn is_held(row: &flotilla_model::Account, process: &Process) -> bool {
    let holder = row.holders.get(&(NodeId(process.node), Epoch(process.epoch)));
    holder.is_some_and(|holder| !holder.outstanding().is_zero())
}

impl Model for Live {
    goes_by_steps!();

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("no more is stored than is counted", Live::is_counted),
            Property::always("when all is quiet just what is stored is used", Live::is_exact),
            Property::always("all comes to its end", |model: &Live, s: &S| goes_on(model, s) || Live::is_quiet(s)),
            Property::sometimes("a scan is exact", |model: &Live, s: &S| {
                Live::is_quiet(s) && model.is_committed(s, true)
            }),
            Property::sometimes("all is quiet", |_, s: &S| Live::is_quiet(s)),
        ];
        let moves = |what: &What| matches!(what, What::Rename | What::Shrink(_) | What::RemoveOpen);
        if self.operations.iter().any(|(_, what)| moves(what)) {
            all.push(Property::sometimes("a scan is disturbed", |model: &Live, s: &S| {
                row(&model.logs.at(&s.log).state).scan_tries > 0
            }));
        } else {
            all.push(Property::sometimes("a scan leaves a doubt", |model: &Live, s: &S| model.is_committed(s, false)));
        }
        if self.deaths > 0 {
            all.push(Property::sometimes("a dead epoch settles itself", |_, s: &S| s.fate == Fate::Settled));
            all.push(Property::sometimes("a node dies during a scan", |model: &Live, s: &S| {
                let state = &model.logs.at(&s.log).state;
                s.scanner != Scanner::Idle && !state.epoch_alive(NodeId(1), Epoch(FIRST_EPOCH))
            }));
        }
        all
    }
}
