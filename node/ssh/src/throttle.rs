//! A token bucket for one direction of one connection. The rate may change while it runs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What may be moved at once after a pause, as a part of a second's worth.
const BURST_PER_SECOND: u64 = 4;
/// Smaller steps would cost more than they smooth.
const MIN_BURST: u64 = 32 * 1024;

/// Bytes that may be moved now. A rate of 0 means no limit.
pub(crate) struct Throttle {
    tokens: u64,
    filled: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Throttle { tokens: MIN_BURST, filled: Instant::now(), sleep: None }
    }

    /// How much may be moved now, at most `wanted`, at `rate` bytes per second. Not spent before `spend`.
    pub(crate) fn poll_allowed(&mut self, cx: &mut Context<'_>, rate: u64, wanted: usize) -> Poll<usize> {
        if rate == 0 || wanted == 0 {
            self.sleep = None;
            return Poll::Ready(wanted);
        }
        loop {
            self.fill(rate);
            if self.tokens > 0 {
                self.sleep = None;
                return Poll::Ready(wanted.min(usize::try_from(self.tokens).unwrap_or(usize::MAX)));
            }
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause(rate))));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
    }

    pub(crate) fn spend(&mut self, rate: u64, moved: usize) {
        if rate > 0 {
            self.tokens = self.tokens.saturating_sub(moved as u64);
        }
    }

    fn fill(&mut self, rate: u64) {
        let now = Instant::now();
        let micros = u64::try_from(now.duration_since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = rate.saturating_mul(micros) / 1_000_000;
        if gained > 0 {
            let burst = (rate / BURST_PER_SECOND).max(MIN_BURST);
            self.tokens = self.tokens.saturating_add(gained).min(burst);
            self.filled = now;
        }
    }
}

/// Long enough to gain a decent packet, short enough to stay smooth.
fn pause(rate: u64) -> Duration {
    Duration::from_micros((16_384 * 1_000_000 / rate).clamp(1_000, 250_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of paused time that it takes to move so much.
    async fn seconds(rate: u64, bytes: usize) -> f64 {
        let mut throttle = Throttle::new();
        let (start, mut left) = (Instant::now(), bytes);
        while left > 0 {
            let step = std::future::poll_fn(|cx| throttle.poll_allowed(cx, rate, left)).await;
            throttle.spend(rate, step);
            left -= step;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_seconds_worth_takes_ten_seconds() {
        for rate in [10_000, 1_000_000, 200_000_000_u64] {
            let took = seconds(rate, usize::try_from(rate * 10).expect("fits")).await;
            assert!((6.5..10.5).contains(&took), "{rate} B/s: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_means_no_wait() {
        assert!(seconds(0, 1 << 30).await < 0.001);
    }
}
