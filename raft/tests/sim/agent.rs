//! What stands above the core on each node: sessions with their lease, opened, served, cut and closed by the rules of
//! `PROTOCOL.md` 2, and a little of the ledger.

mod ledger;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::lease::is_over;
use flotilla_cluster::{Agent, Changed, Clocks, Lease, ProbeAnswer, SubmitError};
use flotilla_model::command::{CloseSession, OpenSession};
use flotilla_model::{Amount, Command, CommandId, Done, LogIndex, NodeId, Reply, SessionId, State, User, Username};
use flotilla_raft::testing::simulation::Core;
use tokio::time::sleep;

use crate::oracle::Oracle;
use crate::rng::Rng;

/// Connections that a node has at once.
const MOST: usize = 6;

#[derive(Clone)]
pub struct Held {
    pub username: Username,
    pub incarnation: LogIndex,
    pub limit: u32,
    pub lease: Arc<Lease>,
    /// Its open was answered and its close has not begun.
    pub serving: bool,
    cut: bool,
    /// Its client left before the open was answered.
    gone: bool,
}

pub struct Sessions {
    node: NodeId,
    oracle: Arc<Oracle>,
    rng: Mutex<Rng>,
    held: Mutex<BTreeMap<SessionId, Held>>,
    ended: AtomicBool,
}

/// Whether a lease is alive by these clocks, without touching it.
pub fn lives(lease: &Lease, now: Clocks) -> bool {
    let (deadline, dead) = lease.deadline();
    !dead && !is_over(deadline, now)
}

#[async_trait]
impl Agent for Sessions {
    fn reconcile(&self, state: &Arc<State>, _changed: &Changed) {
        for (id, held) in self.held().iter_mut() {
            let gone = match state.session(*id) {
                Some(row) => state.session_cut(row).is_some(),
                None => held.serving,
            };
            if gone {
                (held.cut, held.serving) = (true, false);
            }
        }
    }

    async fn probe(&self, sessions: Vec<SessionId>) -> Vec<ProbeAnswer> {
        vec![ProbeAnswer::Gone; sessions.len()]
    }
}

