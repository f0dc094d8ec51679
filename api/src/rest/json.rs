//! A user as SFTPGo's clients read and write it.

use std::collections::BTreeMap;

use flotilla_model::{Account, Filters, Permission, Status, User, UserSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Code};
use crate::service::Service;

/// What a client may send. Fields that we make ourselves are taken and ignored, so that what was read can be sent back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UserBody {
    pub username: String,
    pub status: u8,
    pub email: String,
    pub expiration_date: u64,
    pub password: Option<String>,
    pub public_keys: Vec<String>,
    pub home_dir: String,
    pub uid: u32,
    pub gid: u32,
    pub max_sessions: u32,
    pub quota_size: u64,
    pub quota_files: u64,
    pub permissions: BTreeMap<String, Vec<String>>,
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    pub description: String,
    pub additional_info: String,
    pub filters: FiltersBody,
    pub filesystem: Option<Value>,
    // What follows is ours or not built yet; it must be absent, empty or what we said.
    id: u64,
    has_password: bool,
    used_quota_size: i64,
    used_quota_files: i64,
    last_quota_update: u64,
    created_at: u64,
    updated_at: u64,
    last_login: u64,
    revision: u64,
    upload_data_transfer: u64,
    download_data_transfer: u64,
    total_data_transfer: u64,
    virtual_folders: Vec<Value>,
    groups: Vec<Value>,
    role: String,
}

impl Default for UserBody {
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
            filters: FiltersBody::default(),
            filesystem: None,
            id: 0,
            has_password: false,
            used_quota_size: 0,
            used_quota_files: 0,
            last_quota_update: 0,
            created_at: 0,
            updated_at: 0,
            last_login: 0,
            revision: 0,
            upload_data_transfer: 0,
            download_data_transfer: 0,
            total_data_transfer: 0,
            virtual_folders: Vec::new(),
            groups: Vec::new(),
            role: String::new(),
        }
    }
}

