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
fn has_entry_below(user: &User, path: &VPath) -> bool {
    let above = [path.absolute().as_slice(), b"/"].concat();
    differ_by_folder(user) && user.permissions.keys().any(|key| key.as_bytes().starts_with(&above))
}

/// Files and symlinks need `rename_files`, folders `rename_dirs`.
fn right_to_move(kind: FileKind) -> Permission {
    if kind == FileKind::Directory { Permission::RenameDirs } else { Permission::RenameFiles }
}

fn demand_any_move(user: &User, folder: &VPath) -> Result<(), Failure> {
    let files = demand(user, folder, &[Permission::RenameFiles]);
    files.or_else(|refused| demand(user, folder, &[Permission::RenameDirs]).map_err(|_| refused))
}

/// Nothing is moved away from rules for what lies in it, nor onto others: whatever its kind, for a folder may come to a file's name.
fn demand_move(user: &User, path: &VPath, right: Permission) -> Result<(), Failure> {
    demand(user, &path.parent(), &[right])?;
    if has_entry_below(user, path) { Err(Failure::NotAllowed(right.name())) } else { Ok(()) }
}

enum Needed {
    /// All of these.
    All(Vec<Permission>),
    /// The right for the kind of what is moved, which the storage finds out; also in the folders that the client named.
    Move { from: VPath, to: VPath },
}

/// A session's gate, and the rights that one operation needs wherever its path leads.
pub(crate) struct Rights {
    gate: GuardRef,
    user: Arc<User>,
    needed: Needed,
    /// The last folder that was reached.
    reached: Mutex<Option<VPath>>,
}

impl Rights {
    pub fn new(gate: &GuardRef, user: Arc<User>, needed: &[Permission]) -> Arc<Self> {
        Self::with(gate, user, Needed::All(needed.to_vec()))
    }

    /// For a rename: without any right to one, in each folder, it is refused before it is known what is there.
    pub fn to_move(gate: &GuardRef, user: Arc<User>, from: VPath, to: VPath) -> Result<Arc<Self>, Failure> {
        for named in [&from, &to] {
            demand_any_move(&user, &named.parent())?;
        }
        Ok(Self::with(gate, user, Needed::Move { from, to }))
    }

    fn with(gate: &GuardRef, user: Arc<User>, needed: Needed) -> Arc<Self> {
        Arc::new(Rights { gate: Arc::clone(gate), user, needed, reached: Mutex::new(None) })
    }

    pub fn guard(self: &Arc<Self>) -> GuardRef {
        Arc::clone(self) as GuardRef
    }

    /// Where the operation took place, if that matters: a handle stays bound to it.
    pub fn reached(&self) -> Option<VPath> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(&self, folder: &VPath, name: &[u8], how: Use) -> Result<(), Failure> {
        match (how, &self.needed) {
            (Use::Replace(FileKind::Symlink), _) => demand(&self.user, folder, &[Permission::Upload]),
            (Use::Replace(_), _) => demand(&self.user, folder, &[Permission::Overwrite]),
            (Use::Operate, Needed::All(needed)) => demand(&self.user, folder, needed),
            (Use::Operate, Needed::Move { .. }) => demand_any_move(&self.user, folder),
            (Use::Move(kind), Needed::Move { from, to }) => {
                let right = right_to_move(kind);
                let named = [from, to].into_iter().try_for_each(|path| demand_move(&self.user, path, right));
                named.and_then(|()| demand_move(&self.user, &folder.join(name), right))
            }
            // Nothing else moves what is there.
            (Use::Move(kind), Needed::All(_)) => Err(Failure::NotAllowed(right_to_move(kind).name())),
        }
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
