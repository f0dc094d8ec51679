//! Which changes of a user take something away, and so cut, and which only add (`PROTOCOL.md` 3.1).

use std::collections::BTreeMap;

use crate::{CutReason, Permission, Status, User, WallTime};

/// Whether the change concerns logins: an open that was verified against the row before is then refused.
pub(super) fn concerns_logins(before: &User, after: &User) -> bool {
    before.status != after.status
        || before.expiration_date != after.expiration_date
        || before.password_hash != after.password_hash
        || before.public_keys != after.public_keys
        || before.filters != after.filters
}

/// Why a change cuts all sessions of the user, if it does.
pub(super) fn reason(before: &User, after: &User, wall: WallTime) -> Option<CutReason> {
    if before.status == Status::Enabled && after.status == Status::Disabled {
        return Some(CutReason::UserDisabled);
    }
    if takes_credentials(before, after) {
        return Some(CutReason::CredentialChanged);
    }
    let expires = before.expiration_date != after.expiration_date && after.expired(wall);
    let takes = expires
        || before.home != after.home
        || narrows_filters(before, after)
        || narrows_permissions(&before.permissions, &after.permissions);
    takes.then_some(CutReason::UserChanged)
}

pub(super) fn lowers_sessions(before: &User, after: &User) -> bool {
    lowers(u64::from(before.max_sessions), u64::from(after.max_sessions))
}

/// Of limits where 0 is none.
fn lowers(before: u64, after: u64) -> bool {
    after != 0 && (before == 0 || after < before)
}

fn takes_credentials(before: &User, after: &User) -> bool {
    let password = before.password_hash.is_some() && before.password_hash != after.password_hash;
    password || lacks(&after.public_keys, &before.public_keys)
}

/// Whether something of `wanted` is missing in `list`.
fn lacks(list: &[String], wanted: &[String]) -> bool {
    wanted.iter().any(|item| !list.contains(item))
}

fn narrows_filters(before: &User, after: &User) -> bool {
    let (before, after) = (&before.filters, &after.filters);
    // An empty list of allowed addresses allows all.
    let allowed =
        !after.allowed_ip.is_empty() && (before.allowed_ip.is_empty() || lacks(&after.allowed_ip, &before.allowed_ip));
    allowed
        || lacks(&before.denied_ip, &after.denied_ip)
        || lacks(&before.denied_login_methods, &after.denied_login_methods)
        || lacks(&before.denied_protocols, &after.denied_protocols)
        || lowers(before.max_upload_file_size, after.max_upload_file_size)
}

type Permissions = BTreeMap<String, Vec<Permission>>;

/// Whether some path loses a permission. Between the paths named in either map nothing changes, so those are all to look at.
fn narrows_permissions(before: &Permissions, after: &Permissions) -> bool {
    before.keys().chain(after.keys()).any(|path| bits(effective(before, path)) & !bits(effective(after, path)) != 0)
}

/// The list of the nearest named folder.
fn effective<'a>(permissions: &'a Permissions, path: &str) -> &'a [Permission] {
    let mut at = path;
    loop {
        if let Some(list) = permissions.get(at) {
            return list;
        }
        match at.rfind('/') {
            None | Some(0) => return permissions.get("/").map_or(&[], Vec::as_slice),
            Some(slash) => at = &at[..slash],
        }
    }
}

/// Elementary permissions as bits: `*`, `delete` and `rename` stand for what they contain.
fn bits(list: &[Permission]) -> u32 {
    let bit = |permission: Permission| 1_u32 << permission as u32;
    list.iter().fold(0, |bits, permission| {
        bits | match permission {
            Permission::Any => Permission::NAMES.iter().fold(0, |all, (each, _)| all | bit(*each)),
            Permission::Delete => bit(Permission::Delete) | bit(Permission::DeleteFiles) | bit(Permission::DeleteDirs),
            Permission::Rename => bit(Permission::Rename) | bit(Permission::RenameFiles) | bit(Permission::RenameDirs),
            other => bit(*other),
        }
    })
}
