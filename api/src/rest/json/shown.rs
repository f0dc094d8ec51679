//! A user as it is shown: never a hash or a secret.

use std::collections::BTreeMap;

use flotilla_model::{Account, Filters, MemberOf, Membership, Permission, Status, User};
use schemars::JsonSchema;
use serde::Serialize;

use super::{MembershipBody, PermissionName};
use crate::service::Service;

/// A user.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(crate) struct UserShown {
    id: u64,
    /// 0: disabled, 1: enabled.
    status: u8,
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
    /// Milliseconds since 1970; 0: never.
    expiration_date: u64,
    has_password: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public_keys: Vec<String>,
    home_dir: String,
    uid: u32,
    gid: u32,
    max_sessions: u32,
    quota_size: u64,
    quota_files: u64,
    #[schemars(with = "BTreeMap<String, Vec<PermissionName>>")]
    permissions: BTreeMap<String, Vec<&'static str>>,
    /// Bytes that are counted as stored.
    used_quota_size: i64,
    used_quota_files: i64,
    upload_bandwidth: u64,
    download_bandwidth: u64,
    upload_data_transfer: u64,
    download_data_transfer: u64,
    total_data_transfer: u64,
    created_at: u64,
    updated_at: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    additional_info: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<MembershipBody>,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    filters: FiltersShown,
    filesystem: Filesystem,
    /// Log index of the last change: also the ETag.
    revision: u64,
}

impl UserShown {
    pub(crate) fn of(service: &Service, user: &User, account: Option<&Account>) -> UserShown {
        let used = account.map(|account| account.used.at_least_zero()).unwrap_or_default();
        UserShown {
            id: user.incarnation,
            status: u8::from(user.status == Status::Enabled),
            username: user.username.to_string(),
            email: user.email.clone(),
            expiration_date: user.expiration_date,
            has_password: user.password_hash.is_some(),
            public_keys: user.public_keys.clone(),
            home_dir: service.home_dir(&user.home),
            uid: user.uid,
            gid: user.gid,
            max_sessions: user.max_sessions,
            quota_size: user.quota_size,
            quota_files: user.quota_files,
            permissions: permissions_shown(&user.permissions),
            used_quota_size: used.bytes,
            used_quota_files: used.files,
            upload_bandwidth: user.upload_bandwidth,
            download_bandwidth: user.download_bandwidth,
            upload_data_transfer: 0,
            download_data_transfer: 0,
            total_data_transfer: 0,
            created_at: user.created_at,
            updated_at: user.updated_at,
            description: user.description.clone(),
            additional_info: user.additional_info.clone(),
            groups: user.groups.iter().map(membership_shown).collect(),
            role: user.role.as_ref().map(ToString::to_string).unwrap_or_default(),
            filters: FiltersShown::of(&user.filters),
            filesystem: Filesystem::default(),
            revision: user.revision,
        }
    }
}

fn membership_shown(member: &MemberOf) -> MembershipBody {
    let r#type = match member.membership {
        Membership::Primary => 1,
        Membership::Secondary => 2,
        Membership::Plain => 3,
    };
    MembershipBody { name: member.group.to_string(), r#type }
}

pub(crate) fn permissions_shown(
    permissions: &BTreeMap<String, Vec<Permission>>,
) -> BTreeMap<String, Vec<&'static str>> {
    let names = |held: &Vec<Permission>| held.iter().map(|one| one.name()).collect();
    permissions.iter().map(|(path, held)| (path.clone(), names(held))).collect()
}

/// `hooks` and `totp_config` are always present, the rest only where set.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Filters")]
pub(crate) struct FiltersShown {
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
    hooks: Hooks,
    totp_config: Totp,
}

/// Not served: all off.
#[derive(Default, Serialize, JsonSchema)]
struct Hooks {
    external_auth_disabled: bool,
    pre_login_disabled: bool,
    check_password_disabled: bool,
}

/// Not served: off.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct Totp {
    enabled: bool,
}

impl FiltersShown {
    pub(crate) fn of(filters: &Filters) -> FiltersShown {
        FiltersShown {
            allowed_ip: filters.allowed_ip.clone(),
            denied_ip: filters.denied_ip.clone(),
            denied_login_methods: filters.denied_login_methods.clone(),
            denied_protocols: filters.denied_protocols.clone(),
            max_upload_file_size: filters.max_upload_file_size,
            hooks: Hooks::default(),
            totp_config: Totp::default(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A file system of the nodes. All seven objects are always present.
#[derive(Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Filesystem {
    /// 0: local.
    provider: u8,
    osconfig: Nothing,
    s3config: Nothing,
    gcsconfig: Nothing,
    azblobconfig: Nothing,
    cryptconfig: Nothing,
    sftpconfig: Nothing,
    httpconfig: Nothing,
}

/// An empty object.
#[derive(Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Nothing {}
