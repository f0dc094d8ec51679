//! Lets the threads of consensus go before those of transfers where the system allows it.

use rustix::process::setpriority_process;

/// What systemd's `LimitNICE=-10`, CAP_SYS_NICE or root allow. Nine times the share of a busy processor, and sooner.
const NICE: i32 = -10;

/// For the current thread: on Linux that is what "the calling process" means here. Where it is not allowed everything works,
/// but a machine that is busy with other things may hold up heartbeats, which the engine gives up after one interval.
pub fn raise() {
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "the threads of consensus run at the priority of all others");
    }
}
