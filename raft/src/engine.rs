//! The engine's settings, in one place. The safety switches are set literally: their defaults are not ours.

use std::sync::Arc;

use openraft::SnapshotPolicy;

use crate::config::Config;

/// openraft's configuration for a node (`reference/raft.md` 7.3).
pub fn config(config: &Config) -> Result<Arc<openraft::Config>, String> {
    let timing = &config.timing;
    let restore_leader = false;
    #[cfg(feature = "planted-bugs")]
    let restore_leader = restore_leader || flotilla_model::planted::is("leader-restored");
    let engine = openraft::Config {
        cluster_name: config.cluster_id.clone(),
        heartbeat_interval: timing.heartbeat.as_millis() as u64,
        election_timeout_min: timing.election_min.as_millis() as u64,
        election_timeout_max: timing.election_max.as_millis() as u64,
        install_snapshot_timeout: timing.snapshot.as_millis() as u64,
        max_payload_entries: 1024,
        // Followers that lag by more get a snapshot, those that lag by less get entries as long as they are kept.
        replication_lag_threshold: config.keep_entries.max(config.snapshot_entries),
        snapshot_policy: SnapshotPolicy::Never,
        snapshot_max_chunk_size: 1 << 20,
        max_in_snapshot_log_to_keep: config.keep_entries,
        purge_batch_size: config.keep_entries.clamp(1, 256),
        api_batch_linger_ms: 0,
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(restore_leader),
        allow_log_reversion: Some(false),
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..openraft::Config::default()
    };
    engine.validate().map(Arc::new).map_err(|error| error.to_string())
}
