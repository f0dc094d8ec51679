//! What apply does not believe a proposer: lengths, counts, canonical paths. The edge checks more and says it better.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::{Filters, Group, MemberOf, Membership, Permission, Refusal, Role, UserSpec};

const MAX_KEYS: usize = 64;
const MAX_KEY: usize = 8_192;
const MAX_PERMISSION_PATHS: usize = 256;
/// Each is a row of an index.
const MAX_GROUPS: usize = 8;
const MAX_PATH: usize = 1_024;
pub(super) const MAX_LIST: usize = 256;
pub(super) const MAX_TEXT: usize = 4_096;
const MAX_SEALED: usize = 64 * 1024;

type Checked = Result<(), Refusal>;

pub(super) fn invalid(field: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::Invalid(format!("{field}: {why}"))
}

/// Length bounds in bytes, and no NUL.
pub(super) fn text(field: &str, text: &str, least: usize, most: usize) -> Checked {
    if text.len() < least {
        return Err(invalid(field, "it is empty"));
    }
    if text.len() > most {
        return Err(invalid(field, format_args!("it is longer than {most} bytes")));
    }
    if text.contains('\0') {
        return Err(invalid(field, "it contains NUL"));
    }
    Ok(())
}

/// The beginning of a text, at most so many bytes, whole characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// Bounds of a sealed secret.
pub(super) fn sealed(sealed: &[u8]) -> Checked {
    if sealed.len() > MAX_SEALED { Err(invalid("sealed", "it is longer than 64 KiB")) } else { Ok(()) }
}

pub(super) fn actor(actor: &str) -> Checked {
    text("actor", actor, 0, 256)
}

pub(super) fn list(field: &str, items: &[String], most: usize, longest: usize) -> Checked {
    if items.len() > most {
        return Err(invalid(field, format_args!("more than {most} entries")));
    }
    items.iter().try_for_each(|item| text(field, item, 1, longest))
}

pub(super) fn user(spec: &UserSpec) -> Checked {
    if let Some(hash) = &spec.password_hash {
        text("password", hash, 1, 512)?;
    }
    list("public_keys", &spec.public_keys, MAX_KEYS, MAX_KEY)?;
    if spec.public_keys.iter().any(|key| key.contains('\n')) {
        return Err(invalid("public_keys", "one key per entry"));
    }
    permissions(&spec.permissions)?;
    filters(&spec.filters)?;
    descriptions(&spec.email, &spec.description, &spec.additional_info)?;
    groups(&spec.groups)
}

pub(super) fn descriptions(email: &str, description: &str, additional_info: &str) -> Checked {
    text("email", email, 0, 320)?;
    text("description", description, 0, MAX_TEXT)?;
    text("additional_info", additional_info, 0, MAX_TEXT)
}

fn groups(groups: &[MemberOf]) -> Checked {
    if groups.len() > MAX_GROUPS {
        return Err(invalid("groups", format_args!("more than {MAX_GROUPS} entries")));
    }
    let names: BTreeSet<_> = groups.iter().map(|one| &one.group).collect();
    if names.len() < groups.len() {
        return Err(invalid("groups", "a group stands twice"));
    }
    if groups.iter().filter(|one| one.membership == Membership::Primary).count() > 1 {
        return Err(invalid("groups", "more than one primary group (type 1)"));
    }
    Ok(())
}

/// That the groups and the role of a user are there.
pub(super) fn references(scope: &Scope<'_>, spec: &UserSpec) -> Checked {
    if let Some(one) = spec.groups.iter().find(|one| scope.get::<Group>(&one.group).is_none()) {
        return Err(invalid("groups", format_args!("group {} does not exist", one.group)));
    }
    match spec.role.as_ref().filter(|role| scope.get::<Role>(role).is_none()) {
        Some(role) => Err(invalid("role", format_args!("role {role} does not exist"))),
        None => Ok(()),
    }
}

/// Two tokens of one text would be one.
pub(super) fn new_hash(scope: &Scope<'_>, hash: &[u8; 32]) -> Checked {
    match scope.state.token_by_hash(hash) {
        Some(_) => Err(invalid("hash", "another token has it")),
        None => Ok(()),
    }
}

pub(super) fn filters(filters: &Filters) -> Checked {
    list("allowed_ip", &filters.allowed_ip, MAX_LIST, 64)?;
    list("denied_ip", &filters.denied_ip, MAX_LIST, 64)?;
    list("denied_login_methods", &filters.denied_login_methods, 16, 64)?;
    list("denied_protocols", &filters.denied_protocols, 16, 64)
}

fn permissions(permissions: &BTreeMap<String, Vec<Permission>>) -> Checked {
    if !permissions.contains_key("/") {
        return Err(invalid("permissions", "/ is missing"));
    }
    permission_paths("permissions", permissions)
}

pub(super) fn permission_paths(field: &str, permissions: &BTreeMap<String, Vec<Permission>>) -> Checked {
    if permissions.len() > MAX_PERMISSION_PATHS {
        return Err(invalid(field, format_args!("more than {MAX_PERMISSION_PATHS} paths")));
    }
    for (path, list) in permissions {
        if !is_canonical(path) {
            return Err(invalid(field, "a path is not absolute and canonical"));
        }
        if list.len() > Permission::NAMES.len() {
            return Err(invalid(field, "a permission stands twice"));
        }
    }
    Ok(())
}

pub(super) fn is_canonical(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    path.len() <= MAX_PATH && (path == "/" || parts.is_some_and(|mut parts| parts.all(is_name)))
}
