//! A user as SFTPGo's clients read and write it.

pub(crate) mod known;
mod shown;

use std::collections::BTreeMap;

use flotilla_model::{Filters, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page::{self, Received};
use crate::error::ApiError;
use crate::service::input::UserInput;
pub(crate) use shown::{Filesystem, FiltersShown, Nothing, Totp, UserShown, permissions_shown};

/// What a client may send beside what `known.rs` knows. Another field is refused by name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "UserInput", description = "", transform = known::of_users)]
pub(crate) struct UserBody {
    /// Letters, digits and `. _ @ -`, at most 64 bytes. Needed in a creation.
    pub username: String,
    /// 0: disabled, 1: enabled.
    #[schemars(range(max = 1))]
    status: u32,
    email: String,
    /// Milliseconds since 1970; 0: never.
    expiration_date: u64,
    /// Plain, or an argon2id hash. Left out in a replacement: the stored one stays.
    password: Option<String>,
    /// Lines of `authorized_keys`.
    public_keys: Vec<String>,
    /// An absolute path under a storage of the nodes; empty: one of the user's name in the first storage.
    home_dir: String,
    uid: u32,
    gid: u32,
    /// 0: no limit.
    max_sessions: u32,
    /// Bytes; 0: no limit.
    quota_size: u64,
    /// Files; 0: no limit.
    quota_files: u64,
    /// By path; `/` is needed.
    #[schemars(with = "BTreeMap<String, Vec<PermissionName>>")]
    permissions: BTreeMap<String, Vec<String>>,
    /// KB/s; 0: no limit.
    upload_bandwidth: u64,
    /// KB/s; 0: no limit.
    download_bandwidth: u64,
    description: String,
    additional_info: String,
    groups: Vec<MembershipBody>,
    role: String,
    filters: FiltersBody,
}

/// A group of a user.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Membership")]
pub(crate) struct MembershipBody {
    name: String,
    /// 1: primary, 2: secondary, 3: membership.
    #[schemars(range(min = 1, max = 3))]
    r#type: u32,
}

impl Default for UserBody {
    /// As SFTPGo, a user without `status` is enabled here, a zero being easily left out by mistake.
    fn default() -> Self {
        UserBody {
            username: String::new(),
            status: 1,
            email: String::new(),
            expiration_date: 0,
            password: None,
            public_keys: Vec::new(),
            home_dir: String::new(),
            uid: 0,
            gid: 0,
            max_sessions: 0,
            quota_size: 0,
            quota_files: 0,
            permissions: BTreeMap::new(),
            upload_bandwidth: 0,
            download_bandwidth: 0,
            description: String::new(),
            additional_info: String::new(),
            groups: Vec::new(),
            role: String::new(),
            filters: FiltersBody::default(),
        }
    }
}

/// The filters that have an effect.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "FiltersInput", description = "", transform = known::of_filters)]
pub(crate) struct FiltersBody {
    allowed_ip: Vec<String>,
    denied_ip: Vec<String>,
    denied_login_methods: Vec<String>,
    denied_protocols: Vec<String>,
    max_upload_file_size: u64,
}

/// The name of a user's permission, for the document.
pub(crate) enum PermissionName {}

impl JsonSchema for PermissionName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Permission".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": Permission::NAMES.map(|(_, name)| name)})
    }
}

impl Received for UserBody {
    /// Says which field was wrong.
    fn receive(body: Value) -> Result<UserBody, ApiError> {
        page::typed(known::strip(body)?)
    }
}

impl From<FiltersBody> for Filters {
    fn from(body: FiltersBody) -> Filters {
        Filters {
            allowed_ip: body.allowed_ip,
            denied_ip: body.denied_ip,
            denied_login_methods: body.denied_login_methods,
            denied_protocols: body.denied_protocols,
            max_upload_file_size: body.max_upload_file_size,
        }
    }
}

impl From<UserBody> for UserInput {
    fn from(body: UserBody) -> UserInput {
        UserInput {
            status: body.status,
            expiration_date: body.expiration_date,
            password: body.password,
            public_keys: body.public_keys,
            home_dir: body.home_dir,
            uid: body.uid,
            gid: body.gid,
            max_sessions: body.max_sessions,
            quota_size: body.quota_size,
            quota_files: body.quota_files,
            permissions: body.permissions,
            upload_bandwidth: body.upload_bandwidth,
            download_bandwidth: body.download_bandwidth,
            filters: body.filters.into(),
            groups: body.groups.into_iter().map(|one| (one.name, one.r#type)).collect(),
            role: body.role,
            email: body.email,
            description: body.description,
            additional_info: body.additional_info,
        }
    }
}
