//! Admins, groups, folders and roles as SFTPGo's clients read and write them.

mod admin;
mod group;

use flotilla_model::{FolderSpec, Kept, RecordKind, RoleSpec, State};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{Filesystem, known};
use super::page::{Received, typed};
use crate::error::ApiError;
use crate::service::record_input::{folder_spec, role_spec};
use crate::service::records::{Administered, named_by};
use crate::service::{Caller, Service};

/// How a kind of record looks in JSON.
pub(super) trait Shape: Administered {
    /// The field that names it.
    const KEY: &'static str;

    /// What is read.
    type Body: Received + JsonSchema + Send;
    /// What is shown.
    type Shown: Serialize + JsonSchema + Send;

    /// The name, which may be absent in a replacement, and what is said.
    fn spec(service: &Service, body: Self::Body) -> impl Future<Output = Result<(String, Self), ApiError>> + Send;
    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> Self::Shown;
}

/// Made by the server: taken and dropped, so that what was read can be sent back.
const MADE: [&str; 9] =
    ["id", "created_at", "updated_at", "last_login", "revision", "has_password", "users", "admins", "used_quota"];

/// Of folders besides.
const MADE_OF_FOLDERS: [&str; 5] = ["filesystem", "groups", "used_quota_size", "used_quota_files", "last_quota_update"];

/// What all kinds show.
#[derive(Clone, Serialize, JsonSchema)]
struct Base {
    id: u64,
    /// Milliseconds since 1970.
    created_at: u64,
    updated_at: u64,
    /// Log index of the last change: also the ETag.
    revision: u64,
}

impl Base {
    fn of<S>(row: &Kept<S>) -> Base {
        Base { id: row.incarnation, created_at: row.created_at, updated_at: row.updated_at, revision: row.revision }
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "FolderInput", transform = folder_fields)]
pub(super) struct FolderBody {
    name: String,
    /// Absolute path on the nodes.
    mapped_path: String,
    description: String,
}

fn folder_fields(schema: &mut Schema) {
    known::taken(schema, &[&MADE[..], &MADE_OF_FOLDERS[..]].concat(), &[]);
}

impl Received for FolderBody {
    fn receive(mut body: Value) -> Result<Self, ApiError> {
        known::local_only(body.get("filesystem"), "filesystem.provider")?;
        if let Value::Object(fields) = &mut body {
            for made in MADE_OF_FOLDERS {
                fields.remove(made);
            }
        }
        typed(known::strip_of(body, &MADE, &[], &[])?)
    }
}

/// A folder.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "Folder")]
pub(super) struct FolderShown {
    #[serde(flatten)]
    base: Base,
    name: String,
    mapped_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    used_quota_size: u64,
    used_quota_files: u64,
    last_quota_update: u64,
    /// Names of the groups that show it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    filesystem: Filesystem,
}

impl Shape for FolderSpec {
    const KEY: &'static str = "name";

    type Body = FolderBody;
    type Shown = FolderShown;

    async fn spec(_service: &Service, body: FolderBody) -> Result<(String, Self), ApiError> {
        Ok((body.name, folder_spec(body.mapped_path, body.description)?))
    }

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> FolderShown {
        FolderShown {
            base: Base::of(row),
            name: row.name.to_string(),
            mapped_path: row.spec.mapped_path.clone(),
            description: row.spec.description.clone(),
            used_quota_size: 0,
            used_quota_files: 0,
            last_quota_update: 0,
            groups: named_by(caller, state, RecordKind::Folder, &row.name).groups,
            filesystem: Filesystem::default(),
        }
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RoleInput", transform = role_fields)]
pub(super) struct RoleBody {
    name: String,
    description: String,
}

fn role_fields(schema: &mut Schema) {
    known::taken(schema, &MADE, &[]);
}

impl Received for RoleBody {
    fn receive(body: Value) -> Result<Self, ApiError> {
        typed(known::strip_of(body, &MADE, &[], &[])?)
    }
}

/// A role.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Role")]
pub(super) struct RoleShown {
    #[serde(flatten)]
    base: Base,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    /// Names of its admins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    admins: Vec<String>,
    /// Names of its users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    users: Vec<String>,
}

impl Shape for RoleSpec {
    const KEY: &'static str = "name";

    type Body = RoleBody;
    type Shown = RoleShown;

    async fn spec(_service: &Service, body: RoleBody) -> Result<(String, Self), ApiError> {
        Ok((body.name, role_spec(body.description)))
    }

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> RoleShown {
        let by = named_by(caller, state, RecordKind::Role, &row.name);
        RoleShown {
            base: Base::of(row),
            name: row.name.to_string(),
            description: row.spec.description.clone(),
            admins: by.admins,
            users: by.users,
        }
    }
}
