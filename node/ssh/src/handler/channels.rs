//! The channels of one connection: how many, and what stage each is in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flotilla_session::Session;
use flotilla_sftp::Engine;
use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use russh::{ChannelId, server};

use super::subsystem::Starting;
use super::{Ended, Handler};

/// A channel's slot in the session, left to the next channel when dropped (`PROTOCOL.md` 2.2).
pub(super) struct Slot(pub(super) Arc<Session>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.close_channel();
    }
}

/// A channel that speaks SFTP.
pub(super) struct Serving {
    pub(super) engine: Engine,
    pub(super) slot: Slot,
    /// The engine's jobs asked for the end of the channel.
    pub(super) closed: Arc<AtomicBool>,
}

pub(super) enum Stage {
    /// Nothing was asked for yet.
    Open,
    Starting(Arc<Mutex<Starting>>),
    Serving(Box<Serving>),
    /// Ending: set once our close has been sent.
    Over(Arc<AtomicBool>),
}

#[derive(Default)]
pub(super) struct Channels {
    pub(super) stages: HashMap<ChannelId, Stage>,
}

impl Channels {
    /// russh does not tell of channels that we closed first.
    fn sweep(&mut self) {
        self.stages.retain(|_, stage| match stage {
            Stage::Serving(serving) => !serving.closed.load(Ordering::Acquire),
            Stage::Over(closed) => !closed.load(Ordering::Acquire),
            Stage::Open | Stage::Starting(_) => true,
        });
    }
}

impl Handler {
    pub(super) async fn open_channel(&mut self, id: ChannelId, reply: ChannelOpenHandle) -> Result<(), Ended> {
        self.channels.sweep();
        let most = self.peer.shared.config.limits.channels_per_connection;
        if self.login.session().is_none() || !self.peer.connection.gate().is_open() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.channels.stages.len() >= most {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            self.channels.stages.insert(id, Stage::Open);
            reply.accept().await;
        }
        Ok(())
    }

    /// The client closed it: what runs is waited for, what is open is abandoned, then the slot is free for the next channel.
    pub(super) fn channel_closed(&mut self, id: ChannelId) {
        match self.channels.stages.remove(&id) {
            Some(Stage::Serving(serving)) => {
                tokio::spawn(end(*serving));
            }
            Some(Stage::Starting(starting)) => super::subsystem::give_up(&starting),
            Some(Stage::Open | Stage::Over(_)) | None => {}
        }
    }

    /// The client will send no more. As OpenSSH's server does: end, report success, close.
    pub(super) fn channel_ended(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), Ended> {
        match self.channels.stages.remove(&id) {
            Some(Stage::Serving(serving)) => {
                let Some(handle) = self.peer.handle().cloned() else { return Ok(session.close(id)?) };
                let closed = Arc::clone(&serving.closed);
                self.channels.stages.insert(id, Stage::Over(Arc::clone(&closed)));
                tokio::spawn(async move {
                    end(*serving).await;
                    // Errors mean that the connection is gone.
                    let _ = handle.exit_status_request(id, 0).await;
                    let _ = handle.eof(id).await;
                    let _ = handle.close(id).await;
                    closed.store(true, Ordering::Release);
                });
                Ok(())
            }
            Some(Stage::Starting(starting)) => {
                super::subsystem::give_up(&starting);
                Ok(session.close(id)?)
            }
            Some(Stage::Open) => Ok(session.close(id)?),
            Some(over @ Stage::Over(_)) => {
                self.channels.stages.insert(id, over);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Waits until nothing of the channel runs, within the engine's limit; then its slot is left to the next one.
pub(super) async fn end(serving: Serving) {
    let Serving { engine, slot, .. } = serving;
    engine.finish().await;
    drop(slot);
}
