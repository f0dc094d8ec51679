//! What `/readyz` says: whether a balancer may send logins here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_cluster::Cluster;
use flotilla_cluster::lease::TTL_MS;
use flotilla_session::Core;

/// Followers further behind than this lag.
const LAG_ENTRIES: u64 = 5_000;

/// Asks each part of the node. Cheap: called by every health check.
pub struct NodeReadiness {
    pub cluster: Arc<dyn Cluster>,
    pub core: Arc<Core>,
    pub draining: Arc<AtomicBool>,
    /// The SFTP listener takes connections.
    pub serving: Arc<AtomicBool>,
}

impl flotilla_api::Readiness for NodeReadiness {
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            reasons.push("draining".to_owned());
        }
        if !self.serving.load(Ordering::Acquire) {
            reasons.push("does not serve SFTP yet".to_owned());
        }
        let status = self.cluster.status();
        reasons.extend(status.trouble);
        if !status.caught_up {
            reasons.push("has not caught up with the cluster since its start".to_owned());
        }
        if status.last_log_index > status.applied_index + LAG_ENTRIES {
            reasons.push(format!("lags: applied {} of {}", status.applied_index, status.last_log_index));
        }
        match self.cluster.lease().map(|lease| lease.remaining_ns() / 1_000_000) {
            None => reasons.push("has no lease yet".to_owned()),
            Some(left) if left < TTL_MS / 3 => reasons.push(format!("lease has {left} ms left: no quorum?")),
            Some(_) => {}
        }
        for storage in self.core.storages() {
            if let Some(problem) = &storage.refused {
                reasons.push(format!("storage {}: {problem}", storage.name));
            }
        }
        reasons
    }
}
