//! An admin: who administers the cluster, by a password or an API key of their own.

use serde::{Deserialize, Serialize};

use super::change::Shown;
use crate::command::{Command, Delete, Put};
use crate::index::Referrer;
use crate::table::Table;
use crate::{Kept, Name, RecordKind, Spec, State, Status};

pub type Admin = Kept<AdminSpec>;

/// What a caller says of an admin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSpec {
    pub status: Status,
    /// PHC string; argon2id. `None` in a change: the stored one stays.
    pub password_hash: Option<String>,
    /// SFTPGo's names; `*` = all.
    pub permissions: Vec<String>,
    pub email: String,
    pub description: String,
    pub additional_info: String,
    /// Only users of this role are seen and changed.
    pub role: Option<Name>,
    /// Addresses and networks that the admin may come from; empty: all.
    pub allow_list: Vec<String>,
    /// Whether an API key that names no admin may act for this one.
    pub allow_api_key_auth: bool,
}

impl std::fmt::Debug for AdminSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.fields().into_iter().filter(|(name, _)| *name != "password")).finish()
    }
}

impl Spec for AdminSpec {
    const KIND: RecordKind = RecordKind::Admin;
    const TABLE: u8 = 20;

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("status", self.status.shown()),
            ("password", super::change::secret(&self.password_hash)),
            ("permissions", self.permissions.shown()),
            ("email", self.email.shown()),
            ("description", self.description.shown()),
            ("additional_info", self.additional_info.shown()),
            ("role", self.role.shown()),
            ("filters.allow_list", self.allow_list.shown()),
            ("filters.allow_api_key_auth", self.allow_api_key_auth.shown()),
        ]
    }
    fn references(&self) -> Vec<(RecordKind, Name)> {
        self.role.iter().map(|role| (RecordKind::Role, role.clone())).collect()
    }
    fn referrer(name: &Name) -> Referrer {
        Referrer::Admin(name.clone())
    }
    fn put(put: Put<Self>) -> Command {
        Command::PutAdmin(put)
    }
    fn delete(delete: Delete) -> Command {
        Command::DeleteAdmin(delete)
    }
    fn table(state: &State) -> &Table<Admin> {
        &state.admins
    }
    fn table_mut(state: &mut State) -> &mut Table<Admin> {
        &mut state.admins
    }
}
