//! What this node noted about leases: when it sent what, what it applied, and the clocks at which others renewed.
//!
//! Pure bookkeeping over clock readings that are handed in; apply, the keeper and the leader's duty share it under a lock.

mod frozen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::lease::RHO_PERCENT;
use flotilla_cluster::{Clock, Clocks, Lease};
use flotilla_model::command::Renew;
use flotilla_model::{Command, Done, Entry, Epoch, NodeId, Reply, State};
pub use frozen::{Frozen, FrozenLease};
use tokio::sync::watch;

use crate::metric;

/// Renewals that may be under way; older send times are forgotten (their renewals then extend nothing).
const SENDS: usize = 64;
/// A renewal that takes longer is worth a line in the log.
const SLOW_WAY: Duration = Duration::from_secs(1);

/// When this replica applied a node's last renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    pub epoch: Epoch,
    pub renewal: u64,
    pub at: Clocks,
}

/// The last entry that carried a renewal of this node, for the stopped-clock test (1.4).
struct Carried {
    term: u64,
    leader_clock_ms: u64,
    sent: Clocks,
}

/// Attempts to register in place of one epoch.
struct Registration {
    sent: Clocks,
    /// The outcome of one of them is not known: it may still be applied.
    unresolved: bool,
}

enum Pending {
    Registered { epoch: Epoch, sent: Clocks },
    Renewed { number: u64, sent: Clocks },
}

pub struct LeaseBook {
    node: NodeId,
    start: u64,
    clock: Arc<dyn Clock>,
    lease: Option<Arc<Lease>>,
    /// First send of a registration that may be applied, by the epoch that it replaces.
    registrations: BTreeMap<Epoch, Registration>,
    /// First sends of renewals of the current epoch, by number.
    sends: BTreeMap<u64, Clocks>,
    next_number: u64,
    carried: Option<Carried>,
    notes: BTreeMap<NodeId, Note>,
    /// Extensions that wait until the batch's cuts are effective.
    pending: Vec<Pending>,
}

