//! The node's configured storages: whether each is this cluster's and there (`PROTOCOL.md` 8.1). A file-side task looks every TTL/4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flotilla_cluster::Cluster;
use flotilla_cluster::lease::TTL_MS;
use flotilla_model::command::{AdoptStorage, MarkerWritten};
use flotilla_model::{Command, CommandId, StorageName};
use flotilla_vfs::{Marker, Storage, VfsError};
use tokio::sync::Notify;

const LOOK_EVERY: Duration = Duration::from_millis(TTL_MS / 4);
const SUBMIT_DEADLINE: Duration = Duration::from_secs(5);
/// What reading a marker may take before the storage counts as hanging.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// One configured storage and what was last seen of it.
pub(crate) struct StorageState {
    pub storage: Arc<dyn Storage>,
    name: StorageName,
    /// `None`: usable.
    refused: ArcSwap<Option<String>>,
    looked: Notify,
}

impl StorageState {
    /// Why the storage must not be used; looked at by every operation.
    pub fn check(&self) -> Result<(), VfsError> {
        match self.refused.load().as_ref() {
            None => Ok(()),
            Some(text) => Err(VfsError::StorageRefused(text.clone())),
        }
    }

    fn note(&self, found: Result<(), String>) {
        let refused = found.err();
        let before = self.refused.swap(Arc::new(refused.clone()));
        if *before != refused {
            match &refused {
                None => tracing::info!(sender = "storage", storage = %self.name, "storage is usable"),
                Some(why) => tracing::error!(sender = "storage", storage = %self.name, why, "storage refused"),
            }
        }
        self.looked.notify_waiters();
    }
}

/// A storage as status pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageStatus {
    pub name: StorageName,
    /// `None`: usable.
    pub refused: Option<String>,
}

pub(crate) struct Storages {
    cluster: Arc<dyn Cluster>,
    by_name: BTreeMap<StorageName, Arc<StorageState>>,
}

impl Storages {
    pub fn new(cluster: Arc<dyn Cluster>, storages: Vec<Arc<dyn Storage>>) -> Arc<Self> {
        let mut by_name = BTreeMap::new();
        for storage in storages {
            let Ok(name) = StorageName::parse(storage.name()) else {
                tracing::error!(sender = "storage", name = storage.name(), "storage name is invalid: not used");
                continue;
            };
            let refused = ArcSwap::from_pointee(Some("it has not been looked at yet".to_owned()));
            let state = StorageState { storage, name: name.clone(), refused, looked: Notify::new() };
            by_name.insert(name, Arc::new(state));
        }
        Arc::new(Storages { cluster, by_name })
    }

    pub fn status(&self) -> Vec<StorageStatus> {
        let one = |state: &Arc<StorageState>| StorageStatus {
            name: state.name.clone(),
            refused: state.refused.load().as_ref().clone(),
        };
        self.by_name.values().map(one).collect()
    }

    /// A storage that has just been found to be this cluster's.
    pub async fn usable(&self, name: &StorageName) -> Result<Arc<StorageState>, String> {
        let state = self.by_name.get(name).ok_or_else(|| format!("storage {name} is not configured on this node"))?;
        self.look_at(state).await;
        state.check().map_err(|error| format!("storage {name}: {error}"))?;
        Ok(Arc::clone(state))
    }

    /// Looks at all storages for ever. Each on its own: one that hangs does not keep the others from being looked at.
    pub async fn watch(self: Arc<Self>) {
        let each = self.by_name.values().map(|state| self.watch_one(state));
        futures::future::join_all(each).await;
    }

    async fn watch_one(&self, state: &Arc<StorageState>) {
        loop {
            self.look_at(state).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look_at(&self, state: &Arc<StorageState>) {
        // A step of the adoption makes the next one possible: read, propose, write, say so.
        for _ in 0..4 {
            let looked = tokio::time::timeout(LOOK_DEADLINE, self.look(state));
            match looked.await.unwrap_or_else(|_| Err("it does not answer".into())) {
                Ok(Look::Usable) => return state.note(Ok(())),
                Ok(Look::Again) => {}
                Err(why) => return state.note(Err(why)),
            }
        }
        state.note(Err("its adoption by the cluster is not complete yet".into()));
    }

    async fn look(&self, state: &StorageState) -> Result<Look, String> {
        let marker =
            state.storage.read_marker().await.map_err(|error| format!("its marker cannot be read: {error}"))?;
        let cluster = self.cluster.state();
        let Some(settings) = cluster.settings() else { return Err("the cluster has no identity yet".into()) };
        let own_id = settings.cluster_id.as_str();
        let row = cluster.storage(&state.name);
        match (marker, row) {
            (Some(marker), _) if marker.cluster_id != own_id => {
                Err(format!("its marker names another cluster, {}", marker.cluster_id))
            }
            (Some(marker), Some(row)) if marker.storage_id != row.storage_id => Err(format!(
                "its marker names another storage, {}: are the folders of the nodes shared?",
                marker.storage_id
            )),
            (Some(_), Some(row)) if row.marker_written => Ok(Look::Usable),
            (Some(marker), Some(_)) => self.say_written(state, marker).await,
            (Some(_), None) => Err("its marker names a storage that this cluster does not know".into()),
            (None, Some(row)) if row.marker_written => {
                Err("its marker is missing: is the share mounted, and is it the same folder as on the other nodes?"
                    .into())
            }
            (None, Some(row)) if row.marker_by == self.cluster.node() => {
                let marker = Marker { storage_id: row.storage_id.clone(), cluster_id: own_id.to_owned() };
                self.write(state, marker).await
            }
            (None, Some(row)) => self.adopt(state, row.storage_id.clone()).await,
            (None, None) => self.adopt(state, fresh_id()).await,
        }
    }

    async fn adopt(&self, state: &StorageState, storage_id: String) -> Result<Look, String> {
        let command = AdoptStorage { name: state.name.clone(), storage_id, node: self.cluster.node() };
        self.submit(Command::AdoptStorage(command)).await
    }

    async fn write(&self, state: &StorageState, marker: Marker) -> Result<Look, String> {
        match state.storage.write_marker(&marker).await {
            Ok(()) | Err(VfsError::Exists) => self.say_written(state, marker).await,
            Err(error) => Err(format!("its marker cannot be written: {error}")),
        }
    }

    async fn say_written(&self, state: &StorageState, marker: Marker) -> Result<Look, String> {
        let command = MarkerWritten { name: state.name.clone(), storage_id: marker.storage_id };
        self.submit(Command::MarkerWritten(command)).await
    }

    async fn submit(&self, command: Command) -> Result<Look, String> {
        let submitted = self.cluster.submit(CommandId::Unnumbered, "storage", command, SUBMIT_DEADLINE).await;
        match submitted.map_err(|error| error.to_string())?.reply {
            Ok(_) => Ok(Look::Again),
            Err(refusal) => Err(format!("it waits for its marker: {refusal}")),
        }
    }
}

enum Look {
    Usable,
    /// Something was done: look again.
    Again,
}

/// A random UUID as text.
fn fresh_id() -> String {
    let hex = format!("{:032x}", flotilla_cluster::new_request_id().0);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
