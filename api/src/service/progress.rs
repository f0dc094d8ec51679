//! How far long operations are, as streams: read from the state and from what this node knows of the cluster.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_model::command::Note;
use flotilla_model::{Command, Done, LogIndex, NodeId, Refusal, RequestId, Username};
use futures::Stream;

use super::{Caller, Changed, Service};
use crate::access::Verb;
use crate::error::ApiError;

/// Between two looks: changes within are told together.
const PAUSE: Duration = Duration::from_millis(200);
/// A look at what is no part of the applied state: votes, a load.
const LOOK: Duration = Duration::from_secs(1);

/// How far something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, in a few words.
    pub stage: String,
    pub done: u64,
    /// 0: not known.
    pub total: u64,
    pub unit: &'static str,
    /// What has to happen before it goes on; empty: nothing.
    pub waits_for: String,
    pub ended: bool,
}

/// What of a node is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Ready,
    Gone,
}

/// Of which a stream tells.
enum Watched {
    /// A scan with a result behind this index.
    Scan {
        username: Username,
        after: LogIndex,
    },
    Node {
        node: NodeId,
        goal: Goal,
        sessions: u64,
        target: LogIndex,
    },
    Load(Arc<Load>),
}

impl Service {
    /// `after`: an older scan's result is not the one that is meant.
    pub async fn watch_scan(
        self: Arc<Self>,
        caller: Caller,
        username: &str,
        after: LogIndex,
    ) -> Result<impl Stream<Item = Result<(LogIndex, Progress), ApiError>> + Send + use<>, ApiError> {
        caller.may(Verb::ListScans)?;
        let (_, user) = self.find(&caller, username, false).await?;
        let watched = Watched::Scan { username: user.username.clone(), after };
        Ok(stream(self, caller, Verb::ListScans, watched))
    }

    /// Answers without a quorum too, from what this node knows.
    pub fn watch_node(
        self: Arc<Self>,
        caller: Caller,
        node: NodeId,
        goal: Goal,
    ) -> Result<impl Stream<Item = Result<(LogIndex, Progress), ApiError>> + Send + use<>, ApiError> {
        caller.may(Verb::GetStatus)?;
        let state = self.local_state();
        let given = state.settings().is_some_and(|settings| node.0 > 0 && node <= settings.last_node);
        let known = state.node(node).is_some() || given;
        if !known {
            return Err(ApiError::from(Refusal::NodeNotFound { node }).judged_by(&state));
        }
        let sessions = state.live_sessions().filter(|session| session.id.node == node).count() as u64;
        let target = self.cluster.status().last_log_index;
        let watched = Watched::Node { node, goal, sessions, target };
        Ok(stream(self, caller, Verb::GetStatus, watched))
    }

    pub fn watch_load(
        self: Arc<Self>,
        caller: Caller,
        id: RequestId,
    ) -> Result<impl Stream<Item = Result<(LogIndex, Progress), ApiError>> + Send + use<>, ApiError> {
        caller.may(Verb::Load)?;
        let missing = || ApiError::not_found("this node has begun no load under that request id, or long ago");
        let load = self.loads.find(id).ok_or_else(missing)?;
        Ok(stream(self, caller, Verb::Load, Watched::Load(load)))
    }

    fn look(&self, caller: &Caller, watched: &Watched) -> Result<Progress, ApiError> {
        match watched {
            Watched::Scan { username, after } => self.scan(caller, username, *after),
            Watched::Node { node, goal: Goal::Gone, sessions, .. } => Ok(self.going(*node, *sessions)),
            Watched::Node { node, goal: Goal::Ready, target, .. } => Ok(self.coming(*node, *target)),
            Watched::Load(load) => Ok(load.progress()),
        }
    }

