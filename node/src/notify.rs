//! What systemd is told: READY, RELOADING, STOPPING with the time that it takes, and the watchdog's beats. Without NOTIFY_SOCKET nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The node serves.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Must be followed by `ready`.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic clock for systemd"),
    }
}

/// The node drains and ends within this time, whatever the unit's own limit for a stop is.
pub fn stopping(within: Duration) {
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    let status = NotifyState::Status("draining: transfers that run may end");
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within), status]);
}

pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

pub fn beat() {
    tell(&[NotifyState::Watchdog]);
}

/// An operator sees a missing READY soon enough; the node serves without it.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
