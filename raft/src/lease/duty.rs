//! The leader's duty for all leases: one renewal entry per round, and the end of those whose time is over (`PROTOCOL.md` 1.1, 1.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Clocks;
use flotilla_cluster::lease::EXPIRY_NS;
use flotilla_model::command::{Expire, Renew};
use flotilla_model::{Command, CommandId, Envelope, Epoch, Node, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Note, Renewal};
use crate::propose::{LeaderQueue, Outcome};
use crate::shared::Shared;

/// A round waits this long after its first renewal for the other live nodes.
const ROUND: Duration = Duration::from_millis(150);
/// How often the leader looks for leases that are over.
const LOOK: Duration = Duration::from_millis(100);
const WITHIN: Duration = Duration::from_secs(3);

pub struct LeaderDuty {
    pub shared: Arc<Shared>,
    pub queue: LeaderQueue,
    pub renewals: mpsc::Receiver<Renewal>,
}

/// What one term of leadership keeps.
struct Term {
    term: u64,
    pending: BTreeMap<NodeId, (Epoch, u64)>,
    flush_at: Option<Instant>,
    /// The first round after the election is logged with its first renewal.
    first: bool,
    /// Counts ms as the sum of the smaller steps of both clocks: never more than either clock says (1.4).
    counted_ns: u64,
    counted_at: Clocks,
}

impl LeaderDuty {
    pub async fn run(mut self) {
        let mut base = self.shared.term_base.subscribe();
        loop {
            let term = base.borrow_and_update().map(|base| base.term);
            match term {
                Some(term) if self.leads(term) => self.lead(term).await,
                _ => {
                    tokio::select! {
                        changed = base.changed() => if changed.is_err() { return },
                        // Not the leader: what comes late is dropped, its sender asks again elsewhere.
                        renewal = self.renewals.recv() => if renewal.is_none() { return },
                    }
                }
            }
        }
    }

    fn leads(&self, term: u64) -> bool {
        let leadership = self.shared.leadership.borrow();
        leadership.term == term && leadership.leader == Some(self.shared.node)
    }

    async fn lead(&mut self, number: u64) {
        let mut leadership = self.shared.leadership.subscribe();
        let (asked, mut ended) = mpsc::channel::<NodeId>(256);
        let mut expiring = BTreeSet::new();
        let mut term = Term {
            term: number,
            pending: BTreeMap::new(),
            flush_at: None,
            first: true,
            counted_ns: 0,
            counted_at: self.shared.clock.now(),
        };
        let mut look = Instant::now() + LOOK;
        while self.leads(number) {
            tokio::select! {
                renewal = self.renewals.recv() => match renewal {
                    Some(renewal) => self.receive(&mut term, renewal),
                    None => return,
                },
                () = sleep_until(term.flush_at.unwrap_or(look)), if term.flush_at.is_some() => self.log_round(&mut term),
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    self.expire(&mut term, &mut expiring, &asked);
                }
                Some(node) = ended.recv() => {
                    expiring.remove(&node);
                }
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    fn receive(&self, term: &mut Term, renewal: Renewal) {
        let newest = term.pending.entry(renewal.node).or_insert((renewal.epoch, renewal.number));
        *newest = (*newest).max((renewal.epoch, renewal.number));
        let state = self.shared.state();
        let all = state.nodes().filter(|row| row.alive).all(|row| term.pending.contains_key(&row.id));
        if all || std::mem::take(&mut term.first) {
            self.log_round(term);
        } else if term.flush_at.is_none() {
            term.flush_at = Some(Instant::now() + ROUND);
        }
    }

    fn log_round(&self, term: &mut Term) {
        term.flush_at = None;
        let renewals: Vec<_> = std::mem::take(&mut term.pending).into_iter().map(|(n, (e, r))| (n, e, r)).collect();
        if renewals.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        term.counted_ns += now.smaller_since(term.counted_at);
        term.counted_at = now;
        let renew = Renew { term: term.term, leader_clock_ms: term.counted_ns / 1_000_000, renewals };
        self.propose(term.term, Command::Renew(renew), None);
    }

    fn propose(&self, term: u64, command: Command, done: Option<(NodeId, mpsc::Sender<NodeId>)>) {
        let envelope = Envelope { id: CommandId::Unnumbered, actor: "leader".to_owned(), command };
        let answer = self.queue.push(envelope, Some(term), Instant::now() + WITHIN);
        tokio::spawn(async move {
            if let Outcome::Unknown(why) | Outcome::NotAppended(why) = answer.await {
                tracing::debug!(why, "the leader's own command was not applied");
            }
            if let Some((node, ended)) = done {
                let _ = ended.send(node).await;
            }
        });
    }

    /// Proposes the end of every lease whose note is old on both clocks, having taken in what was received.
    fn expire(&mut self, term: &mut Term, expiring: &mut BTreeSet<NodeId>, ended: &mpsc::Sender<NodeId>) {
        while let Ok(renewal) = self.renewals.try_recv() {
            self.receive(term, renewal);
        }
        let now = self.shared.clock.now();
        let state = self.shared.state();
        for row in state.nodes().filter(|row| row.alive) {
            let (note, waiting) = (self.shared.book().note(row.id), term.pending.get(&row.id).copied());
            let Some(expire) = due_expiry(row, note, waiting, now) else { continue };
            if !expiring.insert(row.id) {
                continue;
            }
            let (epoch, renewal) = (expire.epoch.0, expire.last_renewal);
            tracing::warn!(event = "lease_expiring", node = row.id.0, epoch, renewal);
            self.propose(term.term, Command::Expire(expire), Some((row.id, ended.clone())));
        }
    }
}

/// The end of a node's lease, once this replica's note of its last renewal is old on both clocks and none waits to be logged.
pub fn due_expiry(row: &Node, note: Option<Note>, waiting: Option<(Epoch, u64)>, now: Clocks) -> Option<Expire> {
    let note = note.filter(|note| note.epoch == row.last_epoch && now.smaller_since(note.at) >= EXPIRY_NS)?;
    let waits = waiting.is_some_and(|(epoch, _)| epoch == note.epoch);
    (!waits).then_some(Expire { node: row.id, epoch: note.epoch, last_renewal: note.renewal })
}
