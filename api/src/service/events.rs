//! The history for callers: pages and streams of events, resumable at any node.

use std::collections::BTreeMap;
use std::sync::Arc;

use flotilla_model::command::Note;
use flotilla_model::event::Fact;
use flotilla_model::{Event, EventsError, FieldChange, State};
use futures::Stream;

use super::identity::split_actor;
use super::{Caller, Service};
use crate::access::Verb;
use crate::error::{ApiError, Code};

/// Events that a stream takes out of the state at one time.
const BATCH: usize = 256;

/// Where a reader of the history stands: cluster, number of the last event seen, its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    cluster: String,
    number: u64,
    hash: [u8; 32],
}

impl std::fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.cluster, self.number, hex(&self.hash))
    }
}

impl ResumeToken {
    pub fn parse(text: &str) -> Result<ResumeToken, ApiError> {
        let bad = || ApiError::field("resume_token", "not one of ours: CLUSTER_ID.NUMBER.HASH");
        let mut parts = text.rsplitn(3, '.');
        let (Some(hash), Some(number), Some(cluster)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let hash = unhex(hash).ok_or_else(bad)?;
        let number = number.parse().map_err(|_| bad())?;
        Ok(ResumeToken { cluster: cluster.to_owned(), number, hash })
    }

    fn at(state: &State, number: u64) -> Option<ResumeToken> {
        let hash = state.event_hash(number)?;
        Some(ResumeToken { cluster: cluster_id(state), number, hash })
    }

    /// The number, if the token is of this history.
    fn number_in(&self, state: &State) -> Result<u64, ApiError> {
        if self.cluster != cluster_id(state) {
            let text = format!("the resume token is of cluster {}, this is {}", self.cluster, cluster_id(state));
            return Err(ApiError { field: Some("resume_token".into()), ..ApiError::new(Code::Conflict, text) });
        }
        state.events_after(self.number).map(|_| ()).map_err(ApiError::from)?;
        if state.event_hash(self.number) != Some(self.hash) {
            let text = format!("event {} is another one here: the resume token is of another history", self.number);
            return Err(ApiError { field: Some("resume_token".into()), ..ApiError::new(Code::Conflict, text) });
        }
        Ok(self.number)
    }
}

impl From<EventsError> for ApiError {
    fn from(error: EventsError) -> Self {
        let code = match error {
            EventsError::Compacted { .. } => Code::Compacted,
            EventsError::Ahead { .. } => Code::Invalid,
        };
        ApiError::new(code, error.to_string())
    }
}

fn cluster_id(state: &State) -> String {
    state.settings().map(|settings| settings.cluster_id.clone()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes?.try_into().ok()
}

/// From where events are asked for.
#[derive(Clone, Debug)]
pub enum Since {
    /// Those with a greater number.
    Number(u64),
    /// All that are kept.
    Beginning,
    /// Only those that come.
    Now,
    Token(ResumeToken),
}

/// A page of the history.
pub struct EventPage {
    pub events: Vec<EventView>,
    /// Where to go on.
    pub resume_token: String,
    pub compacted_through: u64,
    pub last: u64,
    pub log_index: u64,
}

impl Service {
    pub async fn events(&self, caller: &Caller, from: Since, limit: usize) -> Result<EventPage, ApiError> {
        caller.may(Verb::ReadEvents)?;
        let state = self.state(false).await?;
        let after = start(&state, from)?;
        let events: Vec<EventView> = state.events_after(after)?.take(limit).map(|e| EventView::of(&state, e)).collect();
        let at = events.last().map_or(after, |event| event.number);
        Ok(EventPage {
            resume_token: ResumeToken::at(&state, at).map(|token| token.to_string()).unwrap_or_default(),
            compacted_through: state.events_compacted_through(),
            last: state.last_event_number(),
            log_index: state.applied_index(),
            events,
        })
    }

    /// Events, then those that come. Ends with an error when events that were not sent yet are no longer kept, and when the caller
    /// may no longer read them.
    pub async fn watch_events(
        self: Arc<Self>,
        caller: Caller,
        from: Since,
    ) -> Result<impl Stream<Item = Result<EventView, ApiError>> + Send + use<>, ApiError> {
        caller.may(Verb::ReadEvents)?;
        // What was acknowledged before the call is seen.
        let state = self.state(false).await?;
        let after = start(&state, from)?;
        let applied = self.cluster.applied();
        let follow = Follow { service: self, caller, applied, after, ready: Vec::new().into_iter(), failed: false };
        Ok(futures::stream::unfold(follow, Follow::next))
    }
}

fn start(state: &State, from: Since) -> Result<u64, ApiError> {
    match from {
        Since::Number(number) => Ok(number),
        Since::Beginning => Ok(state.events_compacted_through()),
        Since::Now => Ok(state.last_event_number()),
        #[cfg(feature = "planted-bugs")]
        Since::Token(token) if flotilla_model::planted::is("feed-duplicate") => {
            Ok(token.number_in(state)?.saturating_sub(1).max(state.events_compacted_through()))
        }
        Since::Token(token) => token.number_in(state),
    }
}

struct Follow {
    service: Arc<Service>,
    caller: Caller,
    applied: tokio::sync::watch::Receiver<u64>,
    after: u64,
    ready: std::vec::IntoIter<EventView>,
    failed: bool,
}

impl Follow {
    async fn next(mut self) -> Option<(Result<EventView, ApiError>, Follow)> {
        loop {
            if self.failed {
                return None;
            }
            if let Some(event) = self.ready.next() {
                self.after = event.number;
                return Some((Ok(event), self));
            }
            self.applied.borrow_and_update();
            match self.read() {
                Err(error) => {
                    self.failed = true;
                    return Some((Err(error), self));
                }
                Ok(true) => {}
                Ok(false) => self.applied.changed().await.ok()?,
            }
        }
    }

    /// Takes what has come; whether there was any.
    fn read(&mut self) -> Result<bool, ApiError> {
        self.caller = self.service.again(&self.caller, Verb::ReadEvents)?;
        let state = self.service.local_state();
        let events: Vec<EventView> =
            state.events_after(self.after)?.take(BATCH).map(|event| EventView::of(&state, event)).collect();
        self.ready = events.into_iter();
        Ok(!self.ready.as_slice().is_empty())
    }
}

/// An event as it is shown.
#[derive(Clone, Debug)]
pub struct EventView {
    pub number: u64,
    pub log_index: u64,
    pub timestamp: u64,
    pub kind: String,
    pub actor: String,
    pub source: String,
    pub object_type: &'static str,
    pub object_name: String,
    pub changes: Vec<FieldChange>,
    pub details: BTreeMap<&'static str, String>,
    pub hash: [u8; 32],
    pub resume_token: String,
}

impl EventView {
    fn of(state: &State, event: &Event) -> EventView {
        let (actor, source) = split_actor(&event.actor);
        let token = ResumeToken { cluster: cluster_id(state), number: event.number, hash: event.hash };
        let told = Told::of(&event.fact);
        EventView {
            number: event.number,
            log_index: event.index,
            timestamp: event.wall.0,
            kind: told.kind,
            actor: actor.to_owned(),
            source: source.to_owned(),
            object_type: told.object_type,
            object_name: told.object_name,
            changes: told.changes,
            details: told.details.into_iter().collect(),
            hash: event.hash,
            resume_token: token.to_string(),
        }
    }
}

/// A fact in words.
struct Told {
    kind: String,
    object_type: &'static str,
    object_name: String,
    changes: Vec<FieldChange>,
    details: Vec<(&'static str, String)>,
}

impl Told {
    fn of(fact: &Fact) -> Told {
        use Fact::*;
        let told = |kind: &str, object_type, name: &dyn ToString, details: Vec<(&'static str, String)>| Told {
            kind: kind.to_owned(),
            object_type,
            object_name: name.to_string(),
            changes: Vec::new(),
            details,
        };
        let changed = |told: Told, changes: &Vec<FieldChange>| Told { changes: changes.clone(), ..told };
        match fact {
            ClusterInitialised { cluster_id } => told("cluster_initialised", "cluster", cluster_id, vec![]),
            NodeAdded { node, name } => told("node_added", "node", node, vec![("name", name.clone())]),
            NodeRemoved { node, name } => told("node_removed", "node", node, vec![("name", name.clone())]),
            JoinTokenMade => told("join_token_made", "cluster", &"", vec![]),
            NodeUp { node, epoch } => told("node_up", "node", node, vec![("epoch", epoch.to_string())]),
            NodeDown { node, epoch } => told("node_down", "node", node, vec![("epoch", epoch.to_string())]),
            UserCreated { username, changes } => changed(told("user_created", "user", username, vec![]), changes),
            UserUpdated { username, changes } => changed(told("user_updated", "user", username, vec![]), changes),
            UserDeleted { username, changes } => changed(told("user_deleted", "user", username, vec![]), changes),
            SessionOpened { session, username, remote } => {
                let details = vec![("username", username.to_string()), ("remote_address", remote.clone())];
                told("session_opened", "session", session, details)
            }
            SessionRefused { username, remote, reason } => {
                let details = vec![("remote_address", remote.clone()), ("reason", reason.clone())];
                told("session_refused", "user", username, details)
            }
            SessionCut { session, username, reason } => {
                let details = vec![("username", username.to_string()), ("reason", format!("{reason:?}"))];
                told("session_cut", "session", session, details)
            }
            SessionClosed { session, username, reason, bytes_uploaded, bytes_downloaded } => {
                let details = vec![
                    ("username", username.to_string()),
                    ("reason", reason.clone()),
                    ("bytes_uploaded", bytes_uploaded.to_string()),
                    ("bytes_downloaded", bytes_downloaded.to_string()),
                ];
                told("session_closed", "session", session, details)
            }
            SecretChanged { name } => told("secret_changed", "secret", name, vec![]),
            RecordCreated { kind, name, changes } => {
                changed(told(&format!("{}_created", kind.word()), kind.word(), name, vec![]), changes)
            }
            RecordUpdated { kind, name, changes } => {
                changed(told(&format!("{}_updated", kind.word()), kind.word(), name, vec![]), changes)
            }
            RecordDeleted { kind, name, changes } => {
                changed(told(&format!("{}_deleted", kind.word()), kind.word(), name, vec![]), changes)
            }
            AdminLoggedIn { admin, expires_at } => {
                told("admin_logged_in", "admin", admin, vec![("expires_at", expires_at.to_string())])
            }
            StorageAdopted { storage, storage_id } => {
                told("storage_adopted", "storage", storage, vec![("storage_id", storage_id.clone())])
            }
            AccountScanned { account, bytes, files } => {
                let details = vec![("bytes", bytes.to_string()), ("files", files.to_string())];
                told("account_scanned", "account", account, details)
            }
            AccountMarked { account, reason } => {
                told("account_marked", "account", account, vec![("reason", reason.clone())])
            }
            ScanGivenUp { account, reason } => {
                told("scan_given_up", "account", account, vec![("reason", reason.clone())])
            }
            AccountRemoved { account, root } => {
                told("account_removed", "account", account, vec![("root", root.clone())])
            }
            Noted(Note::DumpLoaded { records }) => {
                told("dump_loaded", "cluster", &"", vec![("records", records.to_string())])
            }
            Noted(Note::LeadershipMoves { to: Some(node) }) => told("transfer_asked", "node", node, vec![]),
            Noted(Note::LeadershipMoves { to: None }) => told("transfer_asked", "cluster", &"", vec![]),
            Noted(Note::NodeDrains { node }) => told("drain_asked", "node", node, vec![]),
            ScanAsked { account, root, force } => {
                let details = vec![("root", root.clone()), ("force", force.to_string())];
                told("scan_asked", "account", account, details)
            }
            EpochFenced { account, epoch } => {
                told("epoch_fenced", "account", account, vec![("epoch", epoch.to_string())])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_token_reads_as_it_was_written_and_nothing_else_reads() {
        let token = ResumeToken { cluster: "a.b".into(), number: 7, hash: [0xab; 32] };
        assert_eq!(ResumeToken::parse(&token.to_string()).expect("reads"), token);
        for bad in ["", "a", "a.1", "a.x.00", &format!("a.1.{}", "z".repeat(64)), &format!("a.1.{}", "é".repeat(32))] {
            assert!(ResumeToken::parse(bad).is_err(), "{bad}");
        }
    }
}
