//! A user's fields as callers name them: taking a row apart, merging a patch, naming what changed.

use super::change::{self, Fields, Shown};
use crate::{AccountId, LogIndex, Name, RecordKind, User, UserPatch, UserSpec, Username, WallTime};

macro_rules! fields {
    ($($field:ident: $name:literal),+ $(,)?) => {
        impl User {
            /// What a caller may say of this user.
            pub fn spec(&self) -> UserSpec {
                UserSpec { $($field: self.$field.clone()),+ }
            }

            /// This user with all that a caller may say taken from `spec`.
            pub(crate) fn with(&self, spec: UserSpec, account: AccountId) -> User {
                User { account, $($field: spec.$field),+, ..self.clone() }
            }

        }

        impl UserSpec {
            /// All fields with their values, for `change::changes`.
            pub(crate) fn fields(&self) -> Fields {
                let mut fields = vec![$(($name, self.$field.shown())),+];
                for (name, value) in &mut fields {
                    if *name == "password" {
                        *value = change::secret(&self.password_hash);
                    }
                }
                fields
            }
        }

        impl UserPatch {
            /// Merges the fields that are present.
            pub fn apply(self, spec: &mut UserSpec) {
                $(if let Some(value) = self.$field {
                    spec.$field = value;
                })+
            }
        }
    };
}

fields! {
    status: "status",
    expiration_date: "expiration_date",
    password_hash: "password",
    public_keys: "public_keys",
    home: "home_dir",
    uid: "uid",
    gid: "gid",
    max_sessions: "max_sessions",
    quota_size: "quota_size",
    quota_files: "quota_files",
    permissions: "permissions",
    upload_bandwidth: "upload_bandwidth",
    download_bandwidth: "download_bandwidth",
    filters: "filters",
    email: "email",
    description: "description",
    additional_info: "additional_info",
    groups: "groups",
    role: "role",
}

impl UserSpec {
    /// Whether the user is held to a quota.
    pub fn is_limited(&self) -> bool {
        self.quota_size != 0 || self.quota_files != 0
    }
}

impl User {
    pub(crate) fn names_records(&self) -> bool {
        self.role.is_some() || !self.groups.is_empty()
    }

    /// Groups and role that the user names.
    pub(crate) fn references(&self) -> Vec<(RecordKind, Name)> {
        let groups = self.groups.iter().map(|one| (RecordKind::Group, one.group.clone()));
        groups.chain(self.role.iter().map(|role| (RecordKind::Role, role.clone()))).collect()
    }

    /// A user as created at an index.
    pub fn create(username: Username, spec: UserSpec, account: AccountId, index: LogIndex, wall: WallTime) -> Self {
        User {
            username,
            incarnation: index,
            revision: index,
            credential_revision: index,
            sessions_cut_through: 0,
            cut_reason: None,
            status: spec.status,
            expiration_date: spec.expiration_date,
            password_hash: spec.password_hash,
            public_keys: spec.public_keys,
            home: spec.home,
            account,
            uid: spec.uid,
            gid: spec.gid,
            max_sessions: spec.max_sessions,
            quota_size: spec.quota_size,
            quota_files: spec.quota_files,
            permissions: spec.permissions,
            upload_bandwidth: spec.upload_bandwidth,
            download_bandwidth: spec.download_bandwidth,
            filters: spec.filters,
            email: spec.email,
            description: spec.description,
            additional_info: spec.additional_info,
            groups: spec.groups,
            role: spec.role,
            created_at: wall.0,
            updated_at: wall.0,
        }
    }
}
