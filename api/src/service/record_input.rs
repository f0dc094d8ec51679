//! Admins, groups, folders and roles as a caller describes them, whatever the interface: unchecked, with the names of the wire.

use std::collections::BTreeMap;

use flotilla_model::{AdminSpec, Filters, FolderSpec, GroupSettings, GroupSpec, Mount, Name, RoleSpec};

use super::{Service, checks};
use crate::error::ApiError;

#[derive(Clone, Debug, Default)]
pub struct AdminInput {
    /// 0 or 1.
    pub status: u32,
    /// Empty or absent in a replacement: the stored one stays.
    pub password: Option<String>,
    pub permissions: Vec<String>,
    pub email: String,
    pub description: String,
    pub additional_info: String,
    /// Empty: none.
    pub role: String,
    pub allow_list: Vec<String>,
    pub allow_api_key_auth: bool,
}

#[derive(Clone, Debug, Default)]
pub struct GroupInput {
    pub description: String,
    pub home_dir: String,
    pub max_sessions: u32,
    pub quota_size: u64,
    pub quota_files: u64,
    pub permissions: BTreeMap<String, Vec<String>>,
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    pub expires_in: u32,
    pub filters: Filters,
    pub mounts: Vec<MountInput>,
}

#[derive(Clone, Debug, Default)]
pub struct MountInput {
    pub name: String,
    pub virtual_path: String,
    pub quota_size: i64,
    pub quota_files: i64,
}

impl Service {
    /// Checks everything, then hashes the password, which costs most.
    pub async fn admin_spec(&self, input: AdminInput) -> Result<AdminSpec, ApiError> {
        let mut spec = EMPTY.clone();
        for field in ADMIN_FIELDS {
            set_admin_field(&mut spec, &input, field)?;
        }
        spec.password_hash = self.admin_hash(input.password).await?;
        Ok(spec)
    }

    pub async fn admin_hash(&self, password: Option<String>) -> Result<Option<String>, ApiError> {
        match password.filter(|password| !password.is_empty()) {
            Some(password) => self.hash(password).await.map(Some),
            None => Ok(None),
        }
    }
}

const EMPTY: AdminSpec = AdminSpec {
    status: flotilla_model::Status::Enabled,
    password_hash: None,
    permissions: Vec::new(),
    email: String::new(),
    description: String::new(),
    additional_info: String::new(),
    role: None,
    allow_list: Vec::new(),
    allow_api_key_auth: false,
};

/// All but the password, by their names in a field mask.
const ADMIN_FIELDS: [&str; 8] =
    ["status", "permissions", "email", "description", "additional_info", "role", "allow_list", "allow_api_key_auth"];

/// Takes one field over, checked.
pub(crate) fn set_admin_field(spec: &mut AdminSpec, input: &AdminInput, field: &str) -> Result<(), ApiError> {
    match field {
        "status" => spec.status = checks::status(input.status)?,
        "permissions" => {
            checks::admin_permissions(&input.permissions)?;
            spec.permissions.clone_from(&input.permissions);
        }
        "email" => spec.email.clone_from(&input.email),
        "description" => spec.description.clone_from(&input.description),
        "additional_info" => spec.additional_info.clone_from(&input.additional_info),
        "role" => spec.role = checks::optional_name("role", &input.role)?,
        "allow_list" => {
            checks::networks("filters.allow_list", &input.allow_list)?;
            spec.allow_list.clone_from(&input.allow_list);
        }
        "allow_api_key_auth" => spec.allow_api_key_auth = input.allow_api_key_auth,
        other => return Err(cannot_change(other)),
    }
    Ok(())
}

pub(crate) fn cannot_change(field: &str) -> ApiError {
    ApiError::field("update_mask", format_args!("{field:?} cannot be changed"))
}

pub(crate) fn group_spec(input: GroupInput) -> Result<GroupSpec, ApiError> {
    let permissions =
        if input.permissions.is_empty() { BTreeMap::new() } else { checks::permissions(input.permissions)? };
    let mount = |mount: MountInput| {
        let named = |error: flotilla_model::InvalidName| ApiError::field("virtual_folders", error.reason);
        Ok(Mount {
            folder: Name::parse(&mount.name).map_err(named)?,
            virtual_path: mount.virtual_path,
            quota_size: mount.quota_size,
            quota_files: mount.quota_files,
        })
    };
    Ok(GroupSpec {
        description: input.description,
        settings: GroupSettings {
            home_dir: input.home_dir,
            max_sessions: input.max_sessions,
            quota_size: input.quota_size,
            quota_files: input.quota_files,
            permissions,
            upload_bandwidth: input.upload_bandwidth,
            download_bandwidth: input.download_bandwidth,
            expires_in: input.expires_in,
            filters: checks::filters(input.filters)?,
        },
        virtual_folders: input.mounts.into_iter().map(mount).collect::<Result<_, ApiError>>()?,
    })
}

pub(crate) fn folder_spec(mapped_path: String, description: String) -> Result<FolderSpec, ApiError> {
    let path = std::path::Path::new(&mapped_path);
    let plain =
        path.components().all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(ApiError::field("mapped_path", format_args!("{mapped_path:?} is not an absolute path")));
    }
    Ok(FolderSpec { mapped_path, description })
}

pub(crate) fn role_spec(description: String) -> RoleSpec {
    RoleSpec { description }
}
