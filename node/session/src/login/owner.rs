//! The owner of one open session: proposes the open until its outcome is known, also after the client has gone, and owes the log
//! its close (`PROTOCOL.md` 2.4).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use flotilla_cluster::{ActiveTransfer, Lease, SubmitError, Submitted};
use flotilla_model::command::{CloseSession, OpenSession};
use flotilla_model::{Command, CommandId, Refusal, SessionId};
use tokio::sync::{Notify, oneshot};

use crate::connection::Connection;
use crate::core::Core;
use crate::gate::EndReason;
use crate::registry::Entry;
use crate::session::Session;

/// One attempt at a command; it is repeated until its outcome is known.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) enum OpenReport {
    Opened(SessionId),
    Refused(Refusal),
    /// Nothing happened and nothing will.
    Unavailable(String),
}

/// What a session and its owner share: the session's end.
#[derive(Default)]
pub(crate) struct Lifecycle {
    ended: OnceLock<String>,
    /// Taken by the owner at the end, so that nothing keeps itself alive.
    session: Mutex<Option<Arc<Session>>>,
    closed: OnceLock<()>,
    changed: Notify,
}

impl Lifecycle {
    /// The first reason stands.
    pub fn end(&self, reason: &str) {
        if self.ended.set(reason.to_owned()).is_ok() {
            self.changed.notify_waiters();
        }
    }

    pub fn hold(&self, session: Arc<Session>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// What the session reads and writes now; nothing before it has begun and after its end.
    pub fn transfers(&self) -> Vec<ActiveTransfer> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        session.map(|session| session.transfers()).unwrap_or_default()
    }

    fn take_session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn ended(&self) -> &str {
        self.when(|| self.ended.get()).await
    }

    /// Returns when the slots have been given back, or the epoch is over.
    pub async fn closed(&self) {
        self.when(|| self.closed.get()).await;
    }

    fn note_closed(&self) {
        let _ = self.closed.set(());
        self.changed.notify_waiters();
    }

    async fn when<'a, T: 'a>(&'a self, ready: impl Fn() -> Option<&'a T>) -> &'a T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = ready() {
                return value;
            }
            changed.await;
        }
    }
}

struct Owner {
    core: Arc<Core>,
    lease: Arc<Lease>,
    entry: Arc<Entry>,
    lifecycle: Arc<Lifecycle>,
}

/// Puts the gate into the table, then proposes the open in a task of its own. `patience`: how long the login can wait.
pub(super) fn start(
    core: &Arc<Core>,
    connection: &Arc<Connection>,
    lease: &Arc<Lease>,
    open: OpenSession,
    patience: Duration,
) -> (Arc<Lifecycle>, oneshot::Receiver<OpenReport>) {
    let id = lease.number();
    let lifecycle = Arc::new(Lifecycle::default());
    let (username, connection) = (open.username.clone(), Arc::clone(connection));
    let entry = core.registry.insert(session_of(id), username, connection, Arc::clone(&lifecycle));
    let owner = Owner { core: Arc::clone(core), lease: Arc::clone(lease), entry, lifecycle: Arc::clone(&lifecycle) };
    let (report, outcome) = oneshot::channel();
    tokio::spawn(owner.run(id, open, patience, report));
    (lifecycle, outcome)
}

/// A session is named by the number of its open.
fn session_of(id: CommandId) -> SessionId {
    match id {
        CommandId::Node { node, epoch, number, .. } => SessionId { node, epoch, number },
        CommandId::Request(_) | CommandId::Unnumbered => unreachable!("a lease numbers its node's commands"),
    }
}

impl Owner {
    async fn run(self, id: CommandId, open: OpenSession, patience: Duration, report: oneshot::Sender<OpenReport>) {
        match self.repeat(id, Command::OpenSession(open), Some(patience)).await {
            Ok(Submitted { reply: Ok(_), .. }) => {
                let _ = report.send(OpenReport::Opened(self.entry.id));
                self.keep().await;
            }
            Ok(Submitted { reply: Err(refusal), .. }) => _ = report.send(OpenReport::Refused(refusal)),
            Err(why) => _ = report.send(OpenReport::Unavailable(why)),
        }
        self.core.registry.remove(&self.entry);
        self.lifecycle.note_closed();
    }

    async fn repeat(&self, id: CommandId, command: Command, patience: Option<Duration>) -> Result<Submitted, String> {
        repeat_numbered(&self.core, &self.lease, id, command, patience).await
    }

    /// From the open to the close: all slots of the connection are given back together (2.2).
    async fn keep(&self) {
        let reason = self.lifecycle.ended().await;
        self.entry.closing.store(true, Ordering::Release);
        let gate = self.entry.connection.gate();
        gate.cut(EndReason::Other(reason.to_owned()));
        self.entry.connection.jobs_done().await;
        let reason = gate.ended().map_or_else(|| reason.to_owned(), ToString::to_string);
        let (mut bytes_uploaded, mut bytes_downloaded) = (0, 0);
        if let Some(session) = self.lifecycle.take_session() {
            session.clear_away(&reason).await;
            (bytes_uploaded, bytes_downloaded) = session.bytes_moved();
        }
        let close = CloseSession { session: self.entry.id, reason, bytes_uploaded, bytes_downloaded };
        let _ = self.repeat(self.lease.number(), Command::CloseSession(close), None).await;
    }
}

/// Repeats a command under its number until its outcome is known or its epoch is over. With `patience` a definite "no quorum"
/// is an outcome; without, the command is owed.
pub(crate) async fn repeat_numbered(
    core: &Core,
    lease: &Lease,
    id: CommandId,
    command: Command,
    patience: Option<Duration>,
) -> Result<Submitted, String> {
    let number = session_of(id);
    let actor = format!("node {}", number.node);
    let mut attempt = patience.unwrap_or(ATTEMPT);
    loop {
        match core.cluster.submit(id, &actor, command.clone(), attempt).await {
            Ok(submitted) => return Ok(submitted),
            Err(SubmitError::Closed) => return Err("this node is shutting down".into()),
            Err(error @ SubmitError::Unavailable(_)) if patience.is_some() => {
                lease.answered(number.number);
                return Err(error.to_string());
            }
            Err(_) => {}
        }
        // With its epoch over all its sessions are over, and a command that was on its way is refused.
        if lease.is_dead() && !core.cluster.state().epoch_alive(number.node, number.epoch) {
            return Err("this node lost its lease in the cluster".into());
        }
        attempt = ATTEMPT;
        tokio::time::sleep(PAUSE).await;
    }
}
