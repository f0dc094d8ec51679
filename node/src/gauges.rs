//! Gauges that nobody changes in passing: they are looked at again and again. What each means: `docs/metrics.md`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flotilla_api::Readiness;
use flotilla_cluster::Cluster;
use metrics::gauge;

use crate::config::Config;
use crate::readiness::NodeReadiness;

/// Below the shortest scrape interval in use.
const LOOK: Duration = Duration::from_secs(5);
/// For what walks over all accounts.
const COUNT: Duration = Duration::from_secs(30);

/// Starts the looks; they end with the runtime.
pub fn start(config: &Config, cluster: Arc<dyn Cluster>, readiness: Arc<NodeReadiness>) {
    gauge!("flotilla_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let look = Arc::clone(&cluster);
    every(LOOK, move || node(&*look, &readiness));
    every(COUNT, move || accounts(&*cluster));
    let mut folders = vec![("data".to_owned(), config.node.data.clone())];
    folders.extend(config.storage.iter().map(|storage| (storage.name.clone(), storage.path.clone())));
    // One look each: a share that hangs holds one thread and its own figures, nothing else.
    for (name, path) in folders {
        every(LOOK, move || space(&name, &path));
    }
    let certificate = crate::identity::certificate_file(&config.node.data);
    every(COUNT, move || peer_certificate(&certificate));
}

/// On the threads for what may block, never two at a time.
fn every(interval: Duration, look: impl Fn() + Send + Sync + 'static) {
    let look = Arc::new(look);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = Arc::clone(&look);
            if tokio::task::spawn_blocking(move || look()).await.is_err() {
                return;
            }
        }
    });
}

fn node(cluster: &dyn Cluster, readiness: &NodeReadiness) {
    let status = cluster.status();
    let lease = cluster.lease().map_or(0, |lease| lease.remaining_ns());
    gauge!("flotilla_ready").set(f64::from(u8::from(readiness.reasons().is_empty())));
    gauge!("flotilla_lease_remaining_seconds").set(lease as f64 / 1e9);
    gauge!("flotilla_raft_voters").set(status.voters.len() as f64);
    gauge!("flotilla_raft_last_log_index").set(status.last_log_index as f64);
    gauge!("flotilla_raft_is_leader").set(f64::from(u8::from(status.leader == Some(status.node))));
    gauge!("flotilla_users").set(cluster.state().user_count() as f64);
    let refused = |storage: &flotilla_session::StorageStatus| f64::from(u8::from(storage.refused.is_some()));
    for storage in readiness.core.storages() {
        gauge!("flotilla_storage_refused", "storage" => storage.name.to_string()).set(refused(&storage));
    }
}

fn accounts(cluster: &dyn Cluster) {
    let state = cluster.state();
    let (mut marked, mut uncertain, mut waiting) = (0u64, 0u64, 0u64);
    for account in state.accounts() {
        marked += u64::from(account.marked);
        uncertain += u64::from(account.uncertain);
        waiting += u64::from(account.has_waiting());
    }
    gauge!("flotilla_quota_marked_accounts").set(marked as f64);
    gauge!("flotilla_quota_uncertain_accounts").set(uncertain as f64);
    gauge!("flotilla_quota_waiting_accounts").set(waiting as f64);
}

fn space(name: &str, path: &Path) {
    // A missing folder is said by `flotilla_storage_refused` and `/readyz`.
    let Ok(found) = rustix::fs::statvfs(path) else { return };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize) as f64;
    gauge!("flotilla_folder_available_bytes", "folder" => name.to_owned()).set(bytes(found.f_bavail));
    gauge!("flotilla_folder_size_bytes", "folder" => name.to_owned()).set(bytes(found.f_blocks));
}

fn peer_certificate(file: &Path) {
    let Ok(pem) = std::fs::read(file) else { return };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else { return };
    if let Ok(certificate) = pem.parse_x509() {
        let expires = certificate.validity().not_after.timestamp();
        gauge!("flotilla_certificate_expires_seconds", "certificate" => "peer").set(expires as f64);
    }
}
