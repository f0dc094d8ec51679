//! Guards that count, stop, or let something happen directly before the n-th system call of an operation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flotilla_vfs::{Guard, GuardRef, Stopped};

/// Passes `allowed` checks, then refuses.
pub struct StopAfter {
    allowed: usize,
    asked: AtomicUsize,
}

impl StopAfter {
    pub fn new(allowed: usize) -> Arc<Self> {
        Arc::new(Self { allowed, asked: AtomicUsize::new(0) })
    }

    /// How many checks were made, refused ones included.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn has_stopped(&self) -> bool {
        self.asked() > self.allowed
    }
}

impl Guard for StopAfter {
    fn check(&self) -> Result<(), Stopped> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        if before < self.allowed { Ok(()) } else { Err(Stopped) }
    }
}

type Action = Box<dyn FnOnce() + Send>;

/// Runs an action directly before the n-th (from 0) system call; then lets that call and all later ones pass, or only that call.
pub struct Interrupt {
    at: usize,
    only_that_call: bool,
    asked: AtomicUsize,
    action: Mutex<Option<Action>>,
}

impl Interrupt {
    /// Another session acts between two of our calls.
    pub fn meanwhile(at: usize, action: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Self::new(at, false, action)
    }

    /// Our thread freezes in its n-th call, past the check; everything happens; it thaws, and its lease is over.
    pub fn frozen(at: usize, action: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Self::new(at, true, action)
    }

    fn new(at: usize, only_that_call: bool, action: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let action: Action = Box::new(action);
        Arc::new(Self { at, only_that_call, asked: AtomicUsize::new(0), action: Mutex::new(Some(action)) })
    }

    pub fn has_acted(&self) -> bool {
        self.action.lock().unwrap().is_none()
    }
}

impl Guard for Interrupt {
    fn check(&self) -> Result<(), Stopped> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        if before == self.at {
            let action = self.action.lock().unwrap().take();
            action.expect("reached once")();
        }
        if self.only_that_call && before > self.at { Err(Stopped) } else { Ok(()) }
    }
}

pub fn as_guard<G: Guard>(guard: &Arc<G>) -> GuardRef {
    guard.clone()
}
