//! `flotilla group …`, `flotilla folder …`, `flotilla role …`: the same five verbs on three kinds of records.

use clap::{Args, Subcommand};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};
use super::size;

macro_rules! noun {
    (
        $command:ident, $fields:ident, $run:ident, $word:literal, $message:ident, $field:ident, $rows:ident, $client:ident, $columns:expr, $shown:ident,
        $create:ident $create_request:ident, $get:ident $get_request:ident, $list:ident $list_request:ident,
        $update:ident $update_request:ident, $delete:ident $delete_request:ident
    ) => {
        #[derive(Subcommand, Clone, Debug)]
        pub enum $command {
            /// Creates it.
            Add {
                name: String,
                #[command(flatten)]
                fields: $fields,
            },
            /// Lists all in order of name.
            List,
            /// Shows one.
            Show { name: String },
            /// Changes what is given.
            Update {
                name: String,
                #[command(flatten)]
                fields: $fields,
                /// Only if the record still has this revision.
                #[arg(long)]
                expected_revision: Option<u64>,
            },
            /// Deletes it, if no other record names it.
            Remove {
                name: String,
                #[arg(long)]
                expected_revision: Option<u64>,
            },
        }

        pub(super) async fn $run(client: &Client, command: $command) -> Result<Output, Failure> {
            let request_id = client.request_id.clone();
            match command {
                $command::Add { name, fields } => {
                    let mut record = v1::$message { name: name.clone(), ..Default::default() };
                    fields.apply(&mut record, &mut Vec::new())?;
                    let request = v1::$create_request { $field: Some(record), request_id };
                    let answer = client.changed(client.$client().$create(request).await)?;
                    let output = Output::changed(&format!(concat!($word, " {} is created"), name), answer.result);
                    let row = $shown(&answer.$field.unwrap_or_default());
                    Ok(output.with(Data::Drawn(row, String::new())))
                }
                $command::List => {
                    let (mut rows, mut token) = (Vec::new(), String::new());
                    loop {
                        let page = Some(v1::Page { size: 1000, token, consistency: 0 });
                        let page = client.$client().$list(v1::$list_request { page }).await?.into_inner();
                        rows.extend(page.$rows.iter().map($shown));
                        if page.next_page_token.is_empty() {
                            return Ok(Output::many($columns, rows));
                        }
                        token = page.next_page_token;
                    }
                }
                $command::Show { name } => {
                    let request = v1::$get_request { name, consistency: 0 };
                    let row = client.$client().$get(request).await?.into_inner().$field;
                    Ok(Output::one($shown(&row.unwrap_or_default())))
                }
                $command::Update { name, fields, expected_revision } => {
                    let current = v1::$get_request { name: name.clone(), consistency: 0 };
                    let current = client.$client().$get(current).await?.into_inner().$field.unwrap_or_default();
                    let expected_revision = expected_revision.or(Some(current.revision));
                    let (mut record, mut paths) = (current, Vec::new());
                    fields.apply(&mut record, &mut paths)?;
                    if paths.is_empty() {
                        return Err(Failure::usage("nothing to change: give an option, `--help` lists them"));
                    }
                    let request = v1::$update_request {
                        $field: Some(record),
                        update_mask: Some(FieldMask { paths }),
                        expected_revision,
                        request_id,
                    };
                    let answer = client.changed(client.$client().$update(request).await)?;
                    let output = Output::changed(&format!(concat!($word, " {} is updated"), name), answer.result);
                    let row = $shown(&answer.$field.unwrap_or_default());
                    Ok(output.with(Data::Drawn(row, String::new())))
                }
                $command::Remove { name, expected_revision } => {
                    let request = v1::$delete_request { name: name.clone(), expected_revision, request_id };
                    let answer = client.changed(client.$client().$delete(request).await)?;
                    Ok(Output::changed(&format!(concat!($word, " {} is deleted"), name), answer.result))
                }
            }
        }
    };
}

noun!(
    GroupCommand, GroupFields, group, "group", Group, group, groups, groups,
    &["name", "description", "virtual_folders", "users", "revision"], shown_group,
    create_group CreateGroupRequest, get_group GetGroupRequest, list_groups ListGroupsRequest,
    update_group UpdateGroupRequest, delete_group DeleteGroupRequest
);
noun!(
    FolderCommand, FolderFields, folder, "folder", Folder, folder, folders, folders,
    &["name", "mapped_path", "description", "groups", "revision"], shown_folder,
    create_folder CreateFolderRequest, get_folder GetFolderRequest, list_folders ListFoldersRequest,
    update_folder UpdateFolderRequest, delete_folder DeleteFolderRequest
);
noun!(
    RoleCommand, RoleFields, role, "role", Role, role, roles, roles,
    &["name", "description", "admins", "users", "revision"], shown_role,
    create_role CreateRoleRequest, get_role GetRoleRequest, list_roles ListRolesRequest,
    update_role UpdateRoleRequest, delete_role DeleteRoleRequest
);

#[derive(Args, Clone, Debug, Default)]
pub struct RoleFields {
    #[arg(long)]
    description: Option<String>,
}

