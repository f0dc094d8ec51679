//! Leases (`PROTOCOL.md` 1): one holder, three replicas that lead one after the other, clocks that run at different rates.
//!
//! Looked at: whenever the committed log says that an epoch is over, its slots may be given to others; no session of that epoch
//! may pass its check at that moment or later. Called: `State::apply`, `LeaseBook` (send, observe, settle, snapshot), `Lease`
//! (deadlines, latch), `due_expiry`.
//!
//! Bound: one holder, terms, renewals, registrations, restarts, snapshots and repeats as `Budget` says, true time to its end in
//! coarse steps and to the very microsecond at which a lease ends or a leader's note is old. Loss, delay, reordering and pauses are
//! unbounded: whatever can happen may also not happen, or late. A machine's two clocks run at rates of their own: of one that sleeps
//! only CLOCK_BOOTTIME goes on.

mod step;
mod variant;

use std::sync::Arc;

use flotilla_cluster::lease::{EXPIRY_NS, TTL_MS};
use flotilla_cluster::{Clock, Clocks};
use flotilla_model::command::{Expire, Renew};
use flotilla_model::{Command, Envelope, Epoch, NodeId};
use flotilla_raft::testing::{Frozen, FrozenLease, LeaseBook};
use stateright::{Model, Property};
pub use variant::Variant;

use crate::logs::{Logs, Symbol, cluster, register, unnumbered};

pub const HOLDER: NodeId = NodeId(1);
/// The holder's first registration stands here.
const FIRST: u64 = 5;
/// Clocks begin far from zero, each elsewhere.
const BOOT: u64 = 20_000_000_000_000;
const RAW: u64 = 10_000_000_000_000;
const COARSE_US: u64 = 2_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum E {
    Register { replaces: u64 },
    Renew { term: u8, leader_ms: u64, epoch: u64, number: u64 },
    Expire { epoch: u64, seen: u64 },
}

impl Symbol for E {
    fn envelope(&self) -> Envelope {
        unnumbered(match *self {
            E::Register { replaces } => register(HOLDER.0, 1, replaces),
            E::Renew { term, leader_ms, epoch, number } => Command::Renew(Renew {
                term: term.into(),
                leader_clock_ms: leader_ms,
                renewals: vec![(HOLDER, Epoch(epoch), number)],
            }),
            E::Expire { epoch, seen } => {
                Command::Expire(Expire { node: HOLDER, epoch: Epoch(epoch), last_renewal: seen })
            }
        })
    }
}

/// On its way to whoever leads when it arrives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wire {
    Renewal { epoch: u64, number: u64 },
    Registration { replaces: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub applied: usize,
    pub book: Frozen,
}

/// How fast the clocks of the three machines run, in thousandths of true time; the first is the holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates {
    pub boot: [u64; 3],
    pub raw: [u64; 3],
}

impl Rates {
    /// The same for both clocks of a machine.
    pub const fn of(machines: [u64; 3]) -> Self {
        Rates { boot: machines, raw: machines }
    }
}

/// What may still happen so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub renewals: u8,
    pub registrations: u8,
    pub elections: u8,
    pub snapshots: u8,
    pub restarts: u8,
    pub repeats: u8,
    /// Whether renewals carry the leader's count, for the stopped-clock test: many more states differ by it.
    pub counted: bool,
    /// True time at which the search ends.
    pub until_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    /// True time.
    pub now: u64,
    pub rates: Rates,
    pub term: u8,
    pub leader: usize,
    /// Entries that the leader had when it was elected: it acts once they are applied.
    pub base: usize,
    /// When its term began.
    pub since: u64,
    pub log: Vec<E>,
    pub committed: usize,
    pub replicas: [Replica; 3],
    pub wires: Vec<Wire>,
    pub decided: Option<E>,
    pub left: Budget,
    pub renewed: bool,
    pub snapshot_renewed: bool,
    pub broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Time { us: u64 },
    Send,
    Arrive { wire: Wire, again: bool },
    Commit,
    Apply { replica: usize },
    Snapshot { replica: usize },
    Restart { replica: usize },
    Elect { replica: usize, keeps: usize },
    Decide,
    Append,
    Register,
}

pub struct Lease {
    pub variant: Variant,
    pub budget: Budget,
    pub rates: Vec<Rates>,
    pub logs: Logs<E>,
}

impl Lease {
    pub fn new(variant: Variant, budget: Budget, rates: &[Rates]) -> Self {
        let first = unnumbered(register(HOLDER.0, 1, 0));
        let logs = Logs::behind(cluster(3).into_iter().chain([first]));
        assert_eq!(logs.base().index, FIRST);
        Lease { variant, budget, rates: rates.to_vec(), logs }
    }
}

/// A machine's clocks at one moment.
pub struct At(pub Clocks);

impl Clock for At {
    fn now(&self) -> Clocks {
        self.0
    }
}

impl S {
    pub fn clocks(&self, replica: usize) -> Clocks {
        let Rates { boot, raw } = self.rates;
        Clocks { boot: BOOT + self.now * boot[replica], raw: RAW + self.now * raw[replica] }
    }

    /// When a machine's clocks reach these, each.
    fn reaches(&self, replica: usize, clocks: Clocks) -> [Option<u64>; 2] {
        let Rates { boot, raw } = self.rates;
        let when = |ahead: u64, rate: u64| (rate > 0).then(|| ahead.div_ceil(rate));
        [when(clocks.boot - BOOT, boot[replica]), when(clocks.raw - RAW, raw[replica])]
    }

    pub fn book(&self, replica: usize) -> LeaseBook {
        let clock = Arc::new(At(self.clocks(replica)));
        LeaseBook::thaw(NodeId(replica as u64 + 1), 1, clock, &self.replicas[replica].book)
    }

