//! Credits (`PROTOCOL.md` 6.1, 6.2, 8.3): two nodes remove and replace the same names, where the storage exchanges names, where it
//! only has hard links, and where it has those and tells the count of links late.
//!
//! Looked at: never is less counted than is stored; when all is quiet just what is stored is
//! used, or a scan is wanted (where links are seen late only: no less is used than is stored).
//! Called: `State::apply` for every credit, and the node's book for what is being measured, charged, published and settled. The
//! storage is played: names, inodes, links, and inode numbers that are used again at once.
//!
//! Bound: one or two operations on each of two nodes, one file with a second link or without, repeats as given.

mod disk;
mod step;

pub use disk::{Disk, Storage};
use flotilla_model::Amount;
use stateright::{Model, Property};

use crate::explore::{goes_by_steps, goes_on};
use crate::logs::Logs;
use crate::quota::{E, Process, row};
use crate::world;

/// What breaks when a rule is left out. Each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Product,
    /// The size is that of a `stat` of the name before it is taken away (6.1).
    StatsBeforeTheCapture,
    /// Credited although another link is left (6.1).
    IgnoresLinks,
    /// The log is not told that something is being measured (6.2).
    MeasuresInSecret,
    /// It is told only once the file is caught (6.2): what the product did until this model looked at it.
    TellsAfterTheCapture,
    /// A credit names the inode without its birth (6.2).
    NamesWithoutBirth,
    /// Credited while the caught file lies there still (6.1).
    KeepsTheCaughtFile,
}

impl Variant {
    pub const BROKEN: [Variant; 6] = [
        Variant::StatsBeforeTheCapture,
        Variant::IgnoresLinks,
        Variant::MeasuresInSecret,
        Variant::TellsAfterTheCapture,
        Variant::NamesWithoutBirth,
        Variant::KeepsTheCaughtFile,
    ];
}

/// What a client asks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Remove(u8),
    /// By a new file of this size.
    Replace(u8, i64),
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Waiting,
    /// Its room is asked for.
    Asking,
    /// Its new file lies in staging, charged.
    Staged {
        number: u64,
        file: u64,
    },
    /// Hard links: the old file has a second link in staging, the name is to be taken.
    Linked {
        number: u64,
        file: u64,
        caught: u64,
        token: Option<u64>,
    },
    /// A file was taken from its name: to be measured under this token, which was begun before.
    Caught {
        caught: u64,
        token: Option<u64>,
    },
    Measuring {
        caught: u64,
        token: u64,
        index: u64,
    },
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub process: usize,
    pub what: What,
    pub phase: Phase,
    /// The size that a `stat` of the name gave, in the variant.
    pub seen: Option<(u64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    pub log: Vec<E>,
    pub processes: Vec<Process>,
    pub operations: Vec<Operation>,
    pub disk: Disk,
    pub repeats: u8,
    pub tells: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One step of an operation.
    Go(usize),
    Settle(usize),
    CatchUp(usize),
    /// A node settles only to say how far it has come: the log keeps names until then.
    Tell(usize),
    Arrive {
        process: usize,
        flight: usize,
        again: bool,
    },
    Hear {
        process: usize,
        flight: usize,
    },
}

pub struct Credits {
    pub variant: Variant,
    pub storage: Storage,
    /// Whether the file has a second name.
    pub second_name: bool,
    pub operations: Vec<(usize, What)>,
    pub repeats: u8,
    pub tells: u8,
    /// It begins with every operation's second link made.
    pub linked: bool,
    pub logs: Logs<E>,
}

pub const FIRST_SIZE: i64 = 2;
/// So much that nobody waits for room.
const LIMIT: u64 = 1 << 40;
/// What a session gets with its open.
const ROOM: i64 = 1 << 20;

impl Credits {
    pub fn new(variant: Variant, storage: Storage, second_name: bool, operations: &[(usize, What)]) -> Self {
        let mut begin = world::with_user(2, 0, LIMIT, Amount::new(FIRST_SIZE, 1));
        begin.extend(world::opened(ROOM));
        let logs = Logs::behind(begin);
        Credits {
            variant,
            storage,
            second_name,
            operations: operations.to_vec(),
            repeats: 0,
            tells: 0,
            linked: false,
            logs,
        }
    }

    /// Where links are seen late a file is credited while another node has a link of it in its staging still: for as long as that
    /// takes, more is stored than is counted. What must not happen there is a second credit.
    fn is_counted(&self, s: &S) -> bool {
        if self.storage == Storage::LinksSeenLate {
            return true;
        }
        let unspent: i64 = s.processes.iter().map(|process| process.book.unspent().bytes).sum();
        s.disk.stored() <= row(&self.logs.at(&s.log).state).taken().bytes - unspent
    }

    fn is_quiet(s: &S) -> bool {
        let quiet = |process: &Process| process.flights.is_empty() && !process.book.is_dirty();
        s.operations.iter().all(|one| one.phase == Phase::Over) && s.processes.iter().all(quiet)
    }

    fn is_exact(&self, s: &S) -> bool {
        let row = row(&self.logs.at(&s.log).state).clone();
        !Credits::is_quiet(s)
            || self.storage == Storage::LinksSeenLate
            || row.marked
            || row.used.bytes == s.disk.stored()
    }
}

impl Model for Credits {
    goes_by_steps!();

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no more is stored than is counted", Credits::is_counted),
            Property::always("when all is quiet just what is stored is used", Credits::is_exact),
            Property::always("when all is quiet no less is used than is stored", |model: &Credits, s: &S| {
                !Credits::is_quiet(s) || row(&model.logs.at(&s.log).state).used.bytes >= s.disk.stored()
            }),
            Property::always("all comes to its end", |model: &Credits, s: &S| {
                goes_on(model, s) || Credits::is_quiet(s)
            }),
            Property::sometimes("all is quiet", |_, s: &S| Credits::is_quiet(s)),
            Property::sometimes("a file is credited", |model: &Credits, s: &S| {
                !row(&model.logs.at(&s.log).state).credited.is_empty()
            }),
        ]
    }
}
