//! The two clocks of leases (`PROTOCOL.md` 1.4): CLOCK_BOOTTIME counts suspend, CLOCK_MONOTONIC_RAW cannot be slewed.

use flotilla_model::WallTime;
use rustix::time::{ClockId, clock_gettime};

/// One reading of both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clocks {
    pub boot: u64,
    pub raw: u64,
}

impl Clocks {
    /// Elapsed since `earlier`: the larger of both. What a holder counts.
    pub fn larger_since(self, earlier: Clocks) -> u64 {
        self.boot.saturating_sub(earlier.boot).max(self.raw.saturating_sub(earlier.raw))
    }
    /// Elapsed since `earlier`: the smaller of both. What a leader counts before it expires anything.
    pub fn smaller_since(self, earlier: Clocks) -> u64 {
        self.boot.saturating_sub(earlier.boot).min(self.raw.saturating_sub(earlier.raw))
    }
}

/// Where clock readings come from; simulations have their own.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Clocks;

    /// The wall clock, for what a leader writes into its entries as policy: no lease reads it.
    fn wall(&self) -> WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        WallTime(since.map_or(0, |since| since.as_millis() as u64))
    }
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Clocks {
        let ns = |id| {
            let time = clock_gettime(id);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        Clocks { boot: ns(ClockId::Boottime), raw: ns(ClockId::MonotonicRaw) }
    }
}
