//! Admins, groups, folders and roles on the wire: never a hash or a secret.

use flotilla_model as model;

use super::user::{filters, permissions, status};
use crate::admin::v1;

pub fn admin(row: &model::Admin) -> v1::Admin {
    let spec = &row.spec;
    v1::Admin {
        username: row.name.to_string(),
        status: status(spec.status).into(),
        permissions: spec.permissions.clone(),
        email: spec.email.clone(),
        description: spec.description.clone(),
        additional_info: spec.additional_info.clone(),
        role: spec.role.as_ref().map(model::Name::to_string).unwrap_or_default(),
        allow_list: spec.allow_list.clone(),
        allow_api_key_auth: spec.allow_api_key_auth,
        incarnation: row.incarnation,
        revision: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        has_password: spec.password_hash.is_some(),
    }
}

pub fn folder(row: &model::Folder, groups: Vec<String>) -> v1::Folder {
    v1::Folder {
        name: row.name.to_string(),
        mapped_path: row.spec.mapped_path.clone(),
        description: row.spec.description.clone(),
        incarnation: row.incarnation,
        revision: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        groups,
    }
}

pub fn role(row: &model::Role, admins: Vec<String>, users: Vec<String>) -> v1::Role {
    v1::Role {
        name: row.name.to_string(),
        description: row.spec.description.clone(),
        incarnation: row.incarnation,
        revision: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        admins,
        users,
    }
}

pub fn group(row: &model::Group, users: Vec<String>) -> v1::Group {
    let settings = &row.spec.settings;
    let mount = |mount: &model::Mount| v1::Mount {
        name: mount.folder.to_string(),
        virtual_path: mount.virtual_path.clone(),
        quota_size: mount.quota_size,
        quota_files: mount.quota_files,
    };
    v1::Group {
        name: row.name.to_string(),
        description: row.spec.description.clone(),
        user_settings: Some(v1::GroupSettings {
            home_dir: settings.home_dir.clone(),
            max_sessions: settings.max_sessions,
            quota_size: settings.quota_size,
            quota_files: settings.quota_files,
            permissions: settings.permissions.iter().map(|(path, held)| (path.clone(), permissions(held))).collect(),
            upload_bandwidth: settings.upload_bandwidth,
            download_bandwidth: settings.download_bandwidth,
            expires_in: settings.expires_in,
            filters: Some(filters(&settings.filters)),
        }),
        virtual_folders: row.spec.virtual_folders.iter().map(mount).collect(),
        incarnation: row.incarnation,
        revision: row.revision,
        created_at: row.created_at,
        updated_at: row.updated_at,
        users,
    }
}