    fn scan(&self, caller: &Caller, username: &Username, after: LogIndex) -> Result<Progress, ApiError> {
        let state = self.local_state();
        let user = state.user(username).filter(|user| caller.sees(user));
        let user = user.ok_or_else(|| ApiError::not_found(format!("user {username} is gone")).judged_by(&state))?;
        let quota = self.shown_quota(&state, user);
        let ended = quota.last_scan_index > after;
        let (stage, ended) = match (ended, quota.scanning, quota.scan_wanted) {
            (true, ..) => ("scanned", true),
            (_, true, _) => ("being scanned", false),
            (_, _, true) => ("waiting", false),
            // Nobody asks for one any more, and none will come.
            _ => ("no scan is wanted", true),
        };
        // Nothing in the log tells how far a scan is: what it found is known at its end.
        let done = if quota.last_scan_index > after { quota.used_files } else { 0 };
        Ok(Progress {
            stage: stage.into(),
            done,
            unit: "files",
            waits_for: quota.scan_waits_for,
            ended,
            ..Progress::default()
        })
    }

    fn going(&self, node: NodeId, sessions: u64) -> Progress {
        let state = self.local_state();
        let left = state.live_sessions().filter(|session| session.id.node == node).count() as u64;
        let alive = state.node(node).is_some_and(|row| row.alive);
        let (stage, ended) = match (alive, left) {
            (false, _) => ("gone", true),
            (true, 0) => ("ending", false),
            (true, _) => ("sessions end", false),
        };
        // Some may have come since.
        let total = sessions.max(left);
        Progress { stage: stage.into(), done: total - left, total, unit: "sessions", ended, ..Progress::default() }
    }

    fn coming(&self, node: NodeId, target: LogIndex) -> Progress {
        let (state, status) = (self.local_state(), self.cluster.status());
        let row = state.node(node);
        let applied = match row {
            Some(_) if node == status.node => status.applied_index,
            Some(row) => row.renewed_index,
            None => 0,
        };
        let votes = status.voters.contains(&node) || status.leader == Some(node);
        let learns = status.learners.contains(&node);
        let alive = |node: &&NodeId| state.node(**node).is_some_and(|row| row.alive && !row.leaving);
        let candidates: BTreeSet<NodeId> = status.learners.iter().filter(alive).copied().collect();
        let stays = learns && flotilla_cluster::promotion(status.voters.len(), &candidates).is_none();
        let (stage, ended) = match row {
            None => ("not there yet", false),
            Some(row) if !row.alive => ("known, without a lease", false),
            Some(_) if applied < target => ("catching up", false),
            Some(_) if votes => ("a voter", true),
            Some(_) if stays => ("a learner: the number of voters is kept odd", true),
            Some(_) => ("becoming a voter", false),
        };
        let (done, total) = (applied.min(target), target);
        Progress { stage: stage.into(), done, total, unit: "log entries", ended, ..Progress::default() }
    }
}

fn stream(
    service: Arc<Service>,
    caller: Caller,
    verb: Verb,
    watched: Watched,
) -> impl Stream<Item = Result<(LogIndex, Progress), ApiError>> + Send + use<> {
    let applied = service.cluster.applied();
    let watch = Watch { service, caller, verb, watched, applied, told: None, finished: false };
    futures::stream::unfold(watch, Watch::next)
}

