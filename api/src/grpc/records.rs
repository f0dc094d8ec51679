//! `flotilla.admin.v1.Admins`, `Groups`, `Folders` and `Roles`: the same five calls on four kinds of records.

use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, Kept, Name, RecordKind, RoleSpec, Spec, State};
use flotilla_proto::admin::v1;
use flotilla_proto::convert;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, is_stale, page_size, request_id, result};
use crate::error::ApiError;
use crate::service::Caller;
use crate::service::record_input::{
    AdminInput, GroupInput, MountInput, cannot_change, folder_spec, group_spec, role_spec, set_admin_field,
};
use crate::service::records::named_by;

/// The rows of a page and the token of the next one, empty after the last.
fn cut<S: Spec>(mut rows: Vec<std::sync::Arc<Kept<S>>>, size: usize) -> (Vec<std::sync::Arc<Kept<S>>>, String) {
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|row| row.name.to_string()).unwrap_or_default();
    (rows, next)
}

fn page_after(token: &str) -> Result<Option<Name>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    Name::parse(token).map(Some).map_err(|_| ApiError::field("page_token", "not one of ours"))
}

fn mask(paths: Option<flotilla_proto::FieldMask>) -> Result<Vec<String>, ApiError> {
    let paths = paths.unwrap_or_default().paths;
    if paths.is_empty() {
        return Err(ApiError::field("update_mask", "names no field"));
    }
    Ok(paths)
}

macro_rules! records {
    (
        $service:path, $spec:ty, $field:ident, $list_field:ident, $key:ident, $shown:path, $input:ident, $spec_of:ident, $prepare:ident, $set:ident,
        create: $create:ident $create_request:ident, get: $get:ident $get_request:ident $get_response:ident,
        list: $list:ident $list_request:ident $list_response:ident, update: $update:ident $update_request:ident,
        delete: $delete:ident $delete_request:ident $delete_response:ident, change: $change:ident
    ) => {
        #[tonic::async_trait]
        impl $service for Admin {
            async fn $create(&self, request: Request<v1::$create_request>) -> Result<Response<v1::$change>, Status> {
                let caller = caller(&request)?;
                let request = request.into_inner();
                let id = request_id(&request.request_id)?;
                let input = self.$input(&request)?;
                let record = request.$field.unwrap_or_default();
                let name = Name::parse(&record.$key).map_err(ApiError::from)?;
                let spec = self.$spec_of(input).await?;
                let (changed, state, row) = self.service.create_record::<$spec>(&caller, id, name, spec).await?;
                let $field = Some($shown(&caller, &state, &row));
                Ok(answer(changed.index, v1::$change { $field, result: Some(result(&changed)) }))
            }

            async fn $get(&self, request: Request<v1::$get_request>) -> Result<Response<v1::$get_response>, Status> {
                let caller = caller(&request)?;
                let request = request.into_inner();
                let stale = is_stale(request.consistency)?;
                let (state, row) = self.service.record::<$spec>(&caller, &request.$key, stale).await?;
                let log_index = state.applied_index();
                Ok(answer(log_index, v1::$get_response { $field: Some($shown(&caller, &state, &row)), log_index }))
            }

            async fn $list(&self, request: Request<v1::$list_request>) -> Result<Response<v1::$list_response>, Status> {
                let caller = caller(&request)?;
                let page = request.into_inner().page.unwrap_or_default();
                let (after, size) = (page_after(&page.token)?, page_size(page.size)?);
                let stale = is_stale(page.consistency)?;
                let (state, rows) =
                    self.service.records_after::<$spec>(&caller, after.as_ref(), size + 1, stale).await?;
                let (rows, next_page_token) = cut(rows, size);
                let log_index = state.applied_index();
                let $list_field = rows.iter().map(|row| $shown(&caller, &state, row)).collect();
                Ok(answer(log_index, v1::$list_response { $list_field, next_page_token, log_index }))
            }

            async fn $update(&self, request: Request<v1::$update_request>) -> Result<Response<v1::$change>, Status> {
                let caller = caller(&request)?;
                let request = request.into_inner();
                let id = request_id(&request.request_id)?;
                let mask = mask(request.update_mask.clone())?;
                let expected = request.expected_revision;
                let name = request.$field.as_ref().map(|record| record.$key.clone()).unwrap_or_default();
                let name = Name::parse(&name).map_err(ApiError::from)?;
                let wanted = self.$prepare(&request, &mask).await?;
                let edit = |spec: &mut $spec| mask.iter().try_for_each(|field| $set(spec, &wanted, field));
                let changed = self.service.edit_record(&caller, id, &name, expected, edit).await?;
                let state = self.service.local_state();
                let $field = state.kept::<$spec>(&name).map(|row| $shown(&caller, &state, row));
                Ok(answer(changed.index, v1::$change { $field, result: Some(result(&changed)) }))
            }

            async fn $delete(
                &self,
                request: Request<v1::$delete_request>,
            ) -> Result<Response<v1::$delete_response>, Status> {
                let caller = caller(&request)?;
                let request = request.into_inner();
                let id = request_id(&request.request_id)?;
                let name = Name::parse(&request.$key).map_err(ApiError::from)?;
                let expected = request.expected_revision;
                let changed = self.service.delete_record::<$spec>(&caller, id, name, expected).await?;
                Ok(answer(changed.index, v1::$delete_response { result: Some(result(&changed)) }))
            }
        }
    };
}

