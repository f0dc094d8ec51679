//! Groups, folders and roles: kept and named here, their effect on sessions is the session core's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::Shown;
use crate::command::{Command, Delete, Put};
use crate::index::Referrer;
use crate::table::Table;
use crate::{Filters, Kept, Name, Permission, RecordKind, Spec, State};

pub type Group = Kept<GroupSpec>;
pub type Folder = Kept<FolderSpec>;
pub type Role = Kept<RoleSpec>;

/// How a user belongs to a group; SFTPGo's `type` 1, 2, 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Membership {
    Primary,
    Secondary,
    /// Without any effect on settings.
    Plain,
}

/// A group that a user names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberOf {
    pub group: Name,
    pub membership: Membership,
}

/// What a caller says of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    pub description: String,
    pub settings: GroupSettings,
    pub virtual_folders: Vec<Mount>,
}

/// What members inherit. Zero and empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSettings {
    /// May hold `%username%` and `%role%`.
    pub home_dir: String,
    pub max_sessions: u32,
    pub quota_size: u64,
    pub quota_files: u64,
    pub permissions: BTreeMap<String, Vec<Permission>>,
    /// KB/s.
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    /// Days from the creation of a member.
    pub expires_in: u32,
    pub filters: Filters,
}

/// A folder shown at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub folder: Name,
    pub virtual_path: String,
    /// −1 (both): counted in the user's quota.
    pub quota_size: i64,
    pub quota_files: i64,
}

/// What a caller says of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSpec {
    /// Absolute path on the nodes.
    pub mapped_path: String,
    pub description: String,
}

/// What a caller says of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSpec {
    pub description: String,
}

macro_rules! kept {
    ($spec:ty, $kind:ident, $table:literal, $rows:ident, $put:ident, $delete:ident, |$it:ident| $fields:expr, $references:expr) => {
        impl Spec for $spec {
            const KIND: RecordKind = RecordKind::$kind;
            const TABLE: u8 = $table;
            fn fields(&self) -> Vec<(&'static str, String)> {
                let $it = self;
                $fields
            }
            fn references(&self) -> Vec<(RecordKind, Name)> {
                let $it = self;
                $references
            }
            fn referrer(name: &Name) -> Referrer {
                Referrer::$kind(name.clone())
            }
            fn put(put: Put<Self>) -> Command {
                Command::$put(put)
            }
            fn delete(delete: Delete) -> Command {
                Command::$delete(delete)
            }
            fn table(state: &State) -> &Table<Kept<Self>> {
                &state.$rows
            }
            fn table_mut(state: &mut State) -> &mut Table<Kept<Self>> {
                &mut state.$rows
            }
        }
    };
}

kept!(GroupSpec, Group, 21, groups, PutGroup, DeleteGroup, |group| group_fields(group), mounted(group));
kept!(
    FolderSpec,
    Folder,
    22,
    folders,
    PutFolder,
    DeleteFolder,
    |folder| vec![("mapped_path", folder.mapped_path.shown()), ("description", folder.description.shown())],
    {
        let _ = folder;
        Vec::new()
    }
);
kept!(RoleSpec, Role, 23, roles, PutRole, DeleteRole, |role| vec![("description", role.description.shown())], {
    let _ = role;
    Vec::new()
});

fn group_fields(group: &GroupSpec) -> Vec<(&'static str, String)> {
    let settings = &group.settings;
    vec![
        ("description", group.description.shown()),
        ("user_settings.home_dir", settings.home_dir.shown()),
        ("user_settings.max_sessions", settings.max_sessions.shown()),
        ("user_settings.quota_size", settings.quota_size.shown()),
        ("user_settings.quota_files", settings.quota_files.shown()),
        ("user_settings.permissions", settings.permissions.shown()),
        ("user_settings.upload_bandwidth", settings.upload_bandwidth.shown()),
        ("user_settings.download_bandwidth", settings.download_bandwidth.shown()),
        ("user_settings.expires_in", settings.expires_in.shown()),
        ("user_settings.filters", settings.filters.shown()),
        ("virtual_folders", group.virtual_folders.shown()),
    ]
}

fn mounted(group: &GroupSpec) -> Vec<(RecordKind, Name)> {
    group.virtual_folders.iter().map(|mount| (RecordKind::Folder, mount.folder.clone())).collect()
}
