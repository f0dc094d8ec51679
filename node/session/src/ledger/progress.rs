//! Whether a session can go on while some of its jobs wait for room (5.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::connection::SEND_STALL;
use crate::gate::Gate;

/// Shared by a session and its hold on the account.
pub struct Progress {
    waiting: AtomicUsize,
    /// Jobs that the session runs at one time.
    places: usize,
    gate: Option<Arc<Gate>>,
}

impl Default for Progress {
    /// Of a session that always goes on.
    fn default() -> Self {
        Progress { waiting: AtomicUsize::new(0), places: usize::MAX, gate: None }
    }
}

impl Progress {
    pub fn new(places: usize, gate: Option<Arc<Gate>>) -> Arc<Self> {
        Arc::new(Progress { waiting: AtomicUsize::new(0), places, gate })
    }

    /// A job waits for room until this is dropped.
    pub fn wait(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waits(self)
    }

    /// All places wait for room, so nothing of the session can end and free some; or its client does not read what it is sent.
    pub fn is_stuck(&self) -> bool {
        let full = self.waiting.load(Ordering::Acquire) >= self.places;
        full || self.gate.as_ref().and_then(|gate| gate.stalled()).is_some_and(|since| since >= SEND_STALL)
    }
}

pub struct Waits<'a>(&'a Progress);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