    /// The next moment at which something may change by the passing of time alone.
    fn next(&self, model: &Lease) -> Option<u64> {
        let coarse = (self.now / COARSE_US + 1) * COARSE_US;
        let old = |at: Clocks| Clocks { boot: at.boot + model.expiry_ns(), raw: at.raw + model.expiry_ns() };
        let lease = self.replicas[0].book.lease.map(|lease| self.reaches(0, lease.deadline));
        let note = self.replicas[self.leader].book.notes.first();
        let note = note.map(|(_, note)| self.reaches(self.leader, old(note.at)));
        let fine = [lease, note].into_iter().flatten().flatten().flatten().filter(|at| *at > self.now).min();
        let next = fine.map_or(coarse, |at| at.min(coarse));
        (next <= self.left.until_us).then_some(next)
    }
}

impl Model for Lease {
    type State = S;
    type Action = Step;

    fn init_states(&self) -> Vec<S> {
        self.rates.iter().map(|rates| step::begin(self, *rates)).collect()
    }

    fn actions(&self, s: &S, steps: &mut Vec<Step>) {
        if s.broken.is_some() || self.is_over(s) {
            return;
        }
        if let Some(next) = s.next(self) {
            steps.push(Step::Time { us: next });
        }
        let holder = &s.replicas[0].book;
        let dead = holder.lease.is_none_or(|lease| self.is_dead(lease, s));
        if s.left.renewals > 0 && !dead {
            steps.push(Step::Send);
        }
        if s.left.registrations > 0 && (dead || self.variant == Variant::RegistersWhileAlive) {
            steps.push(Step::Register);
        }
        let leads = s.replicas[s.leader].applied >= s.base;
        for wire in s.wires.iter().filter(|_| leads) {
            steps.push(Step::Arrive { wire: wire.clone(), again: false });
            if s.left.repeats > 0 {
                steps.push(Step::Arrive { wire: wire.clone(), again: true });
            }
        }
        if s.committed < s.log.len() {
            steps.push(Step::Commit);
        }
        for (replica, one) in s.replicas.iter().enumerate() {
            // Of a replica that will not lead nothing is asked.
            if replica != 0 && replica != s.leader && s.left.elections == 0 {
                continue;
            }
            if one.applied < s.committed {
                steps.push(Step::Apply { replica });
                if s.left.snapshots > 0 {
                    steps.push(Step::Snapshot { replica });
                }
            }
            if replica > 0 && s.left.restarts > 0 {
                steps.push(Step::Restart { replica });
            }
            if replica != s.leader && s.left.elections > 0 {
                steps.extend((s.committed..=s.log.len()).map(|keeps| Step::Elect { replica, keeps }));
            }
        }
        match &s.decided {
            Some(_) => steps.push(Step::Append),
            None if leads && step::due(self, s).is_some() => steps.push(Step::Decide),
            None => {}
        }
    }

    fn next_state(&self, s: &S, step: Step) -> Option<S> {
        step::take(self, s, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let over = |model: &Lease, s: &S| {
            let state = &model.logs.at(&s.log[..s.committed]).state;
            !state.epoch_alive(HOLDER, Epoch(FIRST))
        };
        let mut all = vec![
            Property::always("no session of an ended epoch passes its check", Lease::is_exclusive),
            Property::always("no lease is lost without a reason", |_, s: &S| s.broken.is_none()),
            Property::sometimes("an epoch is expired", over),
        ];
        if self.budget.renewals > 0 {
            all.push(Property::sometimes("a renewal extends the lease", |_, s: &S| s.renewed));
        }
        if self.budget.renewals > 0 && self.budget.snapshots > 0 {
            all.push(Property::sometimes("a renewal comes in a snapshot", |_, s: &S| s.snapshot_renewed));
        }
        if self.budget.elections > 1 {
            all.push(Property::sometimes("a third leader", |_, s: &S| s.term == 3));
        }
        if self.budget.registrations > 0 {
            let again = |_: &Lease, s: &S| s.replicas[0].book.lease.is_some_and(|lease| lease.epoch.0 > FIRST);
            all.push(Property::sometimes("a second lease", again));
        }
        all
    }
}

impl Lease {
    /// How old a leader's note is when it acts.
    pub fn expiry_ns(&self) -> u64 {
        if self.variant == Variant::NoAllowance { TTL_MS * 1_000_000 } else { EXPIRY_NS }
    }

    /// What the holder's check says.
    fn is_dead(&self, lease: FrozenLease, s: &S) -> bool {
        let now = s.clocks(0);
        match self.variant {
            Variant::AsksBothClocks => now.boot >= lease.deadline.boot && now.raw >= lease.deadline.raw,
            _ => lease.is_dead(now),
        }
    }

    /// The lease and its epoch are over and nothing that could bring one back is on its way.
    fn is_over(&self, s: &S) -> bool {
        let holder = &s.replicas[0];
        let dead = holder.book.lease.is_none_or(|lease| self.is_dead(lease, s));
        let quiet = s.wires.is_empty() && s.left.registrations == 0 && holder.applied == s.log.len();
        let state = &self.logs.at(&s.log[..s.committed]).state;
        dead && quiet && !state.node(HOLDER).is_some_and(|row| row.alive)
    }

    fn is_exclusive(&self, s: &S) -> bool {
        let Some(lease) = s.replicas[0].book.lease.filter(|lease| !self.is_dead(*lease, s)) else { return true };
        let state = &self.logs.at(&s.log[..s.committed]).state;
        // A session of the first epoch lives on the newest lease, in the variant.
        let first_lives = self.variant == Variant::OneDeadlinePerProcess && !state.epoch_alive(HOLDER, Epoch(FIRST));
        state.epoch_alive(HOLDER, lease.epoch) && !first_lives
    }
}