struct Watch {
    service: Arc<Service>,
    caller: Caller,
    verb: Verb,
    watched: Watched,
    applied: tokio::sync::watch::Receiver<LogIndex>,
    told: Option<Progress>,
    finished: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<(LogIndex, Progress), ApiError>, Watch)> {
        if self.finished {
            return None;
        }
        loop {
            if self.told.is_some() {
                tokio::select! {
                    changed = self.applied.changed() => changed.ok()?,
                    () = tokio::time::sleep(LOOK) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
            let index = *self.applied.borrow_and_update();
            let looked = self.service.again(&self.caller, self.verb).and_then(|caller| {
                self.caller = caller;
                self.service.look(&self.caller, &self.watched)
            });
            match looked {
                Ok(progress) if self.told.as_ref() == Some(&progress) => {}
                Ok(progress) => {
                    self.finished = progress.ended;
                    self.told = Some(progress.clone());
                    return Some((Ok((index, progress)), self));
                }
                Err(error) => {
                    self.finished = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}

const COUNTED: u128 = u32::MAX as u128;

/// The id of a part of a load.
fn part(load: RequestId, at: u128) -> RequestId {
    RequestId(load.0 & !COUNTED | at & COUNTED)
}

/// The id under which the whole of a load is answered: behind those of all its parts.
fn whole(load: RequestId) -> RequestId {
    part(load, COUNTED)
}

impl Service {
    /// What a load under that id did, if one was ended. Which nodes its cuts concerned is not kept: each that lives must have come that far.
    pub(crate) async fn loaded_before(&self, id: RequestId) -> Result<Option<Changed>, ApiError> {
        let state = self.state(false).await?;
        let Some(Ok(Done::Revision(index))) = state.answer_of(whole(id)) else { return Ok(None) };
        let alive: Vec<NodeId> = state.nodes().filter(|row| row.alive).map(|row| row.id).collect();
        let unconfirmed = self.cluster.cuts_effective(&alive, *index, super::REVOKE).await;
        Ok(Some(Changed { unconfirmed, ..Changed::repeated(*index, id) }))
    }

    pub(crate) async fn note_load(&self, caller: &Caller, id: RequestId, records: u64) -> Result<Changed, ApiError> {
        let noted = self.change(caller, Some(whole(id)), Command::Note(Note::DumpLoaded { records })).await?;
        Ok(Changed { request_id: id, ..noted })
    }
}

/// Loads that are remembered.
const LOADS: usize = 16;

/// Loads of this node, the last ones.
#[derive(Default)]
pub(crate) struct Loads {
    rows: Mutex<VecDeque<Arc<Load>>>,
}

/// A dump that is being loaded.
pub(crate) struct Load {
    id: RequestId,
    /// All are checked before the first is written.
    checked: AtomicU64,
    written: AtomicU64,
    /// Ids given out.
    numbered: AtomicU32,
    total: u64,
    ended: AtomicBool,
}

impl Loads {
    /// `total`: records.
    pub(crate) fn begin(&self, id: RequestId, total: u64) -> Loading {
        let load = Arc::new(Load {
            id,
            checked: AtomicU64::new(0),
            written: AtomicU64::new(0),
            numbered: AtomicU32::new(0),
            total,
            ended: AtomicBool::new(false),
        });
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push_back(Arc::clone(&load));
        if rows.len() > LOADS {
            rows.pop_front();
        }
        Loading(load)
    }

    fn find(&self, id: RequestId) -> Option<Arc<Load>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().rev().find(|load| load.id == id).cloned()
    }
}

impl Load {
    fn progress(&self) -> Progress {
        let ended = self.ended.load(Ordering::Acquire);
        let (checked, written) = (self.checked.load(Ordering::Acquire), self.written.load(Ordering::Acquire));
        let (stage, done) = match ended {
            true if written == self.total => ("loaded", written),
            true => ("ended before all was loaded", written),
            false if checked < self.total => ("checking", checked),
            false => ("loading", written),
        };
        Progress { stage: stage.into(), done, total: self.total, unit: "records", ended, ..Progress::default() }
    }
}

/// The load has ended when this is dropped, however that comes.
pub(crate) struct Loading(Arc<Load>);

impl Loading {
    pub(crate) fn checked_one(&self) {
        self.0.checked.fetch_add(1, Ordering::AcqRel);
    }

    /// Ids for the next record's creation and for its replacement. Those of one load rise and are the same whenever it is tried
    /// again: the upper 96 bits are the load's, with its time; the lower 32 count.
    pub(crate) fn next_ids(&self) -> (RequestId, RequestId) {
        let at = u128::from(self.0.numbered.fetch_add(2, Ordering::AcqRel));
        (part(self.0.id, at), part(self.0.id, at + 1))
    }

    pub(crate) fn wrote_one(&self) {
        self.0.written.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}
