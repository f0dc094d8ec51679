//! Admits a session: its slot in the log, its account, its root (`PROTOCOL.md` 2.1).

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Lease;
use flotilla_model::command::OpenSession;
use flotilla_model::{Refusal, SessionId, User};
use tokio::time::Instant;

use super::judge::Login;
use super::owner::{self, Lifecycle, OpenReport};
use super::way::{self, Way};
use crate::filters;
use crate::session::Session;

/// The longest wait for sessions in the way that may be over.
const GHOST_WAIT: Duration = Duration::from_secs(8);
/// Left of the deadline for the answer itself.
const ANSWER_TIME: Duration = Duration::from_millis(250);

pub(super) enum Admission {
    Admitted(Arc<Session>),
    /// The user's record moved: verify again.
    Moved,
    Rejected(&'static str),
    Refused(String),
    Unavailable(String),
}

/// A login that has proposed its open. Dropped before it is kept, it gives the slot back.
struct Pending {
    lifecycle: Arc<Lifecycle>,
    kept: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.kept {
            self.lifecycle.end("the login was not completed");
        }
    }
}

pub(super) async fn run(login: &Login<'_>, user: &Arc<User>) -> Admission {
    let mut give_up = None;
    loop {
        let Some(lease) = living_lease(login).await else {
            return Admission::Unavailable("this node has no lease in the cluster, it cannot reach a quorum".into());
        };
        let (pending, report) = match propose(login, user, &lease).await {
            Ok(proposed) => proposed,
            Err(why) => return Admission::Unavailable(why),
        };
        let refusal = match report {
            OpenReport::Opened(id) => return finish(login, user, pending, lease, id).await,
            OpenReport::Unavailable(why) => return Admission::Unavailable(why),
            OpenReport::Refused(refusal) => refusal,
        };
        let until = *give_up.get_or_insert_with(|| (Instant::now() + GHOST_WAIT).min(login.deadline - ANSWER_TIME));
        if let Some(admission) = after_refusal(login, refusal, until).await {
            return admission;
        }
    }
}

/// `None`: try again, under the living lease.
async fn after_refusal(login: &Login<'_>, refusal: Refusal, until: Instant) -> Option<Admission> {
    match refusal {
        Refusal::SessionLimitReached { ref holders, .. } => match way::clear(login.core, holders, until).await {
            Way::Clear => None,
            Way::Blocked => Some(Admission::Refused(format!("{refusal}: {}", way::describe(login.core, holders)))),
        },
        Refusal::StaleEpoch { .. } if Instant::now() < until => None,
        Refusal::StaleEpoch { .. } => Some(Admission::Unavailable("this node lost its lease in the cluster".into())),
        Refusal::UserChanged { .. }
        | Refusal::UserNotFound { .. }
        | Refusal::UserDisabled { .. }
        | Refusal::UserExpired { .. } => Some(Admission::Moved),
        Refusal::NumberTooFar { .. } => Some(Admission::Unavailable("too many logins at this moment".into())),
        other => Some(Admission::Refused(other.to_string())),
    }
}

/// The node's lease; waits for one as long as a login waits for an election.
async fn living_lease(login: &Login<'_>) -> Option<Arc<Lease>> {
    let mut changes = login.core.cluster.lease_changes();
    let wait = changes.wait_for(|lease| lease.as_ref().is_some_and(|lease| !lease.is_dead()));
    tokio::time::timeout(login.election_wait(), wait).await.ok()?.ok()?.clone()
}

/// Hands the open to its owner, which outlives this login, and waits for its outcome as long as for an election.
async fn propose(login: &Login<'_>, user: &User, lease: &Arc<Lease>) -> Result<(Pending, OpenReport), String> {
    if login.core.registry.len() >= login.core.config.sessions {
        return Err("this node serves as many sessions as it may".into());
    }
    let open = OpenSession {
        username: user.username.clone(),
        incarnation: user.incarnation,
        credential_revision: user.credential_revision,
        remote: login.connection.remote().to_string(),
        protocol: login.connection.protocol().into(),
        method: login.credential.method().into(),
        ahead: login.core.ledger.wanted_at_open(user),
    };
    let wait = login.election_wait();
    let (lifecycle, report) = owner::start(login.core, login.connection, lease, open, wait);
    let pending = Pending { lifecycle, kept: false };
    match tokio::time::timeout(wait, report).await {
        Ok(Ok(report)) => Ok((pending, report)),
        Ok(Err(_)) => Err("this node is shutting down".into()),
        Err(_) => Err("no quorum answered in time".into()),
    }
}

/// The slot is taken. The policy is the state at the open's index or later: what was taken away since then cuts the gate.
async fn finish(login: &Login<'_>, user: &User, mut pending: Pending, lease: Arc<Lease>, id: SessionId) -> Admission {
    let current = login.core.cluster.state().user(&user.username).cloned();
    let Some(current) = current.filter(|now| now.incarnation == user.incarnation) else {
        return Admission::Rejected("user does not exist");
    };
    if filters::judge(&current, login.attempt()).is_err() {
        return Admission::Rejected("user may not log in this way");
    }
    match Session::enter(login.core, login.connection, &pending.lifecycle, lease, id, &current).await {
        Ok(session) => {
            pending.kept = true;
            Admission::Admitted(session)
        }
        Err(why) => Admission::Refused(why),
    }
}
