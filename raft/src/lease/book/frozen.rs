//! A book taken out of time, for model checks: to be compared and hashed, and thawed on a clock of theirs.

use std::sync::Arc;

use flotilla_cluster::lease::{HOLDER_NS, is_over};
use flotilla_cluster::{Clock, Clocks, Lease};
use flotilla_model::{Epoch, NodeId};

use super::{Carried, LeaseBook, Note, Registration};

/// A lease as sessions see it: its epoch, when it ends, whether it was found ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrozenLease {
    pub epoch: Epoch,
    pub deadline: Clocks,
    pub dead: bool,
}

/// All that a book holds between two batches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frozen {
    pub lease: Option<FrozenLease>,
    /// By the epoch that is replaced: the first send, and whether an attempt is unresolved.
    pub registrations: Vec<(Epoch, Clocks, bool)>,
    /// First sends of renewals, by number.
    pub sends: Vec<(u64, Clocks)>,
    pub next_number: u64,
    /// Term, the leader's count in ms, own first send.
    pub carried: Option<(u64, u64, Clocks)>,
    pub notes: Vec<(NodeId, Note)>,
}

impl FrozenLease {
    /// Does what every check does.
    pub fn is_dead(&self, now: Clocks) -> bool {
        self.dead || is_over(self.deadline, now)
    }
}

impl LeaseBook {
    pub fn freeze(&self) -> Frozen {
        assert!(self.pending.is_empty(), "a batch is settled before its book is frozen");
        let carried = self.carried.as_ref().map(|one| (one.term, one.leader_clock_ms, one.sent));
        Frozen {
            lease: self.lease.as_deref().map(frozen),
            registrations: self.registrations.iter().map(|(epoch, one)| (*epoch, one.sent, one.unresolved)).collect(),
            sends: self.sends.iter().map(|(number, sent)| (*number, *sent)).collect(),
            next_number: self.next_number,
            carried,
            notes: self.notes.iter().map(|(node, note)| (*node, *note)).collect(),
        }
    }

    pub fn thaw(node: NodeId, start: u64, clock: Arc<dyn Clock>, frozen: &Frozen) -> Self {
        let mut book = LeaseBook::new(node, start, Arc::clone(&clock));
        book.lease = frozen.lease.map(|lease| Arc::new(thawed(node, clock, lease)));
        let registration = |&(epoch, sent, unresolved): &_| (epoch, Registration { sent, unresolved });
        book.registrations = frozen.registrations.iter().map(registration).collect();
        book.sends = frozen.sends.iter().copied().collect();
        book.next_number = frozen.next_number;
        book.carried = frozen.carried.map(|(term, leader_clock_ms, sent)| Carried { term, leader_clock_ms, sent });
        book.notes = frozen.notes.iter().copied().collect();
        book
    }

    /// The newest lease, as sessions hold it.
    pub fn lease(&self) -> Option<Arc<Lease>> {
        self.lease.clone()
    }
}

fn frozen(lease: &Lease) -> FrozenLease {
    let (deadline, dead) = lease.deadline();
    FrozenLease { epoch: lease.epoch(), deadline, dead }
}

fn thawed(node: NodeId, clock: Arc<dyn Clock>, frozen: FrozenLease) -> Lease {
    let sent = Clocks { boot: frozen.deadline.boot - HOLDER_NS, raw: frozen.deadline.raw - HOLDER_NS };
    let lease = Lease::new(node, frozen.epoch, clock, sent);
    if frozen.dead {
        lease.kill();
    }
    lease
}
