//! Admins, groups, folders and roles as SFTPGo's clients read and write them.

use std::collections::BTreeMap;

use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, Kept, Mount, RecordKind, RoleSpec, State, Status};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::{FiltersBody, filters_shown, known, local_filesystem, permissions_shown};
use super::page::typed;
use crate::error::ApiError;
use crate::service::record_input::{AdminInput, GroupInput, MountInput, folder_spec, group_spec, role_spec};
use crate::service::records::{Administered, named_by};
use crate::service::{Caller, Service};

/// How a kind of record looks in JSON.
pub(super) trait Shape: Administered {
    /// The field that names it.
    const KEY: &'static str;
    const WORD: &'static str;
    const PATH: &'static str;

    /// The name, which may be absent in a replacement, and what is said.
    fn read(service: &Service, body: Value) -> impl Future<Output = Result<(String, Self), ApiError>> + Send;
    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> Value;
}

/// Made by the server: taken and dropped, so that what was read can be sent back.
const MADE: [&str; 9] =
    ["id", "created_at", "updated_at", "last_login", "revision", "has_password", "users", "admins", "used_quota"];

fn base<S: Shape>(row: &Kept<S>) -> Map<String, Value> {
    let body = json!({
        "id": row.incarnation,
        S::KEY: row.name.as_str(),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "revision": row.revision,
    });
    let Value::Object(body) = body else { unreachable!("an object was made") };
    body
}

