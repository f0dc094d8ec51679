//! Groups.

use std::collections::BTreeSet;

use super::Rules;
use crate::apply::{Scope, validate};
use crate::{Folder, GroupSpec, Mount, Refusal};

/// Folders of one group.
const MAX_MOUNTS: usize = 64;

impl Rules for GroupSpec {
    fn check(&self, scope: &Scope<'_>) -> Result<(), Refusal> {
        validate::text("description", &self.description, 0, validate::MAX_TEXT)?;
        validate::text("user_settings.home_dir", &self.settings.home_dir, 0, 1_024)?;
        if !self.settings.permissions.is_empty() {
            validate::permission_paths("user_settings.permissions", &self.settings.permissions)?;
        }
        validate::filters(&self.settings.filters)?;
        mounts(scope, &self.virtual_folders)
    }
}

fn mounts(scope: &Scope<'_>, mounts: &[Mount]) -> Result<(), Refusal> {
    let invalid = |why: String| Err(validate::invalid("virtual_folders", why));
    if mounts.len() > MAX_MOUNTS {
        return invalid(format!("more than {MAX_MOUNTS} entries"));
    }
    let mut paths = BTreeSet::new();
    for mount in mounts {
        if scope.get::<Folder>(&mount.folder).is_none() {
            return invalid(format!("folder {} does not exist", mount.folder));
        }
        if mount.virtual_path == "/" || !validate::is_canonical(&mount.virtual_path) {
            return invalid(format!("{}: virtual_path is not absolute and canonical, or it is /", mount.folder));
        }
        if !paths.insert(&mount.virtual_path) {
            return invalid(format!("{} stands twice", mount.virtual_path));
        }
        let together = (mount.quota_size == -1) == (mount.quota_files == -1);
        if mount.quota_size < -1 || mount.quota_files < -1 || !together {
            return invalid(format!("{}: quota_size and quota_files are 0 or more, or both -1", mount.folder));
        }
    }
    Ok(())
}
