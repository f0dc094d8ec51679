//! openraft's own conformance suite on our log store and state machine.

use std::sync::Arc;

use flotilla_cluster::SystemClock;
use flotilla_model::NodeId;
use flotilla_raft::StoreChoice;
use flotilla_raft::testing::{LogStore, Machine, Rosters, Shared, TypeConfig};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

struct Builder(StoreChoice);

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let log = LogStore::open_chosen(self.0, &dir.path().join("log"), ()).expect("a new store");
        let shared = Shared::new(NodeId(1), 1, Arc::new(SystemClock), Rosters::empty());
        let machine = Machine::open(&dir.path().join("snapshots"), shared).expect("a new machine");
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sled_store_passes_the_engines_conformance_suite() {
    Suite::test_all(Builder(StoreChoice::Sled)).await.expect("all of the suite");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redb_store_passes_the_engines_conformance_suite() {
    Suite::test_all(Builder(StoreChoice::Redb)).await.expect("all of the suite");
}