/// Texts and lists are left out while empty.
fn set(body: &mut Map<String, Value>, name: &str, value: Value) {
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if !empty {
        body.insert(name.to_owned(), value);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminBody {
    username: String,
    status: u32,
    password: Option<String>,
    email: String,
    permissions: Vec<String>,
    description: String,
    additional_info: String,
    role: String,
    filters: AdminFiltersBody,
}

impl Default for AdminBody {
    /// As for users: a zero is easily left out by mistake.
    fn default() -> Self {
        AdminBody {
            username: String::new(),
            status: 1,
            password: None,
            email: String::new(),
            permissions: Vec::new(),
            description: String::new(),
            additional_info: String::new(),
            role: String::new(),
            filters: AdminFiltersBody::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminFiltersBody {
    allow_list: Vec<String>,
    allow_api_key_auth: bool,
}

impl Shape for AdminSpec {
    const KEY: &'static str = "username";
    const WORD: &'static str = "Admin";
    const PATH: &'static str = "admins";

    async fn read(service: &Service, body: Value) -> Result<(String, Self), ApiError> {
        let filters = ["totp_config", "recovery_codes", "preferences", "require_two_factor", "require_password_change"];
        let body: AdminBody = typed(known::strip_of(body, &MADE, &["groups"], &filters)?)?;
        let input = AdminInput {
            status: body.status,
            password: body.password,
            permissions: body.permissions,
            email: body.email,
            description: body.description,
            additional_info: body.additional_info,
            role: body.role,
            allow_list: body.filters.allow_list,
            allow_api_key_auth: body.filters.allow_api_key_auth,
        };
        Ok((body.username, service.admin_spec(input).await?))
    }

    fn show(_caller: &Caller, _state: &State, row: &Kept<Self>) -> Value {
        let (spec, mut body) = (&row.spec, base(row));
        body.insert("status".into(), json!(u8::from(spec.status == Status::Enabled)));
        body.insert("permissions".into(), json!(spec.permissions));
        body.insert("has_password".into(), json!(spec.password_hash.is_some()));
        let mut filters = Map::new();
        set(&mut filters, "allow_list", json!(spec.allow_list));
        if spec.allow_api_key_auth {
            filters.insert("allow_api_key_auth".into(), json!(true));
        }
        filters.insert("totp_config".into(), json!({"enabled": false}));
        filters.insert("preferences".into(), json!({}));
        body.insert("filters".into(), Value::Object(filters));
        for (name, text) in
            [("email", &spec.email), ("description", &spec.description), ("additional_info", &spec.additional_info)]
        {
            set(&mut body, name, json!(text));
        }
        set(&mut body, "role", json!(spec.role.as_ref().map(|role| role.as_str())));
        Value::Object(body)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FolderBody {
    name: String,
    mapped_path: String,
    description: String,
}

impl Shape for FolderSpec {
    const KEY: &'static str = "name";
    const WORD: &'static str = "Folder";
    const PATH: &'static str = "folders";

    async fn read(_service: &Service, mut body: Value) -> Result<(String, Self), ApiError> {
        known::local_only(body.get("filesystem"), "filesystem.provider")?;
        if let Value::Object(fields) = &mut body {
            for made in ["filesystem", "groups", "used_quota_size", "used_quota_files", "last_quota_update"] {
                fields.remove(made);
            }
        }
        let body: FolderBody = typed(known::strip_of(body, &MADE, &[], &[])?)?;
        Ok((body.name, folder_spec(body.mapped_path, body.description)?))
    }

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> Value {
        let mut body = base(row);
        body.insert("mapped_path".into(), json!(row.spec.mapped_path));
        set(&mut body, "description", json!(row.spec.description));
        for counted in ["used_quota_size", "used_quota_files", "last_quota_update"] {
            body.insert(counted.into(), json!(0));
        }
        set(&mut body, "groups", json!(named_by(caller, state, RecordKind::Folder, &row.name).groups));
        body.insert("filesystem".into(), local_filesystem());
        Value::Object(body)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RoleBody {
    name: String,
    description: String,
}

impl Shape for RoleSpec {
    const KEY: &'static str = "name";
    const WORD: &'static str = "Role";
    const PATH: &'static str = "roles";

    async fn read(_service: &Service, body: Value) -> Result<(String, Self), ApiError> {
        let body: RoleBody = typed(known::strip_of(body, &MADE, &[], &[])?)?;
        Ok((body.name, role_spec(body.description)))
    }

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> Value {
        let (mut body, by) = (base(row), named_by(caller, state, RecordKind::Role, &row.name));
        set(&mut body, "description", json!(row.spec.description));
        set(&mut body, "admins", json!(by.admins));
        set(&mut body, "users", json!(by.users));
        Value::Object(body)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GroupBody {
    name: String,
    description: String,
    user_settings: Value,
    virtual_folders: Option<Vec<MountBody>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsBody {
    home_dir: String,
    max_sessions: u32,
    quota_size: u64,
    quota_files: u64,
    permissions: BTreeMap<String, Vec<String>>,
    upload_bandwidth: u64,
    download_bandwidth: u64,
    expires_in: u32,
    filters: FiltersBody,
}

/// A mounted folder; what is said of the folder itself is the folder's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MountBody {
    name: String,
    virtual_path: String,
    quota_size: i64,
    quota_files: i64,
}

impl Shape for GroupSpec {
    const KEY: &'static str = "name";
    const WORD: &'static str = "Group";
    const PATH: &'static str = "groups";

    async fn read(_service: &Service, body: Value) -> Result<(String, Self), ApiError> {
        let body: GroupBody = typed(known::strip_of(body, &MADE, &[], &[])?)?;
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

    fn show(caller: &Caller, state: &State, row: &Kept<Self>) -> Value {
        let (settings, mut body) = (&row.spec.settings, base(row));
        set(&mut body, "description", json!(row.spec.description));
        let mut shown = json!({
            "max_sessions": settings.max_sessions,
            "quota_size": settings.quota_size,
            "quota_files": settings.quota_files,
            "upload_bandwidth": settings.upload_bandwidth,
            "download_bandwidth": settings.download_bandwidth,
            "upload_data_transfer": 0,
            "download_data_transfer": 0,
            "total_data_transfer": 0,
            "expires_in": settings.expires_in,
            "filters": filters_shown(&settings.filters),
            "filesystem": local_filesystem(),
        });
        if let Value::Object(shown) = &mut shown {
            set(shown, "home_dir", json!(settings.home_dir));
            if !settings.permissions.is_empty() {
                shown.insert("permissions".into(), permissions_shown(&settings.permissions));
            }
        }
        body.insert("user_settings".into(), shown);
        let mounts: Vec<Value> = row.spec.virtual_folders.iter().map(|one| mounted(caller, state, one)).collect();
        set(&mut body, "virtual_folders", json!(mounts));
        set(&mut body, "users", json!(named_by(caller, state, RecordKind::Group, &row.name).users));
        Value::Object(body)
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

fn mounted(caller: &Caller, state: &State, mount: &Mount) -> Value {
    let mut body = match state.kept::<FolderSpec>(&mount.folder) {
        Some(folder) => FolderSpec::show(caller, state, folder),
        None => json!({"name": mount.folder.as_str()}),
    };
    body["virtual_path"] = json!(mount.virtual_path);
    body["quota_size"] = json!(mount.quota_size);
    body["quota_files"] = json!(mount.quota_files);
    body
}
