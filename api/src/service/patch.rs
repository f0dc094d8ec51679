//! A partial change of a user: only the named fields, merged where the log applies it.

use flotilla_model::UserPatch;

use super::input::UserInput;
use super::{Service, checks};
use crate::error::ApiError;

impl Service {
    /// Takes the fields named in `mask` out of `input`. An unknown name is refused, and so is an empty mask.
    pub async fn patch(&self, mask: &[String], input: UserInput) -> Result<UserPatch, ApiError> {
        if mask.is_empty() {
            return Err(ApiError::field("update_mask", "names no field"));
        }
        let mut patch = UserPatch::default();
        let mut password = None;
        let UserInput { permissions, filters, public_keys, .. } = &input;
        for field in mask {
            match field.as_str() {
                "status" => patch.status = Some(checks::status(input.status)?),
                "expiration_date" => patch.expiration_date = Some(input.expiration_date),
                "password" => password = Some(input.password.clone()),
                "public_keys" => patch.public_keys = Some(checks::public_keys(public_keys.clone())?),
                "home_dir" => patch.home = Some(self.root_of(&input.home_dir)?),
                "uid" => patch.uid = Some(checks::id("uid", input.uid)?),
                "gid" => patch.gid = Some(checks::id("gid", input.gid)?),
                "max_sessions" => patch.max_sessions = Some(input.max_sessions),
                "quota_size" => patch.quota_size = Some(input.quota_size),
                "quota_files" => patch.quota_files = Some(input.quota_files),
                "permissions" => patch.permissions = Some(checks::permissions(permissions.clone())?),
                "upload_bandwidth" => patch.upload_bandwidth = Some(input.upload_bandwidth),
                "download_bandwidth" => patch.download_bandwidth = Some(input.download_bandwidth),
                "filters" => patch.filters = Some(checks::filters(filters.clone())?),
                "email" => patch.email = Some(input.email.clone()),
                "description" => patch.description = Some(input.description.clone()),
                "groups" => patch.groups = Some(checks::memberships(&input.groups)?),
                "role" => patch.role = Some(checks::optional_name("role", &input.role)?),
                "additional_info" => patch.additional_info = Some(input.additional_info.clone()),
                other => {
                    return Err(ApiError::field("update_mask", format_args!("{other:?} cannot be changed")));
                }
            }
        }
        if let Some(password) = password {
            patch.password_hash = Some(match password {
                Some(password) => Some(self.hash(password).await?),
                None => None,
            });
        }
        Ok(patch)
    }
}