impl LeaseBook {
    pub fn new(node: NodeId, start: u64, clock: Arc<dyn Clock>) -> Self {
        LeaseBook {
            node,
            start,
            clock,
            lease: None,
            registrations: BTreeMap::new(),
            sends: BTreeMap::new(),
            next_number: 1,
            carried: None,
            notes: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Notes the first send of a registration; a repeat keeps the first.
    pub fn registration_sent(&mut self, replaces: Epoch) {
        let now = self.clock.now();
        self.registrations.entry(replaces).or_insert(Registration { sent: now, unresolved: false });
    }

    /// What became of an attempt that has no answer. If none can be applied any more, the next counts from its own send.
    pub fn registration_failed(&mut self, replaces: Epoch, definite: bool) {
        let Some(registration) = self.registrations.get_mut(&replaces) else { return };
        registration.unresolved |= !definite;
        if !registration.unresolved {
            self.registrations.remove(&replaces);
        }
    }

    /// Takes the next renewal's number for the epoch and notes the clocks; called right before its first send.
    pub fn next_renewal(&mut self, epoch: Epoch) -> Option<u64> {
        self.lease.as_ref().filter(|lease| lease.epoch() == epoch && !lease.is_dead())?;
        let number = self.next_number;
        self.next_number += 1;
        self.sends.insert(number, self.clock.now());
        if self.sends.len() > SENDS {
            self.sends.pop_first();
        }
        Some(number)
    }

    pub fn note(&self, node: NodeId) -> Option<Note> {
        self.notes.get(&node).copied()
    }

    /// Looks at one applied entry. Ends take effect at once, extensions wait for `settle`.
    pub fn observe(&mut self, entry: &Entry, replies: &[Reply], state: &State) {
        for (envelope, reply) in entry.commands.iter().zip(replies) {
            match (&envelope.command, reply) {
                (Command::RegisterNode(command), Ok(Done::Registered { epoch })) => {
                    self.take_note(command.node, state);
                    if command.node == self.node && command.start == self.start {
                        self.registered(*epoch, command.replaces);
                    }
                }
                (Command::Renew(renew), _) => self.observe_renewals(renew, state),
                _ => {}
            }
        }
        self.end_if_replaced(state);
    }

    fn registered(&mut self, epoch: Epoch, replaces: Epoch) {
        let Some(sent) = self.registrations.get(&replaces).map(|one| one.sent) else { return };
        self.pending.retain(|pending| !matches!(pending, Pending::Renewed { .. }));
        self.pending.push(Pending::Registered { epoch, sent });
    }

    fn observe_renewals(&mut self, renew: &Renew, state: &State) {
        for (node, epoch, number) in &renew.renewals {
            let counted =
                state.node(*node).is_some_and(|row| row.alive && row.last_epoch == *epoch && row.renewal == *number);
            if !counted {
                continue;
            }
            self.take_note(*node, state);
            let own = self.lease.as_ref().is_some_and(|lease| lease.epoch() == *epoch);
            if *node == self.node && own {
                self.observe_own(renew, *number);
            }
        }
    }

    fn observe_own(&mut self, renew: &Renew, number: u64) {
        let Some(sent) = self.sends.get(&number).copied() else { return };
        self.pending.push(Pending::Renewed { number, sent });
        let before = self.carried.replace(Carried { term: renew.term, leader_clock_ms: renew.leader_clock_ms, sent });
        let Some(before) = before.filter(|before| before.term == renew.term) else { return };
        let own_ns = self.clock.now().larger_since(before.sent);
        let leader_ns = renew.leader_clock_ms.saturating_sub(before.leader_clock_ms).saturating_mul(1_000_000);
        if clocks_stood_still(own_ns, leader_ns) {
            tracing::error!(
                event = "clocks_stood_still",
                own_ns,
                leader_ns,
                "this node's clocks stood still: dropping the lease"
            );
            self.kill();
        }
    }

    fn end_if_replaced(&mut self, state: &State) {
        let Some(lease) = self.lease.as_ref().filter(|lease| !lease.is_dead()) else { return };
        // Who is being removed serves nobody from then on, although its lease would still run.
        let reason = if state.node(self.node).is_some_and(|row| row.leaving) {
            "removed from the cluster"
        } else if !state.epoch_alive(self.node, lease.epoch()) {
            "ended in the log"
        } else {
            return;
        };
        tracing::warn!(event = "lease_lost", epoch = lease.epoch().0, reason);
        self.kill();
    }

    fn kill(&self) {
        if let Some(lease) = &self.lease {
            lease.kill();
        }
    }

    fn take_note(&mut self, node: NodeId, state: &State) {
        let now = self.clock.now();
        match state.node(node) {
            Some(row) if row.alive => {
                self.notes.insert(node, Note { epoch: row.last_epoch, renewal: row.renewal, at: now });
            }
            _ => {
                self.notes.remove(&node);
            }
        }
    }

    /// After a restart or a snapshot this replica counts from now, for every renewal that it had not seen itself.
    pub fn note_everything(&mut self, state: &State) {
        self.notes.retain(|node, _| state.node(*node).is_some_and(|row| row.alive));
        let news: Vec<NodeId> = state
            .nodes()
            .filter(|row| row.alive)
            .filter(|row| {
                self.note(row.id).is_none_or(|note| note.epoch != row.last_epoch || note.renewal != row.renewal)
            })
            .map(|row| row.id)
            .collect();
        for node in news {
            self.take_note(node, state);
        }
        self.settle_from_snapshot(state);
        self.end_if_replaced(state);
    }

    /// A renewal or registration of ours that came inside a snapshot counts like one that came as an entry.
    fn settle_from_snapshot(&mut self, state: &State) {
        let Some(row) = state.node(self.node).filter(|row| row.alive && row.start == self.start) else { return };
        match &self.lease {
            Some(lease) if lease.epoch() == row.last_epoch => {
                let (number, sent) = (row.renewal, self.sends.get(&row.renewal).copied());
                self.carried = None;
                self.pending.extend(sent.map(|sent| Pending::Renewed { number, sent }));
            }
            // A registration inside a snapshot does not say what it replaced: it is not taken, the node registers again.
            _ => {}
        }
    }

    /// Extends, once the cuts of the batch are effective.
    pub fn settle(&mut self, lease: &watch::Sender<Option<Arc<Lease>>>, renewed: &watch::Sender<u64>) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Registered { epoch, sent } => {
                    let new = Arc::new(Lease::new(self.node, epoch, Arc::clone(&self.clock), sent));
                    tracing::info!(event = "lease_gained", epoch = epoch.0);
                    if let Some(old) = self.lease.replace(Arc::clone(&new)) {
                        old.kill();
                    }
                    (self.next_number, self.carried) = (1, None);
                    self.sends.clear();
                    self.registrations.clear();
                    renewed.send_replace(0);
                    lease.send_replace(Some(new));
                }
                Pending::Renewed { number, sent } => {
                    note_way(number, self.clock.now().larger_since(sent));
                    #[cfg(feature = "planted-bugs")]
                    let now = flotilla_model::planted::is("extension-from-apply").then(|| self.clock.now());
                    #[cfg(feature = "planted-bugs")]
                    let sent = now.unwrap_or(sent);
                    if let Some(lease) = &self.lease {
                        lease.extend(sent);
                    }
                    self.sends = self.sends.split_off(&number);
                    renewed.send_if_modified(|last| std::mem::replace(last, number.max(*last)) < number);
                }
            }
        }
    }
}

/// From a renewal's first send until it counts: what a lease is made of, and what shows a stall before it costs one.
fn note_way(number: u64, ns: u64) {
    let way = Duration::from_nanos(ns);
    metric::renewed(way);
    if way > SLOW_WAY {
        let ms = way.as_millis() as u64;
        tracing::warn!(event = "slow_renewal", ms, number, "a lease renewal took long until it was applied here");
    }
}

/// Whether the holder's count over an interval that contains the leader's is shorter by more than 2 rho.
fn clocks_stood_still(own_ns: u64, leader_ns: u64) -> bool {
    own_ns.saturating_mul(100) < leader_ns.saturating_mul(100 - 2 * RHO_PERCENT)
}

#[cfg(test)]
mod skew;
#[cfg(test)]
mod tests;