impl RoleFields {
    fn apply(self, role: &mut v1::Role, mask: &mut Vec<String>) -> Result<(), Failure> {
        describe(self.description, &mut role.description, mask);
        Ok(())
    }
}

#[derive(Args, Clone, Debug, Default)]
pub struct FolderFields {
    /// Absolute path on the nodes.
    #[arg(long)]
    mapped_path: Option<String>,
    #[arg(long)]
    description: Option<String>,
}

impl FolderFields {
    fn apply(self, folder: &mut v1::Folder, mask: &mut Vec<String>) -> Result<(), Failure> {
        if let Some(path) = self.mapped_path {
            folder.mapped_path = path;
            mask.push("mapped_path".to_owned());
        }
        describe(self.description, &mut folder.description, mask);
        Ok(())
    }
}

/// Settings are those of the group's members; what is not given stays.
#[derive(Args, Clone, Debug, Default)]
pub struct GroupFields {
    #[arg(long)]
    description: Option<String>,
    /// May hold %username% and %role%.
    #[arg(long)]
    home_dir: Option<String>,
    #[arg(long)]
    max_sessions: Option<u32>,
    /// Bytes, or with a unit: 10MiB; 0 = none.
    #[arg(long, value_parser = size::parse)]
    quota_size: Option<u64>,
    #[arg(long)]
    quota_files: Option<u64>,
    /// KB/s; 0 = none.
    #[arg(long)]
    upload_bandwidth: Option<u64>,
    /// KB/s; 0 = none.
    #[arg(long)]
    download_bandwidth: Option<u64>,
    /// FOLDER=PATH: a folder and where it is shown; repeat for more. Replaces those there are.
    #[arg(long = "mount", value_name = "FOLDER=PATH")]
    mounts: Vec<String>,
}

impl GroupFields {
    fn apply(self, group: &mut v1::Group, mask: &mut Vec<String>) -> Result<(), Failure> {
        describe(self.description, &mut group.description, mask);
        let settings = group.user_settings.get_or_insert_default();
        let before = settings.clone();
        settings.home_dir = self.home_dir.unwrap_or_else(|| before.home_dir.clone());
        settings.max_sessions = self.max_sessions.unwrap_or(before.max_sessions);
        settings.quota_size = self.quota_size.unwrap_or(before.quota_size);
        settings.quota_files = self.quota_files.unwrap_or(before.quota_files);
        settings.upload_bandwidth = self.upload_bandwidth.unwrap_or(before.upload_bandwidth);
        settings.download_bandwidth = self.download_bandwidth.unwrap_or(before.download_bandwidth);
        if *settings != before {
            mask.push("user_settings".to_owned());
        }
        if !self.mounts.is_empty() {
            let mount = |text: &String| match text.split_once('=') {
                Some((name, path)) if path.starts_with('/') => {
                    Ok(v1::Mount { name: name.to_owned(), virtual_path: path.to_owned(), ..Default::default() })
                }
                _ => Err(Failure::usage(format!("--mount {text}: expected FOLDER=/PATH"))),
            };
            group.virtual_folders = self.mounts.iter().map(mount).collect::<Result<_, _>>()?;
            mask.push("virtual_folders".to_owned());
        }
        Ok(())
    }
}

fn describe(given: Option<String>, field: &mut String, mask: &mut Vec<String>) {
    if let Some(text) = given {
        *field = text;
        mask.push("description".to_owned());
    }
}

fn shown_role(role: &v1::Role) -> Value {
    json!({
        "name": role.name,
        "description": role.description,
        "admins": role.admins,
        "users": role.users,
        "created_at": role.created_at,
        "updated_at": role.updated_at,
        "revision": role.revision,
    })
}

fn shown_folder(folder: &v1::Folder) -> Value {
    json!({
        "name": folder.name,
        "mapped_path": folder.mapped_path,
        "description": folder.description,
        "groups": folder.groups,
        "created_at": folder.created_at,
        "updated_at": folder.updated_at,
        "revision": folder.revision,
    })
}

fn shown_group(group: &v1::Group) -> Value {
    let settings = group.user_settings.clone().unwrap_or_default();
    let mount = |mount: &v1::Mount| {
        json!({
            "name": mount.name,
            "virtual_path": mount.virtual_path,
            "quota_size": mount.quota_size,
            "quota_files": mount.quota_files,
        })
    };
    json!({
        "name": group.name,
        "description": group.description,
        "user_settings": {
            "home_dir": settings.home_dir,
            "max_sessions": settings.max_sessions,
            "quota_size": settings.quota_size,
            "quota_files": settings.quota_files,
            "upload_bandwidth": settings.upload_bandwidth,
            "download_bandwidth": settings.download_bandwidth,
            "expires_in": settings.expires_in,
        },
        "virtual_folders": group.virtual_folders.iter().map(mount).collect::<Vec<_>>(),
        "users": group.users,
        "created_at": group.created_at,
        "updated_at": group.updated_at,
        "revision": group.revision,
    })
}
