//! A data folder that begins with a given state: the first node of a cluster restored from a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use flotilla_model::State;
use openraft::impls::BasicNode;

use crate::config::Config;
use crate::folder::{Folder, FolderError, sync_dir};
use crate::snapshot;
use crate::types::{LogId, Membership, SnapshotMeta};

/// Makes `config.data_dir`, which must not exist or be empty, so that a node started on it is the only voter and has applied
/// `state`. The log goes on behind the state's index.
pub fn restore_folder(config: &Config, state: &State) -> Result<(), FolderError> {
    let path = &config.data_dir;
    let io = |error| FolderError::Io(path.clone(), error);
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(FolderError::Io(path.clone(), std::io::ErrorKind::DirectoryNotEmpty.into()));
    }
    let address = config.peers.get(&config.node).map(|peer| peer.peer.clone()).unwrap_or_default();
    let node = BTreeMap::from([(config.node.0, BasicNode::new(address))]);
    let membership = openraft::Membership::new(vec![BTreeSet::from([config.node.0])], node)
        .map_err(|error| FolderError::Io(path.clone(), std::io::Error::other(error.to_string())))?;
    // Term 0 was never anybody's: the node's first election comes after it.
    let log_id = LogId::new_term_index(0, state.applied_index());
    let meta = SnapshotMeta { last_log_id: Some(log_id), last_membership: Membership::new(Some(log_id), membership) };
    let folder = Folder::open(path, &config.cluster_id, config.node)?;
    fs::create_dir_all(folder.snapshot_dir()).map_err(io)?;
    snapshot::write_first(&folder.snapshot_dir(), &meta, state).map_err(io)?;
    sync_dir(path).map_err(io)
}
