//! What systemd is told: READY, RELOADING, STOPPING, and the watchdog's beats. Without NOTIFY_SOCKET nothing happens.

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

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
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