records!(
    v1::admins_server::Admins, AdminSpec, admin, admins, username, shown_admin, admin_created, admin_spec, admin_changed, set_admin,
    create: create_admin CreateAdminRequest, get: get_admin GetAdminRequest GetAdminResponse,
    list: list_admins ListAdminsRequest ListAdminsResponse, update: update_admin UpdateAdminRequest,
    delete: delete_admin DeleteAdminRequest DeleteAdminResponse, change: AdminChange
);
records!(
    v1::groups_server::Groups, GroupSpec, group, groups, name, shown_group, group_created, ready_spec, group_changed, set_group,
    create: create_group CreateGroupRequest, get: get_group GetGroupRequest GetGroupResponse,
    list: list_groups ListGroupsRequest ListGroupsResponse, update: update_group UpdateGroupRequest,
    delete: delete_group DeleteGroupRequest DeleteGroupResponse, change: GroupChange
);
records!(
    v1::folders_server::Folders, FolderSpec, folder, folders, name, shown_folder, folder_created, ready_spec, folder_changed, set_folder,
    create: create_folder CreateFolderRequest, get: get_folder GetFolderRequest GetFolderResponse,
    list: list_folders ListFoldersRequest ListFoldersResponse, update: update_folder UpdateFolderRequest,
    delete: delete_folder DeleteFolderRequest DeleteFolderResponse, change: FolderChange
);
records!(
    v1::roles_server::Roles, RoleSpec, role, roles, name, shown_role, role_created, ready_spec, role_changed, set_role,
    create: create_role CreateRoleRequest, get: get_role GetRoleRequest GetRoleResponse,
    list: list_roles ListRolesRequest ListRolesResponse, update: update_role UpdateRoleRequest,
    delete: delete_role DeleteRoleRequest DeleteRoleResponse, change: RoleChange
);

fn shown_admin(_caller: &Caller, _state: &State, row: &Kept<AdminSpec>) -> v1::Admin {
    convert::admin(row)
}

fn shown_group(caller: &Caller, state: &State, row: &Kept<GroupSpec>) -> v1::Group {
    convert::group(row, named_by(caller, state, RecordKind::Group, &row.name).users)
}

fn shown_folder(caller: &Caller, state: &State, row: &Kept<FolderSpec>) -> v1::Folder {
    convert::folder(row, named_by(caller, state, RecordKind::Folder, &row.name).groups)
}

fn shown_role(caller: &Caller, state: &State, row: &Kept<RoleSpec>) -> v1::Role {
    let by = named_by(caller, state, RecordKind::Role, &row.name);
    convert::role(row, by.admins, by.users)
}

impl Admin {
    async fn admin_spec(&self, input: AdminInput) -> Result<AdminSpec, ApiError> {
        self.service.admin_spec(input).await
    }

    async fn ready_spec<S>(&self, spec: S) -> Result<S, ApiError> {
        Ok(spec)
    }

    fn admin_created(&self, request: &v1::CreateAdminRequest) -> Result<AdminInput, ApiError> {
        let admin = request.admin.clone().ok_or_else(|| ApiError::field("admin", "missing"))?;
        admin_input(admin, request.password.clone())
    }

    /// With the hash of the new password, if that is one of the fields.
    async fn admin_changed(
        &self,
        request: &v1::UpdateAdminRequest,
        mask: &[String],
    ) -> Result<(AdminInput, Option<String>), ApiError> {
        let admin = request.admin.clone().ok_or_else(|| ApiError::field("admin", "missing"))?;
        let input = admin_input(admin, None)?;
        if !mask.iter().any(|field| field == "password") {
            return Ok((input, None));
        }
        let hash = self.service.admin_hash(request.password.clone()).await?;
        hash.map(|hash| (input, Some(hash))).ok_or_else(|| ApiError::field("password", "it is empty"))
    }

