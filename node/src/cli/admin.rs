//! `flotilla admin …`

use clap::{Args, Subcommand};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};
use super::user::PasswordFrom;

#[derive(Subcommand, Clone, Debug)]
pub enum AdminsCommand {
    /// Creates an admin; asks for a password on the terminal unless told otherwise.
    Add {
        username: String,
        #[command(flatten)]
        fields: AdminFields,
        #[command(flatten)]
        password: PasswordFrom,
        /// The admin cannot log in yet.
        #[arg(long)]
        disabled: bool,
    },
    /// Lists admins in order of name.
    List,
    /// Shows an admin.
    Show { username: String },
    /// Changes what is given. It acts on the admin's next call, on every node.
    Update {
        username: String,
        #[command(flatten)]
        fields: AdminFields,
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Ends the tokens of the admin's logins.
        #[arg(long)]
        disable: bool,
        /// Only if the record still has this revision.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes an admin with their tokens and API keys.
    Remove {
        username: String,
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Sets the password. Tokens of logins with the old one end.
    Passwd {
        username: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub struct AdminFields {
    /// Admin permission, for example view_users; repeat for more, "*" is all.
    #[arg(long = "permission")]
    permissions: Vec<String>,
    #[arg(long)]
    email: Option<String>,
    #[arg(long)]
    description: Option<String>,
    #[arg(long)]
    additional_info: Option<String>,
    /// Only users of this role are seen and changed; empty: no role.
    #[arg(long)]
    role: Option<String>,
    /// Address or network that the admin may come from; repeat for more.
    #[arg(long = "allow")]
    allow_list: Vec<String>,
    /// Whether an API key that names no admin may act for this one.
    #[arg(long)]
    allow_api_key_auth: Option<bool>,
}

impl AdminFields {
    /// Sets what is given and names it in the mask.
    fn apply(self, admin: &mut v1::Admin, mask: &mut Vec<String>) {
        let mut named = |name: &str| mask.push(name.to_owned());
        if !self.permissions.is_empty() {
            admin.permissions = self.permissions;
            named("permissions");
        }
        if !self.allow_list.is_empty() {
            admin.allow_list = self.allow_list;
            named("allow_list");
        }
        if let Some(allow) = self.allow_api_key_auth {
            admin.allow_api_key_auth = allow;
            named("allow_api_key_auth");
        }
        let texts = [
            ("email", self.email, &mut admin.email),
            ("description", self.description, &mut admin.description),
            ("additional_info", self.additional_info, &mut admin.additional_info),
            ("role", self.role, &mut admin.role),
        ];
        for (name, given, field) in texts {
            if let Some(text) = given {
                *field = text;
                named(name);
            }
        }
    }
}

const COLUMNS: &[&str] = &["username", "status", "permissions", "role", "email", "revision"];

pub(super) async fn run(client: &Client, command: AdminsCommand) -> Result<Output, Failure> {
    match command {
        AdminsCommand::Add { username, fields, password, disabled } => {
            let mut admin = v1::Admin { username: username.clone(), ..Default::default() };
            fields.apply(&mut admin, &mut Vec::new());
            if admin.permissions.is_empty() {
                return Err(Failure::usage("--permission: none given; \"*\" is all"));
            }
            if disabled {
                admin.status = v1::UserStatus::Disabled.into();
            }
            let password = password.read(&username)?;
            let request_id = client.request_id.clone();
            let request = v1::CreateAdminRequest { admin: Some(admin), password, request_id };
            let answer = client.changed(client.admins().create_admin(request).await)?;
            Ok(with_admin(Output::changed(&format!("admin {username} is created"), answer.result), answer.admin))
        }
        AdminsCommand::List => list(client).await,
        AdminsCommand::Show { username } => {
            let request = v1::GetAdminRequest { username, consistency: 0 };
            let admin = client.admins().get_admin(request).await?.into_inner().admin;
            Ok(Output::one(shown(&admin.unwrap_or_default())))
        }
        AdminsCommand::Update { username, fields, enable, disable, expected_revision } => {
            let mut admin = v1::Admin { username: username.clone(), ..Default::default() };
            let mut mask = Vec::new();
            fields.apply(&mut admin, &mut mask);
            if enable || disable {
                let status = if enable { v1::UserStatus::Enabled } else { v1::UserStatus::Disabled };
                admin.status = status.into();
                mask.push("status".to_owned());
            }
            if mask.is_empty() {
                return Err(Failure::usage("nothing to change: give an option, `--help` lists them"));
            }
            update(client, admin, mask, None, expected_revision, &format!("admin {username} is updated")).await
        }
        AdminsCommand::Remove { username, expected_revision } => {
            let request_id = client.request_id.clone();
            let request = v1::DeleteAdminRequest { username: username.clone(), expected_revision, request_id };
            let answer = client.changed(client.admins().delete_admin(request).await)?;
            Ok(Output::changed(&format!("admin {username} is deleted"), answer.result))
        }
        AdminsCommand::Passwd { username, password } => {
            let password = password.read(&username)?;
            let password = password.ok_or_else(|| Failure::usage("--no-password: disable the admin instead"))?;
            let admin = v1::Admin { username: username.clone(), ..Default::default() };
            let mask = vec!["password".to_owned()];
            update(client, admin, mask, Some(password), None, &format!("password of admin {username} is changed")).await
        }
    }
}

async fn update(
    client: &Client,
    admin: v1::Admin,
    paths: Vec<String>,
    password: Option<String>,
    expected_revision: Option<u64>,
    what: &str,
) -> Result<Output, Failure> {
    let request = v1::UpdateAdminRequest {
        admin: Some(admin),
        update_mask: Some(FieldMask { paths }),
        expected_revision,
        request_id: client.request_id.clone(),
        password,
    };
    let answer = client.changed(client.admins().update_admin(request).await)?;
    Ok(with_admin(Output::changed(what, answer.result), answer.admin))
}

async fn list(client: &Client) -> Result<Output, Failure> {
    let mut rows = Vec::new();
    let mut token = String::new();
    loop {
        let page = Some(v1::Page { size: 1000, token, consistency: 0 });
        let page = client.admins().list_admins(v1::ListAdminsRequest { page }).await?.into_inner();
        rows.extend(page.admins.iter().map(shown));
        if page.next_page_token.is_empty() {
            return Ok(Output::many(COLUMNS, rows));
        }
        token = page.next_page_token;
    }
}

fn with_admin(output: Output, admin: Option<v1::Admin>) -> Output {
    match admin {
        Some(admin) => output.with(Data::Drawn(shown(&admin), String::new())),
        None => output,
    }
}

/// With the names of REST.
fn shown(admin: &v1::Admin) -> Value {
    json!({
        "username": admin.username,
        "status": i32::from(admin.status == i32::from(v1::UserStatus::Enabled)),
        "permissions": admin.permissions,
        "role": admin.role,
        "email": admin.email,
        "description": admin.description,
        "additional_info": admin.additional_info,
        "filters": {"allow_list": admin.allow_list, "allow_api_key_auth": admin.allow_api_key_auth},
        "has_password": admin.has_password,
        "created_at": admin.created_at,
        "updated_at": admin.updated_at,
        "revision": admin.revision,
    })
}
