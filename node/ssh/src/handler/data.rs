//! Bytes of a channel go to its engine, within russh's loop.

use std::sync::{Arc, Mutex};

use flotilla_sftp::Feed;
use russh::ChannelId;
use russh::server::Session;

use super::channels::{Serving, Stage, end};
use super::outlet::Inline;
use super::subsystem::{Starting, give_up, keep, lock};
use super::{Ended, Handler};

impl Handler {
    pub(super) async fn take_data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Ended> {
        if let Some(Stage::Starting(starting)) = self.channels.stages.get(&id) {
            let starting = Arc::clone(starting);
            match take_early(&starting, data) {
                Early::Kept => return Ok(()),
                Early::TooMuch => {
                    give_up(&starting);
                    self.channels.stages.remove(&id);
                    return Ok(session.close(id)?);
                }
                Early::Serve(serving) => {
                    self.channels.stages.insert(id, Stage::Serving(serving));
                }
            }
        }
        match self.channels.stages.get_mut(&id) {
            Some(Stage::Serving(serving)) => {
                let gate = self.peer.connection.gate();
                let mut inline = Inline::new(session, id);
                let feed = tokio::select! {
                    biased;
                    feed = serving.engine.feed(data, &mut inline) => feed,
                    reason = gate.closed() => return Err(Ended::Cut(reason.to_string())),
                };
                inline.into_result()?;
                if let Feed::Close(reason) = feed {
                    tracing::info!(sender = "ssh", %reason, remote_addr = %self.peer.connection.remote(), "channel closed");
                    self.close_serving(id, session)?;
                }
                Ok(())
            }
            // Nobody asked for a subsystem on it.
            Some(Stage::Open) => {
                self.channels.stages.remove(&id);
                Ok(session.close(id)?)
            }
            Some(Stage::Starting(_) | Stage::Over(_)) | None => Ok(()),
        }
    }

    fn close_serving(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Ended> {
        if let Some(Stage::Serving(serving)) = self.channels.stages.remove(&id) {
            tokio::spawn(end(*serving));
        }
        Ok(session.close(id)?)
    }
}

enum Early {
    Kept,
    TooMuch,
    /// It has begun: these bytes are the engine's.
    Serve(Box<Serving>),
}

fn take_early(starting: &Mutex<Starting>, data: &[u8]) -> Early {
    let mut state = lock(starting);
    match &mut *state {
        Starting::Waiting(early) => {
            if keep(early, data) {
                Early::Kept
            } else {
                Early::TooMuch
            }
        }
        Starting::Over => Early::Kept,
        Starting::Ready(_) => match std::mem::replace(&mut *state, Starting::Over) {
            Starting::Ready(serving) => Early::Serve(serving),
            other => {
                *state = other;
                Early::Kept
            }
        },
    }
}
