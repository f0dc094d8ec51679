//! A user as a caller describes it, whatever the interface: unchecked, with the names of the wire.

use std::collections::BTreeMap;

use flotilla_model::{Filters, UserSpec, Username};

use super::{Service, checks};
use crate::error::ApiError;

/// Creation and full replacement. Lengths and counts are apply's to judge.
#[derive(Clone, Debug, Default)]
pub struct UserInput {
    /// 0 or 1.
    pub status: u32,
    pub expiration_date: u64,
    pub password: Option<String>,
    pub public_keys: Vec<String>,
    /// Empty: below the first storage, named like the user.
    pub home_dir: String,
    pub uid: u32,
    pub gid: u32,
    pub max_sessions: u32,
    pub quota_size: u64,
    pub quota_files: u64,
    pub permissions: BTreeMap<String, Vec<String>>,
    pub upload_bandwidth: u64,
    pub download_bandwidth: u64,
    pub filters: Filters,
    pub email: String,
    pub description: String,
    pub additional_info: String,
    /// Name and SFTPGo's `type`.
    pub groups: Vec<(String, u32)>,
    /// Empty: none.
    pub role: String,
}

impl Service {
    /// Checks everything, then hashes the password, which costs most.
    pub async fn spec(&self, username: &Username, input: UserInput) -> Result<UserSpec, ApiError> {
        let home = if input.home_dir.is_empty() {
            self.default_root(username.as_str())?
        } else {
            self.root_of(&input.home_dir)?
        };
        let mut spec = UserSpec {
            status: checks::status(input.status)?,
            expiration_date: input.expiration_date,
            password_hash: None,
            public_keys: checks::public_keys(input.public_keys)?,
            home,
            uid: checks::id("uid", input.uid)?,
            gid: checks::id("gid", input.gid)?,
            max_sessions: input.max_sessions,
            quota_size: input.quota_size,
            quota_files: input.quota_files,
            permissions: checks::permissions(input.permissions)?,
            upload_bandwidth: input.upload_bandwidth,
            download_bandwidth: input.download_bandwidth,
            filters: checks::filters(input.filters)?,
            email: input.email,
            description: input.description,
            additional_info: input.additional_info,
            groups: checks::memberships(&input.groups)?,
            role: checks::optional_name("role", &input.role)?,
        };
        if let Some(password) = input.password.filter(|password| !password.is_empty()) {
            spec.password_hash = Some(self.hash(password).await?);
        }
        Ok(spec)
    }
}
