//! Fences dead epochs of an account before the first change after their end (8.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flotilla_model::command::{AccountCommand, Fenced};
use flotilla_model::{Account, Epoch, NodeId, State};
use flotilla_vfs::{GuardRef, Storage, VfsError, VfsResult};

use super::Inner;
use super::account::AccountHandle;

impl AccountHandle {
    /// Before every change on the storage. Fast when no epoch has ended since the last call; else ends the staging folders of dead
    /// epochs of this account, so that nothing late of theirs can replace what is stored from here on.
    pub async fn before_change(&self, guard: &GuardRef) -> VfsResult<()> {
        let ends = self.seat.inner.ends.load(Ordering::Acquire);
        if self.seat.fenced_at.load(Ordering::Acquire) == ends {
            return Ok(());
        }
        let inner = &self.seat.inner;
        let state = inner.cluster.state();
        if let Some(row) = state.account(self.seat.book.key.account) {
            let dead = unfenced(row, |node, epoch| state.epoch_alive(node, epoch));
            inner.fence_all(row, &dead, guard).await?;
            if inner.sweep(&state, row, guard).await? {
                // A scan may have counted it while its epoch was alive.
                self.mark();
            }
        }
        self.seat.fenced_at.store(ends, Ordering::Release);
        Ok(())
    }
}

/// The dead epochs of an account whose staging folders may still be there.
pub(super) fn unfenced(row: &Account, alive: impl Fn(NodeId, Epoch) -> bool) -> Vec<(NodeId, Epoch)> {
    let dead = |(node, epoch): &(NodeId, Epoch)| !alive(*node, *epoch);
    row.holders.iter().filter(|(key, holder)| dead(key) && !holder.fenced).map(|(key, _)| *key).collect()
}

impl Inner {
    pub(super) fn storage_of(&self, row: &Account) -> VfsResult<Arc<dyn Storage>> {
        let name = row.root.storage.as_str();
        let missing = || VfsError::StorageRefused(format!("{name} is not configured on this node"));
        self.storages.get(name).cloned().ok_or_else(missing)
    }

    /// Removes the folders of other ended epochs: of those that gave all back in order nothing is left to fence, but a power cut may bring back
    /// what they unlinked, which a scan would count for ever.
    pub(super) async fn sweep(&self, state: &State, row: &Account, guard: &GuardRef) -> VfsResult<bool> {
        let known = state.applied_index();
        let alive: Vec<u64> = state.nodes().filter(|node| node.alive).map(|node| node.last_epoch.0).collect();
        let held: Vec<u64> = row.holders.keys().map(|(_, epoch)| epoch.0).collect();
        // An epoch is the index of its registration: of later ones this node has not heard yet.
        let is_over = move |epoch: u64| epoch <= known && !alive.contains(&epoch) && !held.contains(&epoch);
        self.storage_of(row)?.sweep(row.id.0, Box::new(is_over), guard).await
    }

    /// Fences each epoch on the storage, then tells the log without waiting for it.
    pub(super) async fn fence_all(
        self: &Arc<Self>,
        row: &Account,
        dead: &[(NodeId, Epoch)],
        guard: &GuardRef,
    ) -> VfsResult<Vec<tokio::task::JoinHandle<Option<flotilla_cluster::Submitted>>>> {
        let mut told = Vec::new();
        if dead.is_empty() {
            return Ok(told);
        }
        let storage = self.storage_of(row)?;
        for (node, epoch) in dead {
            storage.fence(row.id.0, epoch.0, guard).await?;
            tracing::info!(sender = "fence", account = row.id.0, node = node.0, epoch = epoch.0, "dead epoch fenced");
            let command = AccountCommand::Fenced(Fenced { account: row.id, node: *node, epoch: *epoch });
            let inner = Arc::clone(self);
            told.push(self.runtime.spawn(async move { inner.submit_plain("fenced", command).await }));
        }
        Ok(told)
    }
}
