//! A number of bytes that many sessions share. Nobody waits on it: who gets none waits for his own bytes to come back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<AtomicUsize>,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)) }
    }

    pub fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }

    pub(super) fn try_take(&self, bytes: usize) -> Option<Taken> {
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        taken.is_ok().then(|| Taken { bytes, from: Some(self.clone()) })
    }
}

/// Bytes taken from a budget; they go back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    bytes: usize,
    from: Option<Budget>,
}

impl Taken {
    /// A session's first bytes, for which the node need not have room.
    pub fn reserve() -> Self {
        Self { bytes: 0, from: None }
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let (Some(budget), Some(excess)) = (&self.from, self.bytes.checked_sub(bytes)) {
            budget.free.fetch_add(excess, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_once() {
        let budget = Budget::new(10);
        let mut taken = budget.try_take(8).unwrap();
        assert!(budget.try_take(3).is_none());
        taken.shrink_to(5);
        assert_eq!(budget.free(), 5);
        drop(taken);
        drop(Taken::reserve());
        assert_eq!(budget.free(), 10);
    }
}
