//! What must hold, judged at each entry that any node applies, at each answer that a client gets, and at each millisecond.

mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use flotilla_model::{Command, CommandId, Done, Entry, Envelope, Epoch, LogIndex, NodeId, Reply, State, invariant};
use flotilla_raft::testing::LogId;
use flotilla_raft::testing::simulation::Witness;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// States kept for comparing whole states: those of the last entries.
const STATES: usize = 1_024;
/// Every so many entries a node's whole state is compared, not only its hash.
const WHOLE_EVERY: u64 = 32;

/// Every so many entries the events' chain of hashes is followed from its beginning: what is broken there stays broken.
const ALL_EVERY: u64 = 16;

/// All invariants but the events' chain.
fn most_invariants(state: &State) -> Result<(), invariant::Violation> {
    invariant::sessions_within_limit(state)?;
    invariant::indices_agree(state)?;
    invariant::roots_apart(state)?;
    invariant::answers_bounded(state)?;
    invariant::holders_count_sessions(state)?;
    invariant::limited_users_counted(state)?;
    invariant::grants_within_limit(state)?;
    invariant::ended_epochs_bounded(state)?;
    invariant::accounts_used(state)?;
    invariant::epochs_belong_to_nodes(state)
}

/// What the first node that applied an index saw there.
struct Row {
    term: u64,
    entry: Option<Vec<u8>>,
    replies: Vec<(CommandId, Reply)>,
    hash: [u8; 32],
}

#[derive(Default)]
struct Inner {
    now: u64,
    rows: BTreeMap<LogIndex, Row>,
    states: BTreeMap<LogIndex, State>,
    /// The last index that each running process applied; none before its first.
    applied: BTreeMap<u64, LogIndex>,
    starts: BTreeMap<u64, u64>,
    /// The first answer of each command that is to be taken once.
    answers: BTreeMap<CommandId, (LogIndex, Reply)>,
    /// Commands of which a client was told that they did nothing and never will.
    never: BTreeSet<CommandId>,
    acknowledged: LogIndex,
    leaders: BTreeMap<u64, u64>,
    violation: Option<String>,
    trace: Sha256,
    traced: u64,
    trace_lines: Option<Vec<String>>,
    counts: Counts,
}

/// How much happened: a run in which nothing did proves nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub entries: u64,
    pub applied: u64,
    pub states_compared: u64,
    pub snapshots_installed: u64,
    pub acknowledged: u64,
    pub repeated: u64,
    pub unknown: u64,
    pub definite: u64,
    pub barriers: u64,
    pub leaders: u64,
    pub opened: u64,
    /// Leases that were ended because they were not renewed.
    pub expired: u64,
}

#[derive(Default)]
pub struct Oracle {
    inner: Mutex<Inner>,
}

