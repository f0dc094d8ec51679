//! Counts what lies in a root before it is first used: what was there is taken, or the account is marked.

use flotilla_model::command::{AccountCommand, Inspected};
use flotilla_model::{Account, Amount};
use flotilla_vfs::{NoGuard, VfsResult};

use super::{EnterRefused, Inner};

impl Inner {
    /// Looks into a root that no session has used yet; the first answer counts. No grants are given before it.
    /// A limited account's files are counted at once: nothing can be added to it meanwhile.
    pub(super) async fn inspect(&self, row: &Account) -> Result<(), EnterRefused> {
        let found = self.look_into(row).await.map_err(|error| EnterRefused::Unavailable(error.to_string()))?;
        let command = Inspected { account: row.id, found: found.unwrap_or_default(), uncounted: found.is_none() };
        match self.submit_plain("inspected", AccountCommand::Inspected(command)).await {
            Some(_) => Ok(()),
            None => Err(EnterRefused::Unavailable("no quorum".into())),
        }
    }

    async fn look_into(&self, row: &Account) -> VfsResult<Option<Amount>> {
        let Some(storage) = self.storages.get(row.root.storage.as_str()) else {
            return Err(flotilla_vfs::VfsError::StorageRefused(format!("{} is not configured", row.root.storage)));
        };
        if !storage.is_root_used(row.root.path()).await? {
            return Ok(Some(Amount::ZERO));
        }
        if !row.is_limited() {
            return Ok(None);
        }
        let usage = storage.scan(row.root.path(), row.id.0, &NoGuard::shared()).await?;
        Ok(Some(Amount::of(usage.bytes, usage.files)))
    }
}
