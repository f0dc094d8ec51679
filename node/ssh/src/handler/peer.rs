//! What the callbacks share with the task that runs the connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_session::Connection;
use russh::server::Handle;
use tokio::sync::SetOnce;

use crate::server::Shared;
use crate::sock::Wire;
use crate::startups::Place;

/// `run_stream` returns the handle as soon as the client has sent its identification: well before any callback.
const HANDLE_WAIT: Duration = Duration::from_secs(1);
/// A probe that cannot even be queued is given up.
const PROBE_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Peer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) wire: Arc<Wire>,
    /// A trusted proxy's own connection, as its health checks are.
    pub(crate) is_proxy: bool,
    handle: SetOnce<Handle>,
    /// Given back at the end of the login.
    place: Mutex<Option<Place>>,
    tried: Mutex<Tried>,
}

/// What the client has tried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tried {
    #[default]
    Nothing,
    WrongCredential,
    /// A right one, or one that could not be judged: no fault of its.
    Blameless,
}

impl Peer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        wire: Arc<Wire>,
        place: Place,
        is_proxy: bool,
    ) -> Arc<Self> {
        Arc::new(Peer {
            shared,
            connection,
            wire,
            is_proxy,
            handle: SetOnce::new(),
            place: Mutex::new(Some(place)),
            tried: Mutex::default(),
        })
    }

    pub(crate) fn set_handle(&self, handle: Handle) {
        let _ = self.handle.set(handle);
    }

    pub(crate) fn tried(&self) -> Tried {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_tried(&self, tried: Tried) {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = tried;
    }

    /// After the login, when it must be there.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.handle.get()
    }

    pub(super) async fn wait_for_handle(&self) -> Option<&Handle> {
        tokio::time::timeout(HANDLE_WAIT, self.handle.wait()).await.ok()
    }

    /// The login is over: makes room for others, and lets the session ask whether its client lives.
    pub(super) fn login_over(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(handle) = self.handle.get().cloned() {
            self.connection.set_probe(Box::new(move || {
                let handle = handle.clone();
                tokio::spawn(async move {
                    // A global request that every client answers, if only with a failure.
                    let asked = handle.cancel_forward_tcpip(String::new(), 0);
                    let _ = tokio::time::timeout(PROBE_WAIT, asked).await;
                });
            }));
        }
    }
}