    fn group_created(&self, request: &v1::CreateGroupRequest) -> Result<GroupSpec, ApiError> {
        group_spec(group_input(request.group.clone().unwrap_or_default()))
    }

    async fn group_changed(&self, request: &v1::UpdateGroupRequest, _mask: &[String]) -> Result<GroupSpec, ApiError> {
        group_spec(group_input(request.group.clone().unwrap_or_default()))
    }

    fn folder_created(&self, request: &v1::CreateFolderRequest) -> Result<FolderSpec, ApiError> {
        let folder = request.folder.clone().unwrap_or_default();
        folder_spec(folder.mapped_path, folder.description)
    }

    async fn folder_changed(&self, request: &v1::UpdateFolderRequest, mask: &[String]) -> Result<FolderSpec, ApiError> {
        let folder = request.folder.clone().unwrap_or_default();
        let asked = mask.iter().any(|field| field == "mapped_path");
        folder_spec(if asked { folder.mapped_path } else { "/".to_owned() }, folder.description)
    }

    fn role_created(&self, request: &v1::CreateRoleRequest) -> Result<RoleSpec, ApiError> {
        Ok(role_spec(request.role.clone().unwrap_or_default().description))
    }

    async fn role_changed(&self, request: &v1::UpdateRoleRequest, _mask: &[String]) -> Result<RoleSpec, ApiError> {
        Ok(role_spec(request.role.clone().unwrap_or_default().description))
    }
}

fn set_admin(spec: &mut AdminSpec, wanted: &(AdminInput, Option<String>), field: &str) -> Result<(), ApiError> {
    if field == "password" {
        spec.password_hash.clone_from(&wanted.1);
        return Ok(());
    }
    set_admin_field(spec, &wanted.0, field)
}

fn set_group(spec: &mut GroupSpec, wanted: &GroupSpec, field: &str) -> Result<(), ApiError> {
    match field {
        "description" => spec.description.clone_from(&wanted.description),
        "user_settings" => spec.settings.clone_from(&wanted.settings),
        "virtual_folders" => spec.virtual_folders.clone_from(&wanted.virtual_folders),
        other => return Err(cannot_change(other)),
    }
    Ok(())
}

fn set_folder(spec: &mut FolderSpec, wanted: &FolderSpec, field: &str) -> Result<(), ApiError> {
    match field {
        "mapped_path" => spec.mapped_path.clone_from(&wanted.mapped_path),
        "description" => spec.description.clone_from(&wanted.description),
        other => return Err(cannot_change(other)),
    }
    Ok(())
}

fn set_role(spec: &mut RoleSpec, wanted: &RoleSpec, field: &str) -> Result<(), ApiError> {
    match field {
        "description" => spec.description.clone_from(&wanted.description),
        other => return Err(cannot_change(other)),
    }
    Ok(())
}

fn admin_input(admin: v1::Admin, password: Option<String>) -> Result<AdminInput, ApiError> {
    Ok(AdminInput {
        status: super::reply::status(admin.status)?,
        password,
        permissions: admin.permissions,
        email: admin.email,
        description: admin.description,
        additional_info: admin.additional_info,
        role: admin.role,
        allow_list: admin.allow_list,
        allow_api_key_auth: admin.allow_api_key_auth,
    })
}

fn group_input(group: v1::Group) -> GroupInput {
    let settings = group.user_settings.unwrap_or_default();
    let mount = |mount: v1::Mount| MountInput {
        name: mount.name,
        virtual_path: mount.virtual_path,
        quota_size: mount.quota_size,
        quota_files: mount.quota_files,
    };
    GroupInput {
        description: group.description,
        home_dir: settings.home_dir,
        max_sessions: settings.max_sessions,
        quota_size: settings.quota_size,
        quota_files: settings.quota_files,
        permissions: settings.permissions.into_iter().map(|(path, held)| (path, held.names)).collect(),
        upload_bandwidth: settings.upload_bandwidth,
        download_bandwidth: settings.download_bandwidth,
        expires_in: settings.expires_in,
        filters: convert::filters_from(settings.filters),
        mounts: group.virtual_folders.into_iter().map(mount).collect(),
    }
}
