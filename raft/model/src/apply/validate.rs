//! What apply does not believe a proposer: lengths, counts, canonical paths. The edge checks more and says it better.

use std::collections::BTreeMap;

use crate::{Filters, Permission, Refusal, UserSpec};

const MAX_KEYS: usize = 64;
const MAX_KEY: usize = 8_192;
const MAX_PERMISSION_PATHS: usize = 256;
const MAX_PATH: usize = 1_024;
const MAX_LIST: usize = 256;
const MAX_TEXT: usize = 4_096;

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
    text("email", &spec.email, 0, 320)?;
    text("description", &spec.description, 0, MAX_TEXT)?;
    text("additional_info", &spec.additional_info, 0, MAX_TEXT)
}

fn filters(filters: &Filters) -> Checked {
    list("allowed_ip", &filters.allowed_ip, MAX_LIST, 64)?;
    list("denied_ip", &filters.denied_ip, MAX_LIST, 64)?;
    list("denied_login_methods", &filters.denied_login_methods, 16, 64)?;
    list("denied_protocols", &filters.denied_protocols, 16, 64)
}

fn permissions(permissions: &BTreeMap<String, Vec<Permission>>) -> Checked {
    if !permissions.contains_key("/") {
        return Err(invalid("permissions", "/ is missing"));
    }
    if permissions.len() > MAX_PERMISSION_PATHS {
        return Err(invalid("permissions", format_args!("more than {MAX_PERMISSION_PATHS} paths")));
    }
    for (path, list) in permissions {
        if !is_canonical(path) {
            return Err(invalid("permissions", "a path is not absolute and canonical"));
        }
        if list.len() > Permission::NAMES.len() {
            return Err(invalid("permissions", "a permission stands twice"));
        }
    }
    Ok(())
}

fn is_canonical(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    path.len() <= MAX_PATH && (path == "/" || parts.is_some_and(|mut parts| parts.all(is_name)))
}
