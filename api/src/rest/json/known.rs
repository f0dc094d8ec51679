//! SFTPGo's fields of a user that have no effect here: what the server itself makes is dropped, so that what was read can
//! be sent back; what is not served in this version is taken while empty and refused by name when set.

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// Made by the server.
const MADE: [&str; 17] = [
    "id",
    "has_password",
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "used_upload_data_transfer",
    "used_download_data_transfer",
    "last_login",
    "created_at",
    "updated_at",
    "first_download",
    "first_upload",
    "last_password_change",
    "oidc_custom_fields",
    "revision",
    // Of the addition to an answer that ended sessions.
    "unconfirmed_nodes",
    // Read below.
    "filesystem",
];

/// A setting without effect would be a promise that is not kept.
const UNSERVED: [&str; 4] =
    ["virtual_folders", "upload_data_transfer", "download_data_transfer", "total_data_transfer"];

const UNSERVED_FILTERS: [&str; 25] = [
    "file_patterns",
    "tls_username",
    "tls_certs",
    "hooks",
    "disable_fs_checks",
    "web_client",
    "allow_api_key_auth",
    "user_type",
    "bandwidth_limits",
    "external_auth_cache_time",
    "start_directory",
    "two_factor_protocols",
    // Names of earlier versions, which the client on PyPI still sends.
    "2fa_protocols",
    "data_transfer_limits",
    "ftp_security",
    "is_anonymous",
    "default_shares_expiration",
    "max_shares_expiration",
    "password_expiration",
    "password_strength",
    "access_time",
    "require_password_change",
    "additional_emails",
    "totp_config",
    "recovery_codes",
];

/// Adds to a schema what `strip` takes.
pub(crate) fn of_users(schema: &mut Schema) {
    taken(schema, &MADE, &UNSERVED);
}

pub(crate) fn of_filters(schema: &mut Schema) {
    taken(schema, &[], &UNSERVED_FILTERS);
}

/// What `strip_of` takes beside the fields of the type. Null is as good as absent.
pub(crate) fn taken(schema: &mut Schema, made: &[&str], unserved: &[&str]) {
    let Some(fields) = schema.ensure_object().get_mut("properties").and_then(Value::as_object_mut) else { return };
    for field in fields.values_mut() {
        let bare = field.take();
        *field = json!({"anyOf": [bare, {"type": "null"}]});
    }
    for name in made {
        fields.entry(*name).or_insert_with(|| json!({"description": "Made by the server: taken and dropped."}));
    }
    for name in unserved {
        fields.entry(*name).or_insert_with(|| json!({"description": "Not served in this version: refused when set."}));
    }
}

/// Leaves the fields that have an effect, and those that nobody knows.
pub(crate) fn strip(body: Value) -> Result<Value, ApiError> {
    local_only(body.get("filesystem"), "filesystem.provider")?;
    strip_of(body, &MADE, &UNSERVED, &UNSERVED_FILTERS)
}

/// As `strip`, of a record with other names: made by the server, unserved, unserved within `filters`.
pub(crate) fn strip_of(
    body: Value,
    made: &[&str],
    unserved: &[&str],
    unserved_filters: &[&str],
) -> Result<Value, ApiError> {
    let Value::Object(mut fields) = body else { return Err(ApiError::invalid("body: not a JSON object")) };
    fields.retain(|name, value| !value.is_null() && !made.contains(&name.as_str()));
    drop_empty(&mut fields, "", unserved)?;
    match fields.get_mut("filters") {
        None => {}
        Some(Value::Object(filters)) => {
            filters.retain(|_, value| !value.is_null());
            drop_empty(filters, "filters.", unserved_filters)?;
        }
        // A list would be taken for the fields in their order.
        Some(_) => return Err(ApiError::field("filters", "not a JSON object")),
    }
    Ok(Value::Object(fields))
}

/// A file system that is not served would be another place for files.
pub(crate) fn local_only(filesystem: Option<&Value>, field: &str) -> Result<(), ApiError> {
    let provider = filesystem.and_then(|filesystem| filesystem.get("provider"));
    match provider {
        None | Some(Value::Null) => Ok(()),
        Some(provider) if provider.as_u64() == Some(0) => Ok(()),
        Some(_) => Err(ApiError::field(field, "only 0 (local) is served in this version")),
    }
}

fn drop_empty(object: &mut Map<String, Value>, prefix: &str, names: &[&str]) -> Result<(), ApiError> {
    for name in names {
        if let Some(value) = object.remove(*name)
            && !is_empty(&value)
        {
            return Err(ApiError::field(format!("{prefix}{name}"), "not served in this version"));
        }
    }
    Ok(())
}

/// What Go's encoder writes for a value nobody set; `None` is `tls_username`'s word for it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "None",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}
