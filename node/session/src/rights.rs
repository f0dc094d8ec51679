//! What a user may do in a folder: the nearest ancestor with an entry of its own decides (`reference/sftpgo.md` 2.1).
//!
//! Judged twice: by the path that the client sent, and by the folder that it led to, once the storage has that folder open.

use std::sync::{Arc, Mutex, PoisonError};

use flotilla_model::{Permission, User};
use flotilla_vfs::{FileKind, Guard, GuardRef, RealPath, Stopped, Use, VfsError, VfsResult};

use crate::files::Failure;
use crate::path::VPath;

/// Whether the user may do this in that folder. Deterministic: one entry decides, the nearest.
pub fn allows(user: &User, folder: &VPath, wanted: Permission) -> bool {
    granted(user, folder).iter().any(|held| covers(*held, wanted))
}

/// Whether more than one entry is there, so that symlinks could lead from one rule's folder into another's.
pub fn differ_by_folder(user: &User) -> bool {
    user.permissions.len() > 1
}

/// All of these rights, in that folder.
pub(crate) fn demand(user: &User, folder: &VPath, needed: &[Permission]) -> Result<(), Failure> {
    match needed.iter().find(|right| !allows(user, folder, **right)) {
        None => Ok(()),
        Some(missing) => Err(Failure::NotAllowed(missing.name())),
    }
}

fn granted<'a>(user: &'a User, folder: &VPath) -> &'a [Permission] {
    let mut path = folder.absolute();
    loop {
        // A name that is not UTF-8 cannot be the key of an entry.
        if let Some(rights) = std::str::from_utf8(&path).ok().and_then(|key| user.permissions.get(key)) {
            return rights;
        }
        if path == b"/" {
            return &[];
        }
        let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        path.truncate(slash.max(1));
    }
}

fn covers(held: Permission, wanted: Permission) -> bool {
    use Permission::*;
    held == wanted
        || match held {
            Any => true,
            Delete => matches!(wanted, DeleteFiles | DeleteDirs),
            Rename => matches!(wanted, RenameFiles | RenameDirs),
            _ => false,
        }
}

/// Whether an entry of its own lies below this path: a folder that is moved would shed it.
pub(crate) fn has_entry_below(user: &User, path: &VPath) -> bool {
    let above = [path.absolute().as_slice(), b"/"].concat();
    differ_by_folder(user) && user.permissions.keys().any(|key| key.as_bytes().starts_with(&above))
}

/// A session's gate, and the rights that one operation needs wherever its path leads.
pub(crate) struct Rights {
    gate: GuardRef,
    user: Arc<User>,
    needed: Vec<Permission>,
    /// The last folder that was reached.
    reached: Mutex<Option<VPath>>,
}

impl Rights {
    pub fn new(gate: &GuardRef, user: Arc<User>, needed: &[Permission]) -> Arc<Self> {
        Arc::new(Rights { gate: Arc::clone(gate), user, needed: needed.to_vec(), reached: Mutex::new(None) })
    }

    pub fn guard(self: &Arc<Self>) -> GuardRef {
        Arc::clone(self) as GuardRef
    }

    /// Where the operation took place, if that matters: a handle stays bound to it.
    pub fn reached(&self) -> Option<VPath> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(&self, folder: &VPath, name: &[u8], how: Use) -> Result<(), Failure> {
        match how {
            Use::Replace(FileKind::Symlink) => return demand(&self.user, folder, &[Permission::Upload]),
            Use::Replace(_) => return demand(&self.user, folder, &[Permission::Overwrite]),
            Use::Operate => demand(&self.user, folder, &self.needed)?,
        }
        if self.needed.contains(&Permission::RenameDirs) && has_entry_below(&self.user, &folder.join(name)) {
            return Err(Failure::NotAllowed(Permission::RenameDirs.name()));
        }
        Ok(())
    }
}

impl Guard for Rights {
    fn check(&self) -> Result<(), Stopped> {
        self.gate.check()
    }

    fn may_use(&self, name: &[u8], how: Use, real: RealPath<'_>) -> VfsResult<()> {
        let mut folder = VPath::root();
        if differ_by_folder(&self.user) {
            folder = VPath::from_storage(real()?);
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.clone());
        }
        self.judge(&folder, name, how).map_err(|failure| match failure {
            Failure::NotAllowed(right) => VfsError::NotAllowed(right),
            _ => VfsError::Denied,
        })
    }
}