impl Oracle {
    pub fn new(keep_trace: bool) -> Arc<Self> {
        let inner = Inner { trace_lines: keep_trace.then(Vec::new), ..Inner::default() };
        Arc::new(Oracle { inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn set_now(&self, now: u64) {
        self.inner().now = now;
    }

    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// Notes something that happened; two runs of one seed must note the same.
    pub fn note(&self, what: impl FnOnce() -> String) {
        self.inner().note(what);
    }

    pub fn fail(&self, what: String) {
        self.inner().fail(what);
    }

    /// The first thing that did not hold.
    pub fn violation(&self) -> Option<String> {
        self.inner().violation.clone()
    }

    /// A hash of everything that was noted.
    pub fn trace(&self) -> String {
        let inner = self.inner();
        let hash = inner.trace.clone().finalize();
        hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>() + &format!("-{}", inner.traced)
    }

    pub fn trace_lines(&self) -> Vec<String> {
        self.inner().trace_lines.clone().unwrap_or_default()
    }

    pub fn started(&self, node: u64, start: u64) {
        let inner = &mut *self.inner();
        inner.applied.remove(&node);
        inner.starts.insert(node, start);
        inner.note(|| format!("node {node} start {start}"));
    }

    pub fn applied_by(&self, node: u64) -> LogIndex {
        self.inner().applied.get(&node).copied().unwrap_or(0)
    }

    /// Whether all nodes have their row.
    pub fn has_nodes(&self, count: usize) -> bool {
        self.inner().states.last_key_value().is_some_and(|(_, state)| state.nodes().count() == count)
    }

    /// Whether the log has ended an epoch of a node.
    pub fn has_ended(&self, node: u64, epoch: Epoch) -> bool {
        self.inner().states.last_key_value().is_some_and(|(_, state)| !state.epoch_alive(NodeId(node), epoch))
    }

    pub fn last_index(&self) -> LogIndex {
        self.inner().rows.last_key_value().map_or(0, |(index, _)| *index)
    }
}

impl Inner {
    fn note(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{} {}\n", self.now, what());
        self.trace.update(line.as_bytes());
        self.traced += 1;
        if let Some(lines) = &mut self.trace_lines {
            lines.push(line);
        }
    }

    fn fail(&mut self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        if self.violation.is_none() {
            self.violation = Some(format!("at {} ms: {what}", self.now));
        }
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what());
        }
    }

    fn applied(&mut self, node: u64, id: LogId, entry: Option<&[u8]>, replies: &[Reply], state: &State) {
        let (index, term) = (id.index, id.leader_id.term);
        self.counts.applied += 1;
        let before = self.applied.insert(node, index);
        let next = before.map_or(0, |before| before + 1);
        self.check(index == next, || format!("node {node} applied {index} after {before:?}"));
        self.check(state.applied_index() == index, || {
            format!("node {node}: state of {} at {index}", state.applied_index())
        });
        let hash = state.hash();
        match self.rows.get(&index) {
            Some(row) => {
                let same = row.term == term && row.entry.as_deref() == entry;
                let (same_hash, row_term) = (row.hash == hash, row.term);
                let same_replies = row.replies.iter().map(|(_, reply)| reply).eq(replies);
                self.check(same, || {
                    format!("node {node} applied another entry at {index}: term {term}, elsewhere term {row_term}")
                });
                self.check(same_hash, || format!("node {node} has another state hash at {index}"));
                self.check(same_replies, || format!("node {node} gave other replies at {index}"));
                if index.is_multiple_of(WHOLE_EVERY) {
                    self.compare(node, index, state);
                }
            }
            None => self.first(node, id, entry, replies, state),
        }
        self.note(|| format!("node {node} applied {index} of {term}: {:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]));
    }

    /// An index that nobody has applied yet.
    fn first(&mut self, node: u64, id: LogId, entry: Option<&[u8]>, replies: &[Reply], state: &State) {
        let index = id.index;
        let last = self.rows.last_key_value().map(|(last, row)| (*last, row.term));
        if let Some((last, term)) = last {
            self.check(index == last + 1, || format!("node {node} applied {index}, but nobody {}", last + 1));
            self.check(id.leader_id.term >= term, || {
                format!("entry {index} is of term {}, the one before of {term}", id.leader_id.term)
            });
        }
        let holds = if index.is_multiple_of(ALL_EVERY) { invariant::check_all(state) } else { most_invariants(state) };
        if let Err(violation) = holds {
            self.fail(format!("invariant at {index}: {violation}"));
        }
        self.counts.entries += 1;
        let commands = match entry.map(Entry::decode) {
            None => Vec::new(),
            Some(Ok(entry)) => entry.commands,
            Some(Err(error)) => return self.fail(format!("entry {index} cannot be read: {error}")),
        };
        self.check(commands.len() == replies.len(), || format!("entry {index} has not one reply per command"));
        let expired = |(one, reply): &(&Envelope, &Reply)| {
            matches!((&one.command, reply), (Command::Expire(_), Ok(Done::Revision(_))))
        };
        self.counts.expired += commands.iter().zip(replies).filter(expired).count() as u64;
        for (envelope, reply) in commands.iter().zip(replies) {
            self.taken(index, envelope, reply);
        }
        let replies: Vec<(CommandId, Reply)> =
            commands.iter().map(|envelope| envelope.id).zip(replies.iter().cloned()).collect();
        let row = Row { term: id.leader_id.term, entry: entry.map(<[u8]>::to_vec), replies, hash: state.hash() };
        self.rows.insert(index, row);
        self.states.insert(index, state.clone());
        if self.states.len() > STATES {
            self.states.pop_first();
        }
    }

    /// Compares a whole state with that of the node that applied the index first.
    fn compare(&mut self, node: u64, index: LogIndex, state: &State) {
        let Some(first) = self.states.get(&index) else { return };
        self.counts.states_compared += 1;
        if first != state {
            self.fail(format!("node {node} has another state at {index}, with the same hash"));
        }
    }

    fn installed(&mut self, node: u64, id: Option<LogId>, state: &State) {
        let index = id.map_or(0, |id| id.index);
        self.counts.snapshots_installed += 1;
        let before = self.applied.insert(node, index).unwrap_or(0);
        self.check(before <= index, || {
            format!("node {node} installed a snapshot of {index} after it had applied {before}")
        });
        self.note(|| format!("node {node} installed a snapshot of {index}"));
        match self.rows.get(&index).map(|row| (Some(row.term), row.hash)) {
            _ if index == 0 => {}
            None => self.fail(format!("node {node} installed a snapshot of {index}, which nobody has applied")),
            Some((term, hash)) => {
                self.check(term == id.map(|id| id.leader_id.term), || {
                    format!("node {node}: snapshot of {index} of another term")
                });
                self.check(hash == state.hash(), || format!("node {node}: snapshot of {index} has another state hash"));
                self.compare(node, index, state);
                if let Err(violation) = invariant::check_all(state) {
                    self.fail(format!("invariant in the snapshot of {index}: {violation}"));
                }
            }
        }
    }
}

/// What a node's state machine calls.
pub struct NodeWitness {
    pub node: u64,
    pub start: u64,
    pub oracle: Arc<Oracle>,
}

impl Witness for NodeWitness {
    fn applied(&self, id: LogId, entry: Option<&[u8]>, replies: &[Reply], state: &State) {
        let inner = &mut *self.oracle.inner();
        if inner.starts.get(&self.node) == Some(&self.start) {
            inner.applied(self.node, id, entry, replies, state);
        }
    }

    fn installed(&self, id: Option<LogId>, state: &State) {
        let inner = &mut *self.oracle.inner();
        if inner.starts.get(&self.node) == Some(&self.start) {
            inner.installed(self.node, id, state);
        }
    }
}
