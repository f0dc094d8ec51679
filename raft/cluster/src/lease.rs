//! A node's lease on one epoch. Sessions hold the object for life; once dead it never revives (`PROTOCOL.md` 1.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flotilla_model::{CommandId, Epoch, NodeId};

use crate::clock::{Clock, Clocks};

pub const TTL_MS: u64 = 6_000;
pub const RHO_PERCENT: u64 = 1;
pub const MARGIN_MS: u64 = 500;
/// TTL(1 - rho) on the holder's clocks from the first send of the renewal.
pub const HOLDER_NS: u64 = TTL_MS * (100 - RHO_PERCENT) / 100 * 1_000_000;
/// TTL(1 + 2 rho) + margin on the leader's clocks from its own apply of the renewal.
pub const EXPIRY_NS: u64 = (TTL_MS * (100 + 2 * RHO_PERCENT) / 100 + MARGIN_MS) * 1_000_000;

/// Whether a lease that ends so is over: by whichever of the clocks says so first (`PROTOCOL.md` 1.4).
pub fn is_over(deadline: Clocks, now: Clocks) -> bool {
    now.boot >= deadline.boot || now.raw >= deadline.raw
}

/// The node has no lease on this epoch any more: nothing of it may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node lost its lease in the cluster")]
pub struct LeaseLost;

/// A lease: an epoch, two deadlines and a latch.
pub struct Lease {
    node: NodeId,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    boot_deadline: AtomicU64,
    raw_deadline: AtomicU64,
    dead: AtomicBool,
    next_number: AtomicU64,
    answered: std::sync::Mutex<Answered>,
}

/// Which numbers have been answered: all below `below`, and some above.
#[derive(Default)]
struct Answered {
    below: u64,
    above: std::collections::BTreeSet<u64>,
}

impl Lease {
    /// A lease whose registration was first sent at `sent`. Command numbers start at 1.
    pub fn new(node: NodeId, epoch: Epoch, clock: Arc<dyn Clock>, sent: Clocks) -> Self {
        Lease {
            node,
            epoch,
            clock,
            boot_deadline: AtomicU64::new(sent.boot + HOLDER_NS),
            raw_deadline: AtomicU64::new(sent.raw + HOLDER_NS),
            dead: AtomicBool::new(false),
            next_number: AtomicU64::new(1),
            answered: std::sync::Mutex::new(Answered { below: 1, ..Answered::default() }),
        }
    }

    pub fn node(&self) -> NodeId {
        self.node
    }
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The check before each system call and at each write of the socket. Past either deadline the lease dies for good.
    pub fn check(&self) -> Result<(), LeaseLost> {
        if self.dead.load(Ordering::Acquire) {
            return Err(LeaseLost);
        }
        let now = self.clock.now();
        let (deadline, _) = self.deadline();
        if is_over(deadline, now) {
            self.kill();
            return Err(LeaseLost);
        }
        Ok(())
    }

    /// Extends the lease by a renewal that was applied here and first sent at `sent`. No effect on a lease found past its deadline.
    pub fn extend(&self, sent: Clocks) {
        if self.check().is_ok() {
            self.boot_deadline.fetch_max(sent.boot + HOLDER_NS, Ordering::AcqRel);
            self.raw_deadline.fetch_max(sent.raw + HOLDER_NS, Ordering::AcqRel);
        }
    }

    /// Ends the lease for good.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    pub fn is_dead(&self) -> bool {
        self.check().is_err()
    }

    /// When it ends by each clock, and whether it was found dead.
    pub fn deadline(&self) -> (Clocks, bool) {
        let boot = self.boot_deadline.load(Ordering::Acquire);
        let raw = self.raw_deadline.load(Ordering::Acquire);
        (Clocks { boot, raw }, self.dead.load(Ordering::Acquire))
    }

    /// Nanoseconds left by the clock that is nearer to its deadline; 0 when dead.
    pub fn remaining_ns(&self) -> u64 {
        if self.check().is_err() {
            return 0;
        }
        let now = self.clock.now();
        let boot = self.boot_deadline.load(Ordering::Acquire).saturating_sub(now.boot);
        boot.min(self.raw_deadline.load(Ordering::Acquire).saturating_sub(now.raw))
    }

    /// The id of this node's next command in this epoch. Whoever takes a number owes the log its outcome: repeat until known.
    pub fn number(&self) -> CommandId {
        let number = self.next_number.fetch_add(1, Ordering::AcqRel);
        CommandId::Node { node: self.node, epoch: self.epoch, number, answered_below: self.answered_below() }
    }

    /// All numbers below this one have been answered.
    pub fn answered_below(&self) -> u64 {
        self.answered.lock().map_or(1, |answered| answered.below)
    }

    /// Notes that a number's outcome is known; called by the cluster when a submit returns with an answer.
    pub fn answered(&self, number: u64) {
        let Ok(mut answered) = self.answered.lock() else { return };
        if number >= answered.below {
            answered.above.insert(number);
        }
        while let Some(first) = answered.above.first().copied().filter(|first| *first == answered.below) {
            answered.above.remove(&first);
            answered.below += 1;
        }
    }
}
