//! An admin.

use flotilla_model::{AdminSpec, Kept, State, Status};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::json::known;
use super::super::json::{Nothing, Totp};
use super::super::page::{Received, typed};
use super::{Base, MADE, Shape};
use crate::access::PERMISSIONS;
use crate::error::ApiError;
use crate::service::record_input::AdminInput;
use crate::service::{Caller, Service};

const UNSERVED_FILTERS: [&str; 5] =
    ["totp_config", "recovery_codes", "preferences", "require_two_factor", "require_password_change"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AdminInput", transform = fields)]
pub(crate) struct AdminBody {
    username: String,
    /// 0: disabled, 1: enabled.
    #[schemars(range(max = 1))]
    status: u32,
    /// Plain, or an argon2id hash. Left out in a replacement: the stored one stays.
    password: Option<String>,
    email: String,
    #[schemars(with = "Vec<AdminPermission>")]
    permissions: Vec<String>,
    description: String,
    additional_info: String,
    /// Only users of this role are seen and changed.
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

fn fields(schema: &mut Schema) {
    known::taken(schema, &MADE, &["groups"]);
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AdminFiltersInput", transform = filter_fields)]
struct AdminFiltersBody {
    /// Addresses and networks that the admin may come from; empty: all.
    allow_list: Vec<String>,
    /// Whether an API key that names no admin may act for this one.
    allow_api_key_auth: bool,
}

fn filter_fields(schema: &mut Schema) {
    known::taken(schema, &[], &UNSERVED_FILTERS);
}

/// The name of an admin's permission, for the document.
enum AdminPermission {}

impl JsonSchema for AdminPermission {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AdminPermission".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "enum": PERMISSIONS})
    }
}

impl Received for AdminBody {
    fn receive(body: Value) -> Result<Self, ApiError> {
        typed(known::strip_of(body, &MADE, &["groups"], &UNSERVED_FILTERS)?)
    }
}

/// An admin.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Admin")]
pub(crate) struct AdminShown {
    #[serde(flatten)]
    base: Base,
    username: String,
    status: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
    has_password: bool,
    #[schemars(with = "Vec<AdminPermission>")]
    permissions: Vec<String>,
    filters: AdminFiltersShown,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    additional_info: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AdminFilters")]
struct AdminFiltersShown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_list: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_api_key_auth: bool,
    totp_config: Totp,
    preferences: Nothing,
}

impl Shape for AdminSpec {
    const KEY: &'static str = "username";

    type Body = AdminBody;
    type Shown = AdminShown;

    async fn spec(service: &Service, body: AdminBody) -> Result<(String, Self), ApiError> {
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

    fn show(_caller: &Caller, _state: &State, row: &Kept<Self>) -> AdminShown {
        let spec = &row.spec;
        AdminShown {
            base: Base::of(row),
            username: row.name.to_string(),
            status: u8::from(spec.status == Status::Enabled),
            email: spec.email.clone(),
            has_password: spec.password_hash.is_some(),
            permissions: spec.permissions.clone(),
            filters: AdminFiltersShown {
                allow_list: spec.allow_list.clone(),
                allow_api_key_auth: spec.allow_api_key_auth,
                totp_config: Totp::default(),
                preferences: Nothing::default(),
            },
            description: spec.description.clone(),
            additional_info: spec.additional_info.clone(),
            role: spec.role.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}
