//! The quota escrow (`PROTOCOL.md` 4, 5): uploads on several nodes that do not fit together.
//!
//! Looked at: what is stored is never more than the limit, nor than what is counted; when all is quiet just what is stored is used;
//! as many uploads succeed as the rules of shortage promise; nobody waits for ever. Called: `State::apply`, and the node's book
//! (`ledger::steps`) for every charge, ask, answer, settlement and give-back.
//!
//! Bound: the uploads of the model, each written in up to three pipelined writes in any order; repeats, ends of waits and dead nodes as
//! `Budget` says. Loss, delay and reordering of what a node sends are unbounded, and so is how far a node lags.

mod step;

use std::ops::RangeInclusive;

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
    /// Bytes are written before they are charged (4.2).
    WritesFirst,
    /// What was asked for is spent before the answer is here (4.2).
    SpendsWhatItAskedFor,
    /// A failed upload's room goes back before its file is unlinked (5.2).
    GivesBackBeforeUnlink,
    /// What an answer returns is spent all the same (5.1).
    KeepsWhatItReturns,
    /// A repeated command is taken once more (2.4).
    TakesTwice,
    /// Recalls are not answered (5.1).
    NeverAnswers,
    /// A failed upload's room is kept (5.2).
    KeepsFailedRoom,
    /// The grants of an ended epoch are free at once (7.1).
    DeadGrantsAreFree,
    /// Published files are not settled but given back (4.2).
    PublishesForFree,
    /// A write uses what an ask of its upload has found here, which goes back at once if the ask is refused (5.2).
    UsesWhatAnAskFound,
}

impl Variant {
    pub const BROKEN: [Variant; 10] = [
        Variant::WritesFirst,
        Variant::SpendsWhatItAskedFor,
        Variant::GivesBackBeforeUnlink,
        Variant::KeepsWhatItReturns,
        Variant::TakesTwice,
        Variant::NeverAnswers,
        Variant::KeepsFailedRoom,
        Variant::DeadGrantsAreFree,
        Variant::PublishesForFree,
        Variant::UsesWhatAnAskFound,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub repeats: u8,
    /// Waits that end by time.
    pub ends_of_waits: u8,
    pub deaths: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Running,
    /// Its ask is on the way.
    Asking,
    Waits(flotilla_session::ledger::steps::Ask),
    /// Refused: its staged file is there still.
    Refused,
    Published,
    Discarded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upload {
    pub process: usize,
    pub number: u64,
    pub size: i64,
    /// Bytes per write.
    pub step: i64,
    /// The length of its staged file.
    pub written: i64,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    pub log: Vec<E>,
    pub processes: Vec<Process>,
    pub uploads: Vec<Upload>,
    /// Bytes under their names.
    pub published: i64,
    pub left: Budget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A write that ends there. Writes of an upload are pipelined: one may run while an ask of another waits.
    Write {
        upload: usize,
        end: i64,
    },
    Publish(usize),
    Discard(usize),
    EndWait(usize),
    Settle(usize),
    Answer(usize),
    CatchUp(usize),
    Arrive {
        process: usize,
        flight: usize,
        again: bool,
    },
    Hear {
        process: usize,
        flight: usize,
    },
    LeaseDies(usize),
    Expire(usize),
}

pub struct Escrow {
    pub variant: Variant,
    pub budget: Budget,
    pub limit: i64,
    /// Node, size, bytes per write of each upload.
    pub uploads: Vec<(u64, i64, i64)>,
    /// So many succeed when nothing ends by time or death.
    pub succeed: RangeInclusive<usize>,
    pub logs: Logs<E>,
}

impl Escrow {
    pub fn new(
        variant: Variant,
        budget: Budget,
        limit: i64,
        uploads: &[(u64, i64, i64)],
        succeed: RangeInclusive<usize>,
    ) -> Self {
        let mut begin = world::with_user(2, 0, limit as u64, Amount::ZERO);
        begin.extend(world::opened(0));
        let logs = Logs::behind(begin);
        Escrow { variant, budget, limit, uploads: uploads.to_vec(), succeed, logs }
    }

    fn stored(s: &S) -> i64 {
        s.published + s.uploads.iter().map(|upload| upload.written).sum::<i64>()
    }

    fn is_counted(&self, s: &S) -> bool {
        Escrow::stored(s) <= row(&self.logs.at(&s.log).state).taken().bytes
    }

    /// Everything that will ever happen has happened.
    fn is_quiet(s: &S) -> bool {
        let over = |upload: &Upload| {
            matches!(upload.phase, Phase::Published | Phase::Discarded) || s.processes[upload.process].lease_dead
        };
        let quiet = |process: &Process| {
            process.lease_dead || (process.flights.is_empty() && !process.book.is_dirty() && !process.owes_answer)
        };
        s.uploads.iter().all(over) && s.processes.iter().all(quiet)
    }

    fn ends_right(&self, s: &S) -> bool {
        if !Escrow::is_quiet(s) || s.processes.iter().any(|process| process.lease_dead) {
            return true;
        }
        let succeeded = s.uploads.iter().filter(|upload| upload.phase == Phase::Published).count();
        let state = &self.logs.at(&s.log).state;
        let unspent: i64 = s.processes.iter().map(|process| process.book.unspent().bytes).sum();
        let none_lost = row(state).outstanding().bytes == unspent;
        row(state).used.bytes == s.published
            && none_lost
            && (self.succeed.contains(&succeeded) || s.left.ends_of_waits < self.budget.ends_of_waits)
    }
}

impl Model for Escrow {
    goes_by_steps!();

    fn properties(&self) -> Vec<Property<Self>> {
        let invariants = |model: &Escrow, s: &S| {
            let state = &model.logs.at(&s.log).state;
            use flotilla_model::invariant::{grants_within_limit, holders_count_sessions};
            grants_within_limit(state).and_then(|()| holders_count_sessions(state)).is_ok()
        };
        let mut all = vec![
            Property::always("no more is stored than the limit", |model: &Escrow, s: &S| {
                Escrow::stored(s) <= model.limit
            }),
            Property::always("no more is stored than is counted", Escrow::is_counted),
            Property::always(
                "in the end used is what is stored, no room is lost, as many succeed as can",
                Escrow::ends_right,
            ),
            Property::always("nobody waits for ever", |model: &Escrow, s: &S| goes_on(model, s) || Escrow::is_quiet(s)),
            Property::always("the state's invariants", invariants),
            Property::sometimes("an upload succeeds", |_, s: &S| {
                s.uploads.iter().any(|upload| upload.phase == Phase::Published)
            }),
            Property::sometimes("all is quiet", |_, s: &S| Escrow::is_quiet(s)),
        ];
        if self.uploads.iter().map(|upload| upload.1).sum::<i64>() > self.limit {
            all.push(Property::sometimes("an upload is refused", |_, s: &S| {
                s.uploads.iter().any(|upload| upload.phase == Phase::Discarded)
            }));
        }
        all
    }
}
