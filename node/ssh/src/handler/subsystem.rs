//! `subsystem sftp`: asks for a slot without holding up the loop, then lets the engine speak.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flotilla_session::{ChannelRefused, Files};
use flotilla_sftp::{Engine, Feed, InlineOut};
use futures::FutureExt;
use russh::server::{Handle, Session};
use russh::{ChannelId, server};

use super::channels::{Serving, Slot, Stage, end};
use super::outlet::Outlet;
use super::{Ended, Handler, refuse};

/// Clients send INIT without waiting for our answer; more than a few requests before it are not reasonable.
const MAX_EARLY: usize = 256 * 1024;

/// A channel that waits for its slot, or catches up with what came meanwhile.
pub(super) enum Starting {
    Waiting(Vec<u8>),
    Ready(Box<Serving>),
    /// Refused, or closed by the client.
    Over,
}

pub(super) fn lock(starting: &Mutex<Starting>) -> MutexGuard<'_, Starting> {
    starting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client has closed the channel.
pub(super) fn give_up(starting: &Mutex<Starting>) {
    if let Starting::Ready(serving) = std::mem::replace(&mut *lock(starting), Starting::Over) {
        tokio::spawn(end(*serving));
    }
}

/// Keeps what came too early; `false`: it is too much.
pub(super) fn keep(early: &mut Vec<u8>, data: &[u8]) -> bool {
    let fits = early.len() + data.len() <= MAX_EARLY;
    if fits {
        early.extend_from_slice(data);
    }
    fits
}

impl Handler {
    pub(super) fn start_subsystem(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Ended> {
        let (Some(files), Some(handle)) = (self.login.session().cloned(), self.peer.handle().cloned()) else {
            return refuse::silently(id, session);
        };
        match self.channels.stages.get_mut(&id) {
            Some(stage @ Stage::Open) if name == "sftp" => {
                let config = self.peer.shared.config.engine.clone();
                *stage = begin(id, files, handle, config, session)?;
                Ok(())
            }
            // An unknown subsystem; or a second request, which would be a second session in one slot (SR5).
            _ => refuse::silently(id, session),
        }
    }
}

/// The first channel has its slot already and is answered at once; others wait in a task.
fn begin(
    id: ChannelId,
    files: Arc<flotilla_session::Session>,
    handle: Handle,
    config: flotilla_sftp::Config,
    session: &mut server::Session,
) -> Result<Stage, Ended> {
    let asker = Arc::clone(&files);
    let mut asked = Box::pin(async move { asker.open_channel().await });
    match (&mut asked).now_or_never() {
        Some(Ok(())) => {
            session.channel_success(id)?;
            Ok(Stage::Serving(Box::new(serve(id, files, &handle, config))))
        }
        Some(Err(ChannelRefused(text))) => {
            session.extended_data(id, 1, format!("{text}\r\n").into_bytes())?;
            session.channel_failure(id)?;
            Ok(Stage::Open)
        }
        None => {
            let starting = Arc::new(Mutex::new(Starting::Waiting(Vec::new())));
            let shared = Arc::clone(&starting);
            tokio::spawn(async move {
                match asked.await {
                    Ok(()) => succeed(id, serve(id, files, &handle, config), &handle, &shared).await,
                    Err(ChannelRefused(text)) => fail(id, text, &handle, &shared).await,
                }
            });
            Ok(Stage::Starting(starting))
        }
    }
}

fn serve(
    id: ChannelId,
    files: Arc<flotilla_session::Session>,
    handle: &Handle,
    config: flotilla_sftp::Config,
) -> Serving {
    let closed = Arc::new(AtomicBool::new(false));
    let outlet = Outlet::new(handle.clone(), id, Arc::clone(&closed));
    let slot = Slot(Arc::clone(&files));
    let engine = Engine::new(files as Arc<dyn Files>, config, Arc::new(outlet));
    Serving { engine, slot, closed }
}

async fn fail(id: ChannelId, text: String, handle: &Handle, starting: &Mutex<Starting>) {
    *lock(starting) = Starting::Over;
    // Errors mean that the connection is gone.
    let _ = handle.extended_data(id, 1, format!("{text}\r\n").into_bytes()).await;
    let _ = handle.channel_failure(id).await;
    let _ = handle.close(id).await;
}

/// Answers, then feeds what came meanwhile until nothing is left; only then may the loop feed.
async fn succeed(id: ChannelId, mut serving: Serving, handle: &Handle, starting: &Mutex<Starting>) {
    let _ = handle.channel_success(id).await;
    loop {
        let early = match &mut *lock(starting) {
            Starting::Waiting(early) => std::mem::take(early),
            Starting::Ready(_) | Starting::Over => break,
        };
        if early.is_empty() {
            let mut state = lock(starting);
            match &*state {
                Starting::Waiting(early) if early.is_empty() => {
                    *state = Starting::Ready(Box::new(serving));
                    return;
                }
                Starting::Waiting(_) => continue,
                Starting::Ready(_) | Starting::Over => break,
            }
        }
        let mut replies = Collected::default();
        let fed = serving.engine.feed(&early, &mut replies).await;
        for reply in replies.0 {
            let _ = handle.data(id, reply).await;
        }
        if let Feed::Close(reason) = fed {
            tracing::info!(sender = "ssh", %reason, "channel closed");
            serving.closed.store(true, Ordering::Release);
            *lock(starting) = Starting::Over;
            let _ = handle.close(id).await;
            break;
        }
    }
    end(serving).await;
}

/// Replies that are made outside of the loop: only what must be inline, everything else becomes a job.
#[derive(Default)]
struct Collected(Vec<Bytes>);

impl InlineOut for Collected {
    fn reply(&mut self, reply: Bytes) {
        self.0.push(reply);
    }
    fn window_open(&self) -> bool {
        false
    }
}
