//! openraft's state machine: entries are applied here and nowhere else, in batches.
//!
//! After each batch, in this order: the state is published, the node's agent reconciles, leases are extended, the applied
//! index moves, and only then proposers are answered.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Changed;
use flotilla_model::{Applied, Effect, Entry, State};
use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftLogReader, RaftLogStorage, RaftStateMachine};
use tokio::time::Instant;

use crate::metric;
use crate::shared::{Shared, TermBase};
use crate::snapshot::{SnapshotBuilder, SnapshotFile, Snapshots};
use crate::store::LogStore;
use crate::types::{LogId, Membership, RaftEntry, Replies, Snapshot, SnapshotMeta, TypeConfig};

/// A batch is published after this many entries or this much time, whichever comes first.
const BATCH_ENTRIES: usize = 256;
const BATCH_TIME: Duration = Duration::from_millis(10);
/// What no batch should take: 10 ms and one more entry of at most 20 ms.
const SLOW: Duration = Duration::from_millis(30);

pub struct Machine {
    state: State,
    last_applied: Option<LogId>,
    membership: Membership,
    shared: Arc<Shared>,
    snapshots: Snapshots,
    /// The term of the last entry that was applied, to notice the first of a term.
    last_term: u64,
}

/// What a batch gathers until it is published.
#[derive(Default)]
struct Batch {
    answers: Vec<(Option<ApplyResponder<TypeConfig>>, Replies)>,
    effects: Vec<Effect>,
    bytes: u64,
}

impl Machine {
    pub fn open(dir: &Path, shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Machine {
            state: State::default(),
            last_applied: None,
            membership: Membership::default(),
            snapshots: Snapshots::open(dir)?,
            shared,
            last_term: 0,
        })
    }

    /// How far the snapshot on the disk reaches.
    pub fn snapshot_reaches(&self) -> io::Result<Option<LogId>> {
        Ok(self.snapshots.current()?.and_then(|snapshot| snapshot.meta.last_log_id))
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Reads the snapshot and applies the whole log behind it, committed or not: for a node that is not running.
    pub async fn replay(&mut self, log: &mut LogStore) -> io::Result<()> {
        if let Some(snapshot) = self.snapshots.current()? {
            self.install_snapshot(&snapshot.meta, snapshot.snapshot).await?;
        }
        loop {
            let next = self.last_applied.map_or(0, |id| id.index + 1);
            let entries = log.limited_get_log_entries(next, u64::MAX).await?;
            if entries.is_empty() {
                let purged = log.get_log_state().await?.last_purged_log_id;
                let gap = purged.is_some_and(|id| id.index >= next);
                return if gap { Err(io::Error::other("the log begins behind the snapshot")) } else { Ok(()) };
            }
            let mut batch = Batch::default();
            for entry in entries {
                self.apply_one(entry, &mut batch)?;
            }
        }
    }

    /// Applies an entry of this node's own with the membership that holds from it on.
    pub fn put_last(&mut self, id: LogId, entry: &Entry, membership: Membership) {
        self.state.apply(id.index, entry);
        self.last_applied = Some(id);
        self.membership = membership;
    }

    fn apply_one(&mut self, entry: RaftEntry, batch: &mut Batch) -> io::Result<Replies> {
        self.last_applied = Some(entry.log_id);
        #[cfg(feature = "simulation")]
        let (id, seen) = (entry.log_id, entry.payload.clone());
        let replies = match entry.payload {
            EntryPayload::Blank => {
                self.state.skip(entry.log_id.index);
                Vec::new()
            }
            EntryPayload::Membership(membership) => {
                self.state.skip(entry.log_id.index);
                self.membership = Membership::new(Some(entry.log_id), membership);
                Vec::new()
            }
            EntryPayload::Normal(payload) => {
                batch.bytes += payload.0.len() as u64;
                self.apply_entry(entry.log_id.index, &payload.0, batch)?
            }
        };
        self.note_term(entry.log_id.leader_id.term);
        #[cfg(feature = "simulation")]
        if let Some(witness) = self.shared.witness.get() {
            let bytes = if let EntryPayload::Normal(payload) = &seen { Some(&*payload.0) } else { None };
            witness.applied(id, bytes, &replies, &self.state);
        }
        Ok(Replies(replies))
    }

    fn apply_entry(&mut self, index: u64, bytes: &[u8], batch: &mut Batch) -> io::Result<Vec<flotilla_model::Reply>> {
        let entry = Entry::decode(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("entry {index}: {error}")))?;
        let Applied { replies, effects, .. } = self.state.apply(index, &entry);
        self.shared.book().observe(&entry, &replies, &self.state);
        batch.effects.extend(effects);
        Ok(replies)
    }

    /// The first entry of a term fixes where its leader's time goes on from; harmless on nodes that do not lead it.
    fn note_term(&mut self, term: u64) {
        if term == self.last_term {
            return;
        }
        self.last_term = term;
        let base = TermBase { term, time: self.state.time(), boot: self.shared.clock.now().boot };
        self.shared.term_base.send_replace(Some(base));
    }

    fn publish(&mut self, batch: &mut Batch, began: Instant) {
        let Some(last) = self.last_applied else { return };
        let entries = batch.answers.len() as u64;
        let changed = Changed::Rows(std::mem::take(&mut batch.effects));
        self.shared.publish(self.state.clone(), last.index, &changed);
        self.shared.grew(entries, std::mem::take(&mut batch.bytes));
        metric::applied(last.index, began.elapsed());
        if began.elapsed() > SLOW {
            let ms = began.elapsed().as_millis() as u64;
            tracing::warn!(event = "slow_apply", ms, entries, index = last.index, "applying a batch took long");
        }
        for (responder, replies) in batch.answers.drain(..) {
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + openraft::OptionalSend,
    {
        let mut batch = Batch::default();
        let mut began = Instant::now();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let replies = self.apply_one(entry, &mut batch)?;
            batch.answers.push((responder, replies));
            if batch.answers.len() >= BATCH_ENTRIES || began.elapsed() >= BATCH_TIME {
                self.publish(&mut batch, began);
                began = Instant::now();
            }
        }
        if !batch.answers.is_empty() {
            self.publish(&mut batch, began);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() };
        self.shared.snapshot_taken();
        self.snapshots.builder(meta, self.state.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (found, state) = self.snapshots.install(snapshot).await?;
        if found.signature() != meta.signature() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot file is not the one announced"));
        }
        self.state = state;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.last_term = meta.last_log_id.map_or(0, |id| id.leader_id.term);
        self.shared.snapshot_taken();
        #[cfg(feature = "simulation")]
        if let Some(witness) = self.shared.witness.get() {
            witness.installed(self.last_applied, &self.state);
        }
        let index = meta.last_log_id.map_or(0, |id| id.index);
        tracing::info!(event = "snapshot_installed", index);
        self.shared.publish(self.state.clone(), index, &Changed::Everything);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.snapshots.current()
    }
}
