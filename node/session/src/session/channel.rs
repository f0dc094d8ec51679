//! File-transfer channels of one connection and the slots they need (`PROTOCOL.md` 2.2).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flotilla_model::command::AddSlot;
use flotilla_model::{Command, Refusal, SlotHolder};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::login::{Way, bounded_text, clear_way, describe_holders, repeat_numbered};

/// How long a further channel waits for a quorum, as a login does.
const SLOT_WAIT: Duration = Duration::from_secs(5);
/// How long it waits in all where ghosts are in the way, as a login does (2.5).
const GHOST_WAIT: Duration = Duration::from_secs(8);
/// Left of the wait for the answer itself.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// Why a file-transfer channel was refused; the text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChannelRefused(pub String);

#[derive(Clone, Copy)]
struct Counts {
    open: u32,
    slots: u32,
}

pub(super) struct Channels {
    counts: Mutex<Counts>,
    /// One ask for a slot at a time: the next may find a free one.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Channels {
    fn default() -> Self {
        Channels { counts: Mutex::new(Counts { open: 0, slots: 1 }), asking: Arc::default() }
    }
}

impl Channels {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_free(&self) -> bool {
        let mut counts = self.counts();
        let free = counts.open < counts.slots;
        counts.open += u32::from(free);
        free
    }
}

impl Session {
    /// A file-transfer channel begins: the first one uses the session's slot, further ones open at the same time take one each (2.2).
    /// Asked at the `subsystem` or `exec` request; may wait, so call it from a task.
    pub async fn open_channel(&self) -> Result<(), ChannelRefused> {
        self.connection.gate().check().map_err(|reason| ChannelRefused(reason.to_string()))?;
        let until = Instant::now() + SLOT_WAIT + GHOST_WAIT;
        let one_at_a_time = timeout_at(until, Arc::clone(&self.channels.asking).lock_owned()).await;
        let one_at_a_time = one_at_a_time
            .map_err(|_| ChannelRefused("another channel of this connection waits for a slot: try again".into()))?;
        if self.channels.take_free() {
            return Ok(());
        }
        let asker = CancellationToken::new();
        let (session, gone) = (self.arc(), asker.clone());
        let _says_that_it_is_gone = asker.drop_guard();
        // In a task of its own: the number that is taken here is owed an outcome, also when the asker has gone. A slot that comes
        // after that is the next channel's, which asks for none before.
        let asked =
            tokio::spawn(async move { (session.ask_for_slot(until - ANSWER_TIME, &gone).await, one_at_a_time) });
        let _one_at_a_time = match timeout_at(until, asked).await {
            Ok(Ok((outcome, one_at_a_time))) => outcome.map(|()| one_at_a_time)?,
            Ok(Err(_)) | Err(_) => return Err(ChannelRefused("no quorum answered in time".into())),
        };
        if self.channels.take_free() { Ok(()) } else { Err(ChannelRefused("no slot was left".into())) }
    }

    /// Asks until there is a slot, the way is blocked, the time is over or the asker has gone.
    async fn ask_for_slot(&self, latest: Instant, gone: &CancellationToken) -> Result<(), ChannelRefused> {
        let mut until = None;
        loop {
            let command = Command::AddSlot(AddSlot { session: self.id });
            let added = repeat_numbered(&self.core, &self.lease, self.lease.number(), command, Some(SLOT_WAIT)).await;
            let refusal = match added.map_err(ChannelRefused)?.reply {
                Ok(_) => {
                    self.channels.counts().slots += 1;
                    return Ok(());
                }
                Err(refusal) => refusal,
            };
            let Refusal::SessionLimitReached { holders, .. } = &refusal else {
                return Err(ChannelRefused(bounded_text(refusal.to_string())));
            };
            let until = *until.get_or_insert_with(|| (Instant::now() + GHOST_WAIT).min(latest));
            let cleared = tokio::select! {
                biased;
                () = gone.cancelled() => false,
                cleared = timeout_at(until, self.is_way_clear(holders, until)) => cleared.unwrap_or(false),
            };
            // Others may take each slot that comes free: then the way is clear again and again.
            if !cleared || Instant::now() >= until {
                let text = format!("{refusal}: {}", describe_holders(&self.core, holders));
                return Err(ChannelRefused(bounded_text(text)));
            }
        }
    }

    /// Whether another session that was in the way is over. The asker itself lives.
    async fn is_way_clear(&self, holders: &[SlotHolder], until: Instant) -> bool {
        let others: Vec<SlotHolder> = holders.iter().filter(|holder| holder.session != self.id).cloned().collect();
        let over = self.connection.gate().closed();
        tokio::select! {
            way = clear_way(&self.core, &others, until) => matches!(way, Way::Clear),
            _ = over => false,
        }
    }

    /// A file-transfer channel ended; its slot is left to the next one of this connection.
    pub fn close_channel(&self) {
        let mut counts = self.channels.counts();
        counts.open = counts.open.saturating_sub(1);
    }
}
