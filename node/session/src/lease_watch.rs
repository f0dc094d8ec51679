//! Ends the node's sessions when their lease is over, besides the checks at each call and write (`PROTOCOL.md` 2.3).

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Cluster;

use crate::registry::Registry;

/// Deadlines move with each renewal; a sleep is never longer, so that a stopped timer is noticed soon after.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(cluster: Arc<dyn Cluster>, registry: Arc<Registry>) {
    let mut changes = cluster.lease_changes();
    loop {
        let lease = changes.borrow_and_update().clone();
        let left = lease.as_ref().map_or(0, |lease| lease.remaining_ns());
        let ended = registry.end_without_lease();
        if ended > 0 {
            tracing::error!(sender = "lease", sessions = ended, "lease lost: sessions ended");
        }
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("lease-timer-only") {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let wait = if left > 0 { Duration::from_nanos(left).min(LOOK_AT_LEAST_EVERY) } else { LOOK_AT_LEAST_EVERY };
        if let Ok(Err(_)) = tokio::time::timeout(wait, changes.changed()).await {
            return;
        }
    }
}
