//! Runs a job and takes in how it ended.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_session::Failure;

use super::{
    CloseReason, handles,
    schedule::{Started, Ticket, Work},
    shared::{Next, Reply, Shared, State},
    work::{Outcome, Target},
};
use crate::{codec::reply, status};

/// A running job. Should its task panic, the request fails and the session goes on.
pub(super) struct Job {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    work: Option<Work>,
}

impl Job {
    pub fn new(shared: Arc<Shared>, started: Started) -> Self {
        Self { shared, ticket: Some(started.ticket), work: Some(started.work) }
    }

    pub async fn run(mut self) {
        let (Some(work), Some(id)) = (self.work.take(), self.ticket.as_ref().map(|ticket| ticket.id)) else { return };
        let files = self.shared.files.as_ref();
        let outcome = match work {
            Work::Path(work) if work.opens() && self.is_out_of_handles() => Failure::TooManyHandles.into(),
            Work::Path(work) => work.run(id, files).await,
            Work::Handle { target, path, work } => {
                let outcome = work.run(id, files, &target, &path).await;
                if matches!(outcome, Outcome::Closed(_)) {
                    self.let_go(target).await;
                }
                outcome
            }
        };
        self.end(outcome);
    }

    /// Takes a closed handle away, before its CLOSE is answered and not under the lock: its descriptor closes with it.
    async fn let_go(&self, target: Target) {
        let handle = self.ticket.as_ref().and_then(|ticket| ticket.handle);
        let held = handle.and_then(|handle| self.shared.lock().schedule.remove_handle(handle));
        let frees_room = matches!(&target, Target::File { file, .. } if file.frees_room());
        let last = (target, held);
        if frees_room {
            self.shared.drop_aside(last).await;
        }
    }

    /// Path operations run one at a time, so no other OPEN can take the last handle meanwhile.
    fn is_out_of_handles(&self) -> bool {
        self.shared.lock().schedule.open_handles() >= self.shared.config.open_handles
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.change_and_tell(|state, next| complete(state, next, ticket, outcome));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        if std::thread::panicking() {
            metrics::counter!("flotilla_panics_total", "in" => "sftp_job").increment(1);
            tracing::error!(sender = "sftp", "a job panicked: its request fails, its session goes on");
        } else {
            // Dropped unfinished: the runtime is going away, so nothing more is started.
            self.shared.end(CloseReason::Shutdown);
        }
        self.end(Outcome::Failed(Failure::Invalid("internal error".to_owned())));
    }
}

fn complete(state: &mut State, next: &mut Next, ticket: Ticket, outcome: Outcome) {
    let id = ticket.id;
    let answer = match outcome {
        Outcome::Reply(bytes) => Ok(bytes),
        Outcome::Opened { target, path } => Ok(opened(state, id, target, path)),
        Outcome::Closed(result) => result.map(|()| reply::ok(id)),
        Outcome::Failed(failure) => Err(failure),
    };
    match answer.or_else(|failure| status::answer(id, &failure)) {
        Ok(bytes) => {
            let room = state.schedule.done(ticket, bytes.len());
            if state.over.is_none() {
                state.replies.push_back(Reply { bytes, room });
            }
        }
        Err(reason) => {
            state.schedule.done(ticket, 0);
            state.end_and_close(CloseReason::SessionOver(reason), next);
        }
    }
}

/// If the session is over meanwhile, the new handle is found idle and abandoned with the others.
fn opened(state: &mut State, id: u32, target: Target, path: Vec<u8>) -> Bytes {
    handles::reply(id, state.schedule.add_handle(target, path))
}
