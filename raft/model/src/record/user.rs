//! A user: credentials, limits, permissions. Cold: changed only by administration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AccountId, LogIndex, MemberOf, Name, Root, Username};

/// SFTPGo's `status`: 0 disabled, 1 enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Disabled,
    Enabled,
}

/// What a user may do in a folder. Wire names are SFTPGo's (`reference/sftpgo.md` 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Permission {
    Any,
    List,
    Download,
    Upload,
    Overwrite,
    Delete,
    DeleteFiles,
    DeleteDirs,
    Rename,
    RenameFiles,
    RenameDirs,
    CreateDirs,
    CreateSymlinks,
    Chmod,
    Chown,
    Chtimes,
    Copy,
}

impl Permission {
    /// All permissions with their wire names.
    pub const NAMES: [(Permission, &'static str); 17] = [
        (Permission::Any, "*"),
        (Permission::List, "list"),
        (Permission::Download, "download"),
        (Permission::Upload, "upload"),
        (Permission::Overwrite, "overwrite"),
        (Permission::Delete, "delete"),
        (Permission::DeleteFiles, "delete_files"),
        (Permission::DeleteDirs, "delete_dirs"),
        (Permission::Rename, "rename"),
        (Permission::RenameFiles, "rename_files"),
        (Permission::RenameDirs, "rename_dirs"),
        (Permission::CreateDirs, "create_dirs"),
        (Permission::CreateSymlinks, "create_symlinks"),
        (Permission::Chmod, "chmod"),
        (Permission::Chown, "chown"),
        (Permission::Chtimes, "chtimes"),
        (Permission::Copy, "copy"),
    ];

    pub fn parse(text: &str) -> Option<Permission> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(permission, _)| *permission)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(permission, _)| *permission == self).map_or("", |(_, name)| name)
    }
}

/// Restrictions of a user beyond permissions. CIDR strings were checked at the edge; deny wins over allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    pub allowed_ip: Vec<String>,
    pub denied_ip: Vec<String>,
    /// `password` or `publickey`.
    pub denied_login_methods: Vec<String>,
    /// `SSH`, `FTP`, `HTTP`.
    pub denied_protocols: Vec<String>,
    /// Bytes; 0 = no limit.
    pub max_upload_file_size: u64,
}

/// A user as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub username: Username,
    /// Log index of the creation: tells a user from an earlier one of the same name.
    pub incarnation: LogIndex,
    /// Log index of the last change.
    pub revision: LogIndex,
    /// Log index of the last change that concerns logins (credentials, status, filters, expiry).
    pub credential_revision: LogIndex,
    /// Sessions opened at or before this index are cut. Only grows. One pointer instead of a mark per session.
    pub sessions_cut_through: LogIndex,
    pub cut_reason: Option<crate::CutReason>,
    pub status: Status,
    /// Milliseconds since the epoch, 0 = never.
    pub expiration_date: u64,
    /// PHC string; argon2id.
    pub password_hash: Option<String>,
    /// `authorized_keys` lines, one key each.
    pub public_keys: Vec<String>,
    pub home: Root,
    pub account: AccountId,
    /// 0 = no change of owner.
    pub uid: u32,
    pub gid: u32,
    /// 0 = unlimited.
    pub max_sessions: u32,
    /// Bytes; 0 = unlimited.
    pub quota_size: u64,
    /// Files and symlinks; 0 = unlimited.
    pub quota_files: u64,
    /// Virtual folder path (absolute, canonical) to permissions; `/` is always there.
    pub permissions: BTreeMap<String, Vec<Permission>>,
    /// KB/s; 0 = unlimited.
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    pub filters: Filters,
    pub email: String,
    pub description: String,
    pub additional_info: String,
    pub groups: Vec<MemberOf>,
    /// Admins of a role see and change only the users of it.
    pub role: Option<Name>,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub updated_at: u64,
}

/// What a caller says of a user: creation and full replacement. Server-made fields are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    pub status: Status,
    pub expiration_date: u64,
    pub password_hash: Option<String>,
    pub public_keys: Vec<String>,
    pub home: Root,
    pub uid: u32,
    pub gid: u32,
    pub max_sessions: u32,
    pub quota_size: u64,
    pub quota_files: u64,
    pub permissions: BTreeMap<String, Vec<Permission>>,
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    pub filters: Filters,
    pub email: String,
    pub description: String,
    pub additional_info: String,
    pub groups: Vec<MemberOf>,
    pub role: Option<Name>,
}

/// A partial change: absent fields stay. Merged in apply, so that two changes of different fields do not undo each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPatch {
    pub status: Option<Status>,
    pub expiration_date: Option<u64>,
    /// `Some(None)` removes the password.
    pub password_hash: Option<Option<String>>,
    pub public_keys: Option<Vec<String>>,
    pub home: Option<Root>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub max_sessions: Option<u32>,
    pub quota_size: Option<u64>,
    pub quota_files: Option<u64>,
    pub permissions: Option<BTreeMap<String, Vec<Permission>>>,
    pub upload_bandwidth: Option<u64>,
    pub download_bandwidth: Option<u64>,
    pub filters: Option<Filters>,
    pub email: Option<String>,
    pub description: Option<String>,
    pub additional_info: Option<String>,
    pub groups: Option<Vec<MemberOf>>,
    /// `Some(None)`: no role.
    pub role: Option<Option<Name>>,
}