/// The filters that have an effect; others are refused by name rather than ignored.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FiltersBody {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_ip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_login_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_protocols: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_upload_file_size: u64,
    /// Always present on the wire.
    pub hooks: Hooks,
    pub totp_config: Totp,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hooks {
    external_auth_disabled: bool,
    pre_login_disabled: bool,
    check_password_disabled: bool,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Totp {
    #[serde(skip_serializing_if = "is_false")]
    enabled: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl UserBody {
    /// The record that this body asks for. `password_hash` stays empty without a password.
    pub(crate) async fn into_spec(self, service: &Service) -> Result<UserSpec, ApiError> {
        self.refuse_what_is_not_built()?;
        let status = match self.status {
            0 => Status::Disabled,
            1 => Status::Enabled,
            other => return Err(ApiError::invalid(format!("status: {other} is neither 0 nor 1"))),
        };
        let home = if self.home_dir.is_empty() {
            service.default_root(&self.username)?
        } else {
            service.root_of(&self.home_dir)?
        };
        for line in &self.public_keys {
            flotilla_auth::PublicKey::parse_line(line).map_err(|error| ApiError::invalid(format!("public_keys: {error}")))?;
        }
        for network in self.filters.allowed_ip.iter().chain(&self.filters.denied_ip) {
            check_network(network)?;
        }
        let permissions = permissions(&self.permissions)?;
        let password_hash = match self.password.filter(|password| !password.is_empty()) {
            Some(password) => Some(service.hash(password).await?),
            None => None,
        };
        Ok(UserSpec {
            status,
            expiration_date: self.expiration_date,
            password_hash,
            public_keys: self.public_keys,
            home,
            uid: self.uid,
            gid: self.gid,
            max_sessions: self.max_sessions,
            quota_size: self.quota_size,
            quota_files: self.quota_files,
            permissions,
            upload_bandwidth: self.upload_bandwidth,
            download_bandwidth: self.download_bandwidth,
            filters: Filters {
                allowed_ip: self.filters.allowed_ip,
                denied_ip: self.filters.denied_ip,
                denied_login_methods: self.filters.denied_login_methods,
                denied_protocols: self.filters.denied_protocols,
                max_upload_file_size: self.filters.max_upload_file_size,
            },
            email: self.email,
            description: self.description,
            additional_info: self.additional_info,
        })
    }

    /// A setting without effect would be a promise we do not keep.
    fn refuse_what_is_not_built(&self) -> Result<(), ApiError> {
        let provider = self.filesystem.as_ref().and_then(|fs| fs.get("provider")).map_or(Some(0), Value::as_u64);
        let not_built = [
            (provider != Some(0), "filesystem.provider: only 0 (local) is served in this version"),
            (!self.virtual_folders.is_empty(), "virtual_folders are not served in this version"),
            (!self.groups.is_empty(), "groups are not served in this version"),
            (!self.role.is_empty(), "role is not served in this version"),
            (self.filters.totp_config.enabled, "filters.totp_config is not served in this version"),
            (
                self.upload_data_transfer + self.download_data_transfer + self.total_data_transfer > 0,
                "data transfer limits are not served in this version",
            ),
        ];
        match not_built.iter().find(|(asked, _)| *asked) {
            Some((_, text)) => Err(ApiError::new(Code::Invalid, *text)),
            None => Ok(()),
        }
    }
}

fn permissions(body: &BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Vec<Permission>>, ApiError> {
    if body.is_empty() {
        return Err(ApiError::invalid("permissions: give at least those for \"/\", for example {\"/\": [\"*\"]}"));
    }
    let parse = |name: &String| {
        Permission::parse(name).ok_or_else(|| ApiError::invalid(format!("permissions: {name:?} is no permission")))
    };
    body.iter().map(|(path, names)| Ok((path.clone(), names.iter().map(parse).collect::<Result<_, _>>()?))).collect()
}

/// An address or a CIDR network.
fn check_network(text: &str) -> Result<(), ApiError> {
    let bad = || ApiError::invalid(format!("filters: {text:?} is neither an address nor a network like 192.0.2.0/24"));
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: std::net::IpAddr = address.parse().map_err(|_| bad())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(prefix)) if prefix <= longest => Ok(()),
        Some(_) => Err(bad()),
    }
}

/// A user as it is shown: never a hash or a secret.
pub(crate) fn user(service: &Service, user: &User, account: Option<&Account>) -> Value {
    let used = account.map(|account| account.used.at_least_zero()).unwrap_or_default();
    let permissions: BTreeMap<&String, Vec<&str>> =
        user.permissions.iter().map(|(path, held)| (path, held.iter().map(|one| one.name()).collect())).collect();
    let filters = FiltersBody {
        allowed_ip: user.filters.allowed_ip.clone(),
        denied_ip: user.filters.denied_ip.clone(),
        denied_login_methods: user.filters.denied_login_methods.clone(),
        denied_protocols: user.filters.denied_protocols.clone(),
        max_upload_file_size: user.filters.max_upload_file_size,
        ..FiltersBody::default()
    };
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
        "permissions": permissions,
        "used_quota_size": used.bytes,
        "used_quota_files": used.files,
        "upload_bandwidth": user.upload_bandwidth,
        "download_bandwidth": user.download_bandwidth,
        "upload_data_transfer": 0,
        "download_data_transfer": 0,
        "total_data_transfer": 0,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "filters": filters,
        "filesystem": local_filesystem(),
        "revision": user.revision,
    });
    let texts = [("email", &user.email), ("description", &user.description), ("additional_info", &user.additional_info)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        body[name] = json!(text);
    }
    if !user.public_keys.is_empty() {
        body["public_keys"] = json!(user.public_keys);
    }
    body
}

/// All seven objects are always present.
fn local_filesystem() -> Value {
    json!({
        "provider": 0, "osconfig": {}, "s3config": {}, "gcsconfig": {}, "azblobconfig": {}, "cryptconfig": {},
        "sftpconfig": {}, "httpconfig": {},
    })
}
