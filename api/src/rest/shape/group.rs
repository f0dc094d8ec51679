//! A group, its settings and the folders that it shows.

use std::collections::BTreeMap;

use flotilla_model::{FolderSpec, GroupSpec, Kept, Mount, RecordKind, State};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::json::{Filesystem, FiltersBody, FiltersShown, PermissionName, known, permissions_shown};
use super::super::page::{Received, typed};
use super::{FolderShown, MADE, Shape};
use crate::error::ApiError;
use crate::service::record_input::{GroupInput, MountInput, group_spec};
use crate::service::records::named_by;
use crate::service::{Caller, Service};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "GroupInput", transform = fields)]
pub(crate) struct GroupBody {
    name: String,
    description: String,
    #[schemars(with = "SettingsBody")]
    user_settings: Value,
    virtual_folders: Option<Vec<MountBody>>,
}

fn fields(schema: &mut Schema) {
    known::taken(schema, &MADE, &[]);
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "GroupSettingsInput", transform = known::of_users)]
struct SettingsBody {
    home_dir: String,
    max_sessions: u32,
    quota_size: u64,
    quota_files: u64,
    #[schemars(with = "BTreeMap<String, Vec<PermissionName>>")]
    permissions: BTreeMap<String, Vec<String>>,
    upload_bandwidth: u64,
    download_bandwidth: u64,
    /// Days.
    expires_in: u32,
    filters: FiltersBody,
}

/// A mounted folder; what is said of the folder itself is the folder's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "MountInput", extend("additionalProperties" = true))]
struct MountBody {
    name: String,
    virtual_path: String,
    quota_size: i64,
    quota_files: i64,
}

impl Received for GroupBody {
    fn receive(body: Value) -> Result<Self, ApiError> {
        typed(known::strip_of(body, &MADE, &[], &[])?)
    }
}

/// As for users: what has an effect, and what is refused when set. The path is part of an error's.
fn settings(body: Value) -> Result<SettingsBody, ApiError> {
    if body.is_null() {
        return Ok(SettingsBody::default());
    }
    let within = |error: ApiError| match &error.field {
        Some(field) => ApiError {
            field: Some(format!("user_settings.{field}")),
            message: format!("user_settings.{}", error.message),
            ..error
        },
        None => ApiError::field("user_settings", error.message),
    };
    known::strip(body).and_then(typed).map_err(within)
}

/// A group.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub(crate) struct GroupShown {
    #[serde(flatten)]
    base: super::Base,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    user_settings: SettingsShown,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_folders: Vec<MountShown>,
    /// Names of its members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GroupSettings")]
struct SettingsShown {
    #[serde(skip_serializing_if = "String::is_empty")]
    home_dir: String,
    max_sessions: u32,
    quota_size: u64,
    quota_files: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Vec<PermissionName>>")]
    permissions: BTreeMap<String, Vec<&'static str>>,
    upload_bandwidth: u64,
    download_bandwidth: u64,
    upload_data_transfer: u64,
    download_data_transfer: u64,
    total_data_transfer: u64,
    expires_in: u32,
    filters: FiltersShown,
    filesystem: Filesystem,
}

/// A folder where a group shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Mount")]
struct MountShown {
    #[serde(flatten)]
    folder: Mounted,
    virtual_path: String,
    /// −1 (both): counted in the user's.
    quota_size: i64,
    quota_files: i64,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Mounted {
    Folder(Box<FolderShown>),
    /// Of which no more is known.
    Name {
        name: String,
    },
}

impl Shape for GroupSpec {
    const KEY: &'static str = "name";

    type Body = GroupBody;
    type Shown = GroupShown;

    async fn spec(_service: &Service, body: GroupBody) -> Result<(String, Self), ApiError> {
        let settings = settings(body.user_settings)?;
        let mount = |mount: MountBody| MountInput {
            name: mount.name,
            virtual_path: mount.virtual_path,
            quota_size: mount.quota_size,
            quota_files: mount.quota_files,
        };
        let input = GroupInput {
            description: body.description,
            home_dir: settings.home_dir,
            max_sessions: settings.max_sessions,
            quota_size: settings.quota_size,
            quota_files: settings.quota_files,
            permissions: settings.permissions,
            upload_bandwidth: settings.upload_bandwidth,
            download_bandwidth: settings.download_bandwidth,
            expires_in: settings.expires_in,
            filters: settings.filters.into(),
            mounts: body.virtual_folders.unwrap_or_default().into_iter().map(mount).collect(),
        };
        Ok((body.name, group_spec(input)?))
    }

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> GroupShown {
        let settings = &row.spec.settings;
        GroupShown {
            base: super::Base::of(row),
            name: row.name.to_string(),
            description: row.spec.description.clone(),
            user_settings: SettingsShown {
                home_dir: settings.home_dir.clone(),
                max_sessions: settings.max_sessions,
                quota_size: settings.quota_size,
                quota_files: settings.quota_files,
                permissions: permissions_shown(&settings.permissions),
                upload_bandwidth: settings.upload_bandwidth,
                download_bandwidth: settings.download_bandwidth,
                upload_data_transfer: 0,
                download_data_transfer: 0,
                total_data_transfer: 0,
                expires_in: settings.expires_in,
                filters: FiltersShown::of(&settings.filters),
                filesystem: Filesystem::default(),
            },
            virtual_folders: row.spec.virtual_folders.iter().map(|mount| mounted(caller, state, mount)).collect(),
            users: named_by(caller, state, RecordKind::Group, &row.name).users,
        }
    }
}

fn mounted(caller: &Caller, state: &State, mount: &Mount) -> MountShown {
    let folder = match state.kept::<FolderSpec>(&mount.folder) {
        Some(folder) => Mounted::Folder(Box::new(FolderSpec::show(caller, state, folder))),
        None => Mounted::Name { name: mount.folder.to_string() },
    };
    MountShown {
        folder,
        virtual_path: mount.virtual_path.clone(),
        quota_size: mount.quota_size,
        quota_files: mount.quota_files,
    }
}
