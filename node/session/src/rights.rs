//! What a user may do in a folder: the nearest ancestor with an entry of its own decides (`reference/sftpgo.md` 2.1).

use flotilla_model::{Permission, User};

use crate::path::VPath;

/// Whether the user may do this in that folder. Deterministic: one entry decides, the nearest.
pub fn allows(user: &User, folder: &VPath, wanted: Permission) -> bool {
    granted(user, folder).iter().any(|held| covers(*held, wanted))
}

/// Whether more than one entry is there, so that symlinks could lead from one rule's folder into another's.
pub fn differ_by_folder(user: &User) -> bool {
    user.permissions.len() > 1
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
