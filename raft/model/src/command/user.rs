//! Commands of users.

use serde::{Deserialize, Serialize};

use crate::{LogIndex, Name, UserPatch, UserSpec, Username};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateUser {
    pub username: Username,
    pub spec: UserSpec,
}

/// Changes some fields. `expected_revision` makes it conditional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateUser {
    pub username: Username,
    pub expected_revision: Option<LogIndex>,
    pub patch: UserPatch,
}

/// Replaces the whole record, as REST's PUT does; `password_hash: None` in the spec keeps the stored one if `keep_password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceUser {
    pub username: Username,
    pub expected_revision: Option<LogIndex>,
    pub spec: UserSpec,
    pub keep_password: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteUser {
    pub username: Username,
    pub expected_revision: Option<LogIndex>,
}

/// What can be done to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserChange {
    Create(CreateUser),
    Update(UpdateUser),
    Replace(ReplaceUser),
    Delete(DeleteUser),
}

/// A change by an admin with a role: of that role's users alone, in homes that are the role's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOfRole {
    pub role: Name,
    pub change: UserChange,
}
