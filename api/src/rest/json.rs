//! A user as SFTPGo's clients read and write it.

pub(crate) mod known;

use std::collections::BTreeMap;

use flotilla_model::{Account, Filters, MemberOf, Membership, Permission, Status, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::page;
use crate::error::ApiError;
use crate::service::Service;
use crate::service::input::UserInput;

/// What a client may send beside what `known.rs` knows. Another field is refused by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UserBody {
    pub username: String,
    status: u32,
    email: String,
    expiration_date: u64,
    password: Option<String>,
    public_keys: Vec<String>,
    home_dir: String,
    uid: u32,
    gid: u32,
    max_sessions: u32,
    quota_size: u64,
    quota_files: u64,
    permissions: BTreeMap<String, Vec<String>>,
    upload_bandwidth: u64,
    download_bandwidth: u64,
    description: String,
    additional_info: String,
    groups: Vec<MembershipBody>,
    role: String,
    filters: FiltersBody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MembershipBody {
    name: String,
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
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FiltersBody {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied_ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied_login_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denied_protocols: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    max_upload_file_size: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl UserBody {
    /// Parses a body; says which field was wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<UserBody, ApiError> {
        UserBody::read(page::value(bytes)?)
    }

    pub(crate) fn read(body: Value) -> Result<UserBody, ApiError> {
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

/// A user as it is shown: never a hash or a secret.
pub(crate) fn user(service: &Service, user: &User, account: Option<&Account>) -> Value {
    let used = account.map(|account| account.used.at_least_zero()).unwrap_or_default();
    let mut body = json!({
        "id": user.incarnation,
        "status": match user.status { Status::Disabled => 0, Status::Enabled => 1 },
        "username": user.username.as_str(),
        "expiration_date": user.expiration_date,
        "has_password": user.password_hash.is_some(),
        "home_dir": service.home_dir(&user.home),
        "uid": user.uid,
        "gid": user.gid,
        "max_sessions": user.max_sessions,
        "quota_size": user.quota_size,
        "quota_files": user.quota_files,
        "permissions": permissions_shown(&user.permissions),
        "used_quota_size": used.bytes,
        "used_quota_files": used.files,
        "upload_bandwidth": user.upload_bandwidth,
        "download_bandwidth": user.download_bandwidth,
        "upload_data_transfer": 0,
        "download_data_transfer": 0,
        "total_data_transfer": 0,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "filters": filters_shown(&user.filters),
        "filesystem": local_filesystem(),
        "revision": user.revision,
    });
    let texts =
        [("email", &user.email), ("description", &user.description), ("additional_info", &user.additional_info)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        body[name] = json!(text);
    }
    if !user.groups.is_empty() {
        body["groups"] = user.groups.iter().map(membership_shown).collect();
    }
    if let Some(role) = &user.role {
        body["role"] = json!(role.as_str());
    }
    if !user.public_keys.is_empty() {
        body["public_keys"] = json!(user.public_keys);
    }
    body
}

fn membership_shown(member: &MemberOf) -> Value {
    let kind = match member.membership {
        Membership::Primary => 1,
        Membership::Secondary => 2,
        Membership::Plain => 3,
    };
    json!({"name": member.group.as_str(), "type": kind})
}

pub(crate) fn permissions_shown(permissions: &BTreeMap<String, Vec<Permission>>) -> Value {
    permissions
        .iter()
        .map(|(path, held)| (path.clone(), held.iter().map(|one| one.name()).collect()))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

/// `hooks` and `totp_config` are always present, the rest only where set.
pub(crate) fn filters_shown(filters: &Filters) -> Value {
    let shown = FiltersBody {
        allowed_ip: filters.allowed_ip.clone(),
        denied_ip: filters.denied_ip.clone(),
        denied_login_methods: filters.denied_login_methods.clone(),
        denied_protocols: filters.denied_protocols.clone(),
        max_upload_file_size: filters.max_upload_file_size,
    };
    let mut body = json!(shown);
    body["hooks"] =
        json!({"external_auth_disabled": false, "pre_login_disabled": false, "check_password_disabled": false});
    body["totp_config"] = json!({"enabled": false});
    body
}

/// All seven objects are always present.
pub(crate) fn local_filesystem() -> Value {
    json!({
        "provider": 0, "osconfig": {}, "s3config": {}, "gcsconfig": {}, "azblobconfig": {}, "cryptconfig": {},
        "sftpconfig": {}, "httpconfig": {},
    })
}
