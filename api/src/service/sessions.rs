//! Sessions as a stream: all there are, then what changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flotilla_model::{CutReason, Session, SessionId};
use futures::Stream;

use super::{Caller, Service};
use crate::access::Verb;
use crate::error::ApiError;

/// Between two looks: changes within are told together.
const PAUSE: Duration = Duration::from_millis(200);
/// Sessions of one message.
const BATCH: usize = 500;

/// What a watcher of sessions is told.
#[derive(Clone, Debug, Default)]
pub struct SessionsChanged {
    pub log_index: u64,
    /// New or changed, with why they are being ended.
    pub sessions: Vec<(Arc<Session>, Option<CutReason>)>,
    pub ended: Vec<SessionId>,
    /// The first view is complete.
    pub complete: bool,
}

type View = BTreeMap<SessionId, (Arc<Session>, Option<CutReason>)>;

impl Service {
    /// `username`: only this user's, if not empty.
    pub async fn watch_sessions(
        self: Arc<Self>,
        caller: Caller,
        username: String,
    ) -> Result<impl Stream<Item = Result<SessionsChanged, ApiError>> + Send + use<>, ApiError> {
        caller.may(Verb::ListSessions)?;
        self.state(false).await?;
        let applied = self.cluster.applied();
        let watch = Watch {
            service: self,
            caller,
            username,
            applied,
            known: View::new(),
            ready: Vec::new().into_iter(),
            begun: false,
            failed: false,
        };
        Ok(futures::stream::unfold(watch, Watch::next))
    }
}

struct Watch {
    service: Arc<Service>,
    caller: Caller,
    username: String,
    applied: tokio::sync::watch::Receiver<u64>,
    known: View,
    ready: std::vec::IntoIter<SessionsChanged>,
    begun: bool,
    failed: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<SessionsChanged, ApiError>, Watch)> {
        loop {
            if self.failed {
                return None;
            }
            if let Some(message) = self.ready.next() {
                return Some((Ok(message), self));
            }
            if self.begun {
                self.applied.changed().await.ok()?;
                tokio::time::sleep(PAUSE).await;
            }
            self.applied.borrow_and_update();
            match self.service.again(&self.caller, Verb::ListSessions) {
                Ok(caller) => self.caller = caller,
                Err(error) => {
                    self.failed = true;
                    return Some((Err(error), self));
                }
            }
            self.ready = self.look().into_iter();
        }
    }

    fn look(&mut self) -> Vec<SessionsChanged> {
        let state = self.service.local_state();
        let wanted = |session: &Session| {
            (self.username.is_empty() || session.username.as_str() == self.username)
                && self.caller.sees_session(&state, session)
        };
        let now: View = state
            .live_sessions()
            .filter(|session| wanted(session))
            .map(|session| (session.id, (Arc::clone(session), state.session_cut(session))))
            .collect();
        let news: Vec<_> =
            now.iter().filter(|(id, row)| self.known.get(id) != Some(row)).map(|(_, row)| row.clone()).collect();
        let mut ended: Vec<_> = self.known.keys().filter(|id| !now.contains_key(id)).copied().collect();
        self.known = now;
        let log_index = state.applied_index();
        let mut messages: Vec<SessionsChanged> = news
            .chunks(BATCH)
            .map(|sessions| SessionsChanged { log_index, sessions: sessions.to_vec(), ..SessionsChanged::default() })
            .collect();
        if messages.is_empty() && (!ended.is_empty() || !self.begun) {
            messages.push(SessionsChanged { log_index, ..SessionsChanged::default() });
        }
        if let Some(last) = messages.last_mut() {
            last.ended.append(&mut ended);
            last.complete = !self.begun;
        }
        self.begun = true;
        messages
    }
}
