//! `flotilla user …`

mod key;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use self::key::KeyCommand;
use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};
use super::secret;
use super::user_fields::UserFields;

#[derive(Subcommand, Clone, Debug)]
pub enum UserCommand {
    /// Creates a user; asks for a password on the terminal unless told otherwise.
    Add {
        username: String,
        #[command(flatten)]
        fields: Box<UserFields>,
        #[command(flatten)]
        password: PasswordFrom,
        /// The user cannot log in yet.
        #[arg(long)]
        disabled: bool,
    },
    /// Lists users in order of name.
    List {
        /// What the node has applied, without asking the others.
        #[arg(long)]
        stale: bool,
    },
    /// Shows a user.
    Show { username: String },
    /// Changes what is given. What takes something away ends the sessions concerned before it returns.
    Update {
        username: String,
        #[command(flatten)]
        fields: Box<UserFields>,
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        #[arg(long)]
        disable: bool,
        /// Only if the record still has this revision.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes a user and ends their sessions. Their files stay.
    Remove {
        username: String,
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Sets or removes the password. Sessions opened with the old one end.
    Passwd {
        username: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Public keys of a user.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Where a password comes from; never from the command line itself.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct PasswordFrom {
    /// File that holds the password; - is stdin.
    #[arg(long)]
    pub(super) password_file: Option<PathBuf>,
    /// The user has none and logs in by key.
    #[arg(long)]
    pub(super) no_password: bool,
}

impl PasswordFrom {
    pub(super) fn read(&self, username: &str) -> Result<Option<String>, Failure> {
        match (&self.password_file, self.no_password) {
            (_, true) => Ok(None),
            (Some(path), _) => secret::from_file(path).map(Some),
            (None, _) => secret::prompt(username),
        }
    }
}

const COLUMNS: &[&str] = &[
    "username",
    "status",
    "home_dir",
    "max_sessions",
    "quota_size",
    "used_quota_size",
    "quota_files",
    "used_quota_files",
    "revision",
];

pub(super) async fn run(client: &Client, command: UserCommand) -> Result<Output, Failure> {
    match command {
        UserCommand::Add { username, fields, password, disabled } => {
            add(client, username, *fields, password, disabled).await
        }
        UserCommand::List { stale } => list(client, stale).await,
        UserCommand::Show { username } => Ok(Output::one(shown(&get(client, username).await?))),
        UserCommand::Update { username, fields, enable, disable, expected_revision } => {
            let mut change = Change { expected_revision, ..Change::of(&username) };
            fields.apply(&mut change.user, &mut change.mask)?;
            if enable || disable {
                let status = if enable { v1::UserStatus::Enabled } else { v1::UserStatus::Disabled };
                change.user.status = status.into();
                change.mask.push("status".to_owned());
            }
            if change.mask.is_empty() {
                return Err(Failure::usage("nothing to change: give an option, `--help` lists them"));
            }
            update(client, change, &format!("user {username} is updated")).await
        }
        UserCommand::Remove { username, expected_revision } => remove(client, username, expected_revision).await,
        UserCommand::Passwd { username, password } => {
            let password = password.read(&username)?;
            let change = Change { mask: vec!["password".to_owned()], password, ..Change::of(&username) };
            update(client, change, &format!("password of {username} is changed")).await
        }
        UserCommand::Key(command) => key::run(client, command).await,
    }
}

async fn add(
    client: &Client,
    username: String,
    fields: UserFields,
    password: PasswordFrom,
    disabled: bool,
) -> Result<Output, Failure> {
    let all = v1::Permissions { names: vec!["*".to_owned()] };
    let mut user =
        v1::User { username: username.clone(), permissions: [("/".to_owned(), all)].into(), ..Default::default() };
    fields.apply(&mut user, &mut Vec::new())?;
    if disabled {
        user.status = v1::UserStatus::Disabled.into();
    }
    let password = password.read(&username)?;
    if password.is_none() && user.public_keys.is_empty() {
        return Err(Failure::usage("neither password nor key: nobody could log in"));
    }
    let request = v1::CreateUserRequest { user: Some(user), password, request_id: client.request_id.clone() };
    let answer = client.users().create_user(request).await;
    let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
    Ok(with_user(Output::changed(&format!("user {username} is created"), answer.result), answer.user))
}

/// A change of some fields.
pub(super) struct Change {
    pub(super) user: v1::User,
    pub(super) mask: Vec<String>,
    pub(super) password: Option<String>,
    pub(super) expected_revision: Option<u64>,
}

impl Change {
    pub(super) fn of(username: &str) -> Change {
        let user = v1::User { username: username.to_owned(), ..Default::default() };
        Change { user, mask: Vec::new(), password: None, expected_revision: None }
    }
}

pub(super) async fn update(client: &Client, change: Change, what: &str) -> Result<Output, Failure> {
    let request = v1::UpdateUserRequest {
        user: Some(change.user),
        update_mask: Some(FieldMask { paths: change.mask }),
        password: change.password,
        expected_revision: change.expected_revision,
        request_id: client.request_id.clone(),
    };
    let answer = client.users().update_user(request).await;
    let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
    Ok(with_user(Output::changed(what, answer.result), answer.user))
}

async fn remove(client: &Client, username: String, expected_revision: Option<u64>) -> Result<Output, Failure> {
    let request_id = client.request_id.clone();
    let request = v1::DeleteUserRequest { username: username.clone(), expected_revision, request_id };
    let answer = client.users().delete_user(request).await;
    let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
    Ok(Output::changed(&format!("user {username} is deleted"), answer.result))
}

pub(super) async fn get(client: &Client, username: String) -> Result<v1::User, Failure> {
    let request = v1::GetUserRequest { username, consistency: 0 };
    Ok(client.users().get_user(request).await?.into_inner().user.unwrap_or_default())
}

async fn list(client: &Client, stale: bool) -> Result<Output, Failure> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListUsersRequest { page_size: 1000, page_token, consistency: consistency(stale) };
        let page = client.users().list_users(request).await?.into_inner();
        rows.extend(page.users.iter().map(shown));
        if page.next_page_token.is_empty() {
            return Ok(Output::many(COLUMNS, rows));
        }
        page_token = page.next_page_token;
    }
}

pub(super) fn consistency(stale: bool) -> i32 {
    if stale { v1::Consistency::Stale.into() } else { v1::Consistency::Unspecified.into() }
}

/// The record, for those who read it by program; the table stays quiet.
fn with_user(output: Output, user: Option<v1::User>) -> Output {
    match user {
        Some(user) => output.with(Data::Drawn(shown(&user), String::new())),
        None => output,
    }
}

/// With the names and units of REST.
fn shown(user: &v1::User) -> Value {
    let permissions: serde_json::Map<String, Value> =
        user.permissions.iter().map(|(path, held)| (path.clone(), json!(held.names))).collect();
    let filters = user.filters.clone().unwrap_or_default();
    json!({
        "username": user.username,
        "status": i32::from(user.status == i32::from(v1::UserStatus::Enabled)),
        "expiration_date": user.expiration_date,
        "has_password": user.has_password,
        "public_keys": user.public_keys,
        "home_dir": user.home_dir,
        "uid": user.uid,
        "gid": user.gid,
        "max_sessions": user.max_sessions,
        "quota_size": user.quota_size,
        "quota_files": user.quota_files,
        "permissions": permissions,
        "used_quota_size": user.used_quota_size,
        "used_quota_files": user.used_quota_files,
        "upload_bandwidth": user.upload_bandwidth,
        "download_bandwidth": user.download_bandwidth,
        "filters": {
            "allowed_ip": filters.allowed_ip,
            "denied_ip": filters.denied_ip,
            "denied_login_methods": filters.denied_login_methods,
            "denied_protocols": filters.denied_protocols,
            "max_upload_file_size": filters.max_upload_file_size,
        },
        "email": user.email,
        "description": user.description,
        "additional_info": user.additional_info,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "revision": user.revision,
    })
}
