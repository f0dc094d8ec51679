//! The engine's safety switches are what they must be, read back from the running engine.

use crate::cluster::Testbed;

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_runs_with_the_safety_switches_set() {
    let bed = Testbed::new(1);
    let node = bed.start(1).await;
    let config = flotilla_raft::testing::engine_config(&node.handle);
    assert_eq!(config.enable_pre_vote, Some(true));
    assert_eq!(config.enable_leader_restore, Some(false));
    assert_eq!(config.allow_log_reversion, Some(false));
    assert_eq!(config.heartbeat_interval, 75);
    assert_eq!((config.election_timeout_min, config.election_timeout_max), (300, 500));
    assert!(matches!(config.snapshot_policy, openraft::SnapshotPolicy::Never));
}
