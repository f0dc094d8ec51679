//! What apply publishes and everybody else reads: the state, the applied index, the lease, the leader's time base.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use flotilla_cluster::{Agent, Changed, Clock, Lease};
use flotilla_model::{Effect, LogIndex, LogTime, NodeId, State};
use tokio::sync::{Notify, watch};

use crate::lease::LeaseBook;
use crate::roster::Rosters;

/// Where a leader's count of time starts: the state's time when it applied the first entry of its term (`DESIGN.md` 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermBase {
    pub term: u64,
    pub time: LogTime,
    /// CLOCK_BOOTTIME at that moment, in ns.
    pub boot: u64,
}

/// Who leads, as this node believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
}

pub struct Shared {
    pub node: NodeId,
    pub clock: Arc<dyn Clock>,
    pub leadership: watch::Sender<Leadership>,
    pub term_base: watch::Sender<Option<TermBase>>,
    pub lease: watch::Sender<Option<Arc<Lease>>>,
    /// Number of the last renewal that was applied here in the current epoch.
    pub renewed: watch::Sender<u64>,
    /// Counts since the last snapshot, and a bell for the task that writes them.
    pub grown_entries: AtomicU64,
    pub grown_bytes: AtomicU64,
    pub grown: Notify,
    /// Whether this node has caught up with a leader since its start.
    pub caught_up: AtomicBool,
    /// Why the engine has stopped for good: a store that failed.
    pub failed: watch::Sender<Option<String>>,
    /// Who is a member, and the key of each.
    pub rosters: Arc<Rosters>,
    #[cfg(feature = "simulation")]
    pub witness: crate::witness::Slot,
    state: ArcSwap<State>,
    applied: watch::Sender<LogIndex>,
    agent: Mutex<Option<Arc<dyn Agent>>>,
    book: Mutex<LeaseBook>,
}

impl Shared {
    pub fn new(node: NodeId, start: u64, clock: Arc<dyn Clock>, rosters: Arc<Rosters>) -> Arc<Self> {
        Arc::new(Shared {
            node,
            book: Mutex::new(LeaseBook::new(node, start, Arc::clone(&clock))),
            clock,
            leadership: watch::Sender::default(),
            term_base: watch::Sender::new(None),
            lease: watch::Sender::new(None),
            renewed: watch::Sender::new(0),
            grown_entries: AtomicU64::new(0),
            grown_bytes: AtomicU64::new(0),
            grown: Notify::new(),
            caught_up: AtomicBool::new(false),
            failed: watch::Sender::new(None),
            rosters,
            #[cfg(feature = "simulation")]
            witness: Default::default(),
            state: ArcSwap::from_pointee(State::default()),
            applied: watch::Sender::new(0),
            agent: Mutex::new(None),
        })
    }

    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    pub fn applied_index(&self) -> LogIndex {
        *self.applied.borrow()
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.leadership.borrow().leader
    }

    pub fn agent(&self) -> Option<Arc<dyn Agent>> {
        self.agent.lock().expect("no agent panics while it reconciles").clone()
    }

    pub fn book(&self) -> MutexGuard<'_, LeaseBook> {
        self.book.lock().expect("no panic in the lease book")
    }

    /// Under one lock with `publish`, so that the agent misses nothing between its first look and the next batch.
    pub fn set_agent(&self, agent: Arc<dyn Agent>) {
        let mut slot = self.agent.lock().expect("no agent panics while it reconciles");
        agent.reconcile(&self.state(), &Changed::Everything);
        *slot = Some(agent);
    }

    /// Makes a batch visible, in the order that promises rest on: state, cuts, then the lease, then the index (`PROTOCOL.md` 1.2).
    pub fn publish(&self, state: State, index: LogIndex, changed: &Changed) {
        let state = Arc::new(state);
        self.state.store(Arc::clone(&state));
        if touches_nodes(changed) {
            self.rosters.follow(&state);
        }
        if let Some(agent) = &*self.agent.lock().expect("no agent panics while it reconciles") {
            agent.reconcile(&state, changed);
        }
        let mut book = self.book();
        if matches!(changed, Changed::Everything) {
            book.note_everything(&state);
        }
        book.settle(&self.lease, &self.renewed);
        drop(book);
        self.applied.send_replace(index);
    }

    pub fn grew(&self, entries: u64, bytes: u64) {
        self.grown_entries.fetch_add(entries, Ordering::Relaxed);
        self.grown_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.grown.notify_one();
    }

    pub fn snapshot_taken(&self) {
        self.grown_entries.store(0, Ordering::Relaxed);
        self.grown_bytes.store(0, Ordering::Relaxed);
    }
}

fn touches_nodes(changed: &Changed) -> bool {
    match changed {
        Changed::Everything => true,
        Changed::Rows(rows) => rows.iter().any(|effect| matches!(effect, Effect::Node(_))),
    }
}