impl Sessions {
    pub fn new(node: u64, oracle: Arc<Oracle>, rng: Rng) -> Arc<Self> {
        Arc::new(Sessions {
            node: NodeId(node),
            oracle,
            rng: Mutex::new(rng),
            held: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<SessionId, Held>> {
        self.held.lock().expect("no panic while the sessions are locked")
    }

    fn draw<T>(&self, with: impl FnOnce(&mut Rng) -> T) -> T {
        with(&mut self.rng.lock().expect("no panic while the numbers are locked"))
    }

    /// What is served now, whatever its lease.
    pub fn serving(&self) -> Vec<(SessionId, Held)> {
        self.held().iter().filter(|(_, held)| held.serving).map(|(id, held)| (*id, held.clone())).collect()
    }

    /// The process is gone.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.held().clear();
    }

    /// Opens, closes and spends while operations are wanted and there is a lease.
    pub async fn run(self: Arc<Self>, core: Core, wanted: Arc<AtomicBool>) {
        loop {
            sleep(Duration::from_millis(self.draw(|rng| rng.between(40, 400)))).await;
            let lease = core.shared.lease.borrow().clone().filter(|lease| !lease.is_dead());
            let Some(lease) = lease else {
                self.held().clear();
                continue;
            };
            self.held().retain(|id, _| id.epoch == lease.epoch());
            if !wanted.load(Ordering::Relaxed) {
                continue;
            }
            let closing: Vec<SessionId> = self.held().iter().filter(|(_, one)| one.cut).map(|(id, _)| *id).collect();
            for session in closing {
                tokio::spawn(Arc::clone(&self).close(core.clone(), Arc::clone(&lease), session));
            }
            let open = self.held().len();
            match self.draw(|rng| rng.below(10)) {
                0..=4 if open < MOST => drop(tokio::spawn(Arc::clone(&self).open(core.clone(), lease))),
                5..=6 => {
                    let served: Vec<SessionId> = self.serving().into_iter().map(|(id, _)| id).collect();
                    if let Some(session) = self.draw(|rng| rng.pick(&served).copied()) {
                        tokio::spawn(Arc::clone(&self).close(core.clone(), lease, session));
                    }
                }
                7..=8 => drop(tokio::spawn(Arc::clone(&self).spend(core.clone(), lease))),
                _ => {}
            }
        }
    }

    async fn open(self: Arc<Self>, core: Core, lease: Arc<Lease>) {
        let state = core.shared.state();
        let users: Vec<Arc<User>> = state.users_after(None).take(8).cloned().collect();
        let Some(user) = self.draw(|rng| rng.pick(&users).cloned()) else { return };
        let id = lease.number();
        let CommandId::Node { node, epoch, number, .. } = id else { return };
        let session = SessionId { node, epoch, number };
        let held = Held {
            username: user.username.clone(),
            incarnation: user.incarnation,
            limit: user.max_sessions,
            lease: Arc::clone(&lease),
            serving: false,
            cut: false,
            gone: false,
        };
        self.held().insert(session, held);
        let command = OpenSession {
            username: user.username.clone(),
            incarnation: user.incarnation,
            credential_revision: user.credential_revision,
            remote: "192.0.2.1:1".to_owned(),
            protocol: "SFTP".to_owned(),
            method: "password".to_owned(),
            ahead: Amount::of(self.draw(|rng| rng.below(2) * 1_000), 0),
        };
        if self.draw(|rng| rng.permille(80)) {
            if let Some(held) = self.held().get_mut(&session) {
                held.gone = true;
            }
            let (this, core, lease) = (Arc::clone(&self), core.clone(), Arc::clone(&lease));
            let after = self.draw(|rng| rng.below(20));
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                this.close(core, lease, session).await;
            });
        }
        let answer = self.submit(&core, &lease, id, Command::OpenSession(command)).await;
        let opened = matches!(answer, Some(Ok(Done::Opened { .. })));
        let state = core.shared.state();
        let there = state.epoch_alive(session.node, session.epoch) && state.session(session).is_some();
        let mut all = self.held();
        let Some(held) = all.get_mut(&session) else {
            drop(all);
            // Its close was answered meanwhile.
            return self.oracle.session_closed(session, opened && there && lease.check().is_ok());
        };
        if !opened {
            all.remove(&session);
        } else if !held.gone && !held.cut && there && lease.check().is_ok() {
            held.serving = true;
            self.oracle.session_opened();
        }
    }

    async fn close(self: Arc<Self>, core: Core, lease: Arc<Lease>, session: SessionId) {
        match self.held().get_mut(&session) {
            Some(held) => (held.serving, held.cut, held.gone) = (false, false, true),
            None => return,
        }
        let command = CloseSession { session, reason: "closed".to_owned(), bytes_uploaded: 1, bytes_downloaded: 1 };
        let answer = self.submit(&core, &lease, lease.number(), Command::CloseSession(command)).await;
        if matches!(answer, Some(Ok(_))) {
            let state = core.shared.state();
            let there = state.epoch_alive(session.node, session.epoch) && state.session(session).is_some();
            self.oracle.session_closed(session, there);
            self.held().remove(&session);
        }
    }

    /// Repeats a numbered command until its outcome is known or the lease is over.
    async fn submit(&self, core: &Core, lease: &Lease, id: CommandId, command: Command) -> Option<Reply> {
        let actor = format!("node {}", self.node);
        let mut uncertain = false;
        while lease.check().is_ok() {
            let within = Duration::from_millis(self.draw(|rng| rng.between(200, 3_000)));
            match core.proposer.submit(id, &actor, command.clone(), within).await {
                Ok(submitted) => {
                    self.oracle.acknowledged(self.node.0, id, submitted.index, &submitted.reply);
                    return Some(submitted.reply);
                }
                Err(SubmitError::Unknown(_)) => {
                    self.oracle.unknown();
                    uncertain = true;
                }
                Err(_) if uncertain => sleep(Duration::from_millis(50)).await,
                Err(_) => {
                    self.oracle.never(id);
                    if let CommandId::Node { number, .. } = id {
                        lease.answered(number);
                    }
                    return None;
                }
            }
        }
        None
    }
}
