//! The node's table of sessions: what cuts find, and what other nodes' logins ask about. A gate stands here before its
//! `OpenSession` is proposed (`PROTOCOL.md` 3.3).

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flotilla_cluster::{ActiveTransfer, MAX_TRANSFERS, ProbeAnswer};
use flotilla_model::{Effect, NodeId, SessionId, State, Username};

use crate::connection::{Connection, Life};
use crate::gate::EndReason;
use crate::login::Lifecycle;

/// A session or a login under way.
pub(crate) struct Entry {
    pub id: SessionId,
    pub username: Username,
    pub connection: Arc<Connection>,
    lifecycle: Arc<Lifecycle>,
    /// The state has held its row: should it be gone, the session is over.
    opened: AtomicBool,
    /// Its end has begun; its slots are on the way back.
    pub closing: AtomicBool,
}

#[derive(Default)]
struct Tables {
    by_id: HashMap<SessionId, Arc<Entry>>,
    by_user: HashMap<Username, BTreeSet<SessionId>>,
}

/// All of this node's sessions.
#[derive(Default)]
pub(crate) struct Registry {
    tables: Mutex<Tables>,
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn insert(
        &self,
        id: SessionId,
        username: Username,
        connection: Arc<Connection>,
        lifecycle: Arc<Lifecycle>,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            id,
            username: username.clone(),
            connection,
            lifecycle,
            opened: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let mut tables = self.tables();
        tables.by_id.insert(id, Arc::clone(&entry));
        tables.by_user.entry(username).or_default().insert(id);
        entry
    }

    pub fn remove(&self, entry: &Entry) {
        let mut tables = self.tables();
        tables.by_id.remove(&entry.id);
        if let Some(sessions) = tables.by_user.get_mut(&entry.username) {
            sessions.remove(&entry.id);
            if sessions.is_empty() {
                tables.by_user.remove(&entry.username);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.tables().by_id.len()
    }

    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.tables().by_id.values().cloned().collect()
    }

    /// What all sessions read and write now.
    pub fn transfers(&self) -> Vec<ActiveTransfer> {
        self.all().iter().flat_map(|entry| entry.lifecycle.transfers()).take(MAX_TRANSFERS).collect()
    }

    fn of_user(&self, username: &Username) -> Vec<Arc<Entry>> {
        let tables = self.tables();
        let sessions = tables.by_user.get(username).into_iter().flatten();
        sessions.filter_map(|id| tables.by_id.get(id).cloned()).collect()
    }

    fn get(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.tables().by_id.get(&id).cloned()
    }

    /// Cuts what the state says is over, among the sessions that these effects name.
    pub fn reconcile_rows(&self, state: &State, node: NodeId, effects: &[Effect]) {
        if self.tables().by_id.is_empty() {
            return;
        }
        for effect in effects {
            match effect {
                Effect::User(username) => self.of_user(username).iter().for_each(|entry| entry.reconcile(state)),
                Effect::Session(id) => self.get(*id).iter().for_each(|entry| entry.reconcile(state)),
                Effect::Node(changed) if *changed == node => self.reconcile_all(state),
                _ => {}
            }
        }
    }

    pub fn reconcile_all(&self, state: &State) {
        self.all().iter().for_each(|entry| entry.reconcile(state));
    }

    /// Ends every session whose lease is over; returns how many it ended.
    pub fn end_without_lease(&self) -> usize {
        let dead = |entry: &Arc<Entry>| {
            let gate = entry.connection.gate();
            gate.ended().is_none() && gate.lease().is_some_and(|lease| lease.is_dead())
        };
        let over: Vec<_> = self.all().into_iter().filter(dead).collect();
        over.iter().for_each(|entry| entry.connection.gate().cut(EndReason::LeaseLost));
        over.len()
    }

    /// Answers for one session of this node (2.5).
    pub async fn probe(&self, id: SessionId) -> ProbeAnswer {
        match self.get(id) {
            None => ProbeAnswer::Gone,
            Some(entry) => entry.probe().await,
        }
    }
}

impl Entry {
    fn reconcile(&self, state: &State) {
        let gate = self.connection.gate();
        match state.session(self.id) {
            Some(row) => {
                self.opened.store(true, Ordering::Release);
                if let Some(reason) = state.session_cut(row) {
                    gate.cut(EndReason::Cut(reason));
                }
            }
            // Before its open is applied there is no row. After it only the epoch's end or our own close removes it.
            None if self.opened.load(Ordering::Acquire) => gate.cut(EndReason::LeaseLost),
            None => {}
        }
    }

    fn is_ending(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.connection.gate().ended().is_some()
    }

    async fn probe(&self) -> ProbeAnswer {
        if self.is_ending() {
            return ProbeAnswer::Closing;
        }
        if self.connection.life() == Life::Alive || self.connection.ask().await {
            return if self.is_ending() { ProbeAnswer::Closing } else { ProbeAnswer::Alive };
        }
        if self.connection.is_unknown() {
            return ProbeAnswer::Alive;
        }
        self.connection.gate().cut(EndReason::Silent);
        ProbeAnswer::Closing
    }
}
