//! A user on the wire: never a hash or a secret.

use flotilla_model as model;

use crate::admin::v1;

/// `home_dir` is the root as this node's absolute path.
pub fn user(user: &model::User, account: Option<&model::Account>, home_dir: String) -> v1::User {
    let used = account.map(|account| account.used.at_least_zero()).unwrap_or_default();
    v1::User {
        username: user.username.to_string(),
        status: status(user.status) as i32,
        expiration_date: user.expiration_date,
        public_keys: user.public_keys.clone(),
        home_dir,
        uid: user.uid,
        gid: user.gid,
        max_sessions: user.max_sessions,
        quota_size: user.quota_size,
        quota_files: user.quota_files,
        permissions: user.permissions.iter().map(|(path, held)| (path.clone(), permissions(held))).collect(),
        upload_bandwidth: user.upload_bandwidth,
        download_bandwidth: user.download_bandwidth,
        filters: Some(filters(&user.filters)),
        email: user.email.clone(),
        description: user.description.clone(),
        additional_info: user.additional_info.clone(),
        groups: user.groups.iter().map(membership).collect(),
        role: user.role.as_ref().map(model::Name::to_string).unwrap_or_default(),
        has_password: user.password_hash.is_some(),
        incarnation: user.incarnation,
        revision: user.revision,
        used_quota_size: used.bytes.unsigned_abs(),
        used_quota_files: used.files.unsigned_abs(),
        created_at: user.created_at,
        updated_at: user.updated_at,
    }
}

pub(super) fn status(status: model::Status) -> v1::UserStatus {
    match status {
        model::Status::Disabled => v1::UserStatus::Disabled,
        model::Status::Enabled => v1::UserStatus::Enabled,
    }
}

pub(super) fn permissions(held: &[model::Permission]) -> v1::Permissions {
    v1::Permissions { names: held.iter().map(|one| one.name().to_owned()).collect() }
}

pub(super) fn filters(filters: &model::Filters) -> v1::Filters {
    v1::Filters {
        allowed_ip: filters.allowed_ip.clone(),
        denied_ip: filters.denied_ip.clone(),
        denied_login_methods: filters.denied_login_methods.clone(),
        denied_protocols: filters.denied_protocols.clone(),
        max_upload_file_size: filters.max_upload_file_size,
    }
}

fn membership(member: &model::MemberOf) -> v1::GroupMembership {
    let kind = match member.membership {
        model::Membership::Primary => 1,
        model::Membership::Secondary => 2,
        model::Membership::Plain => 3,
    };
    v1::GroupMembership { name: member.group.to_string(), r#type: kind }
}

/// Absent filters are none.
pub fn filters_from(filters: Option<v1::Filters>) -> model::Filters {
    let filters = filters.unwrap_or_default();
    model::Filters {
        allowed_ip: filters.allowed_ip,
        denied_ip: filters.denied_ip,
        denied_login_methods: filters.denied_login_methods,
        denied_protocols: filters.denied_protocols,
        max_upload_file_size: filters.max_upload_file_size,
    }
}
