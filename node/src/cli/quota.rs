//! `flotilla quota …`

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::Output;
use super::{size, user};

#[derive(Subcommand, Clone, Debug)]
pub enum QuotaCommand {
    /// Shows limits and usage.
    Show { username: String },
    /// Sets limits; 0 is none. A lowered one binds when the command returns.
    #[command(group = clap::ArgGroup::new("limit").required(true).multiple(true))]
    Set {
        username: String,
        /// Bytes, or with a unit: 10MiB.
        #[arg(long, value_parser = size::parse, group = "limit")]
        size: Option<u64>,
        /// Files and symlinks.
        #[arg(long, group = "limit")]
        files: Option<u64>,
    },
    /// Asks for a scan; it runs when nobody uses the folder.
    Scan { username: String },
    /// Lists the users whose folder waits for a scan or is being scanned.
    Scans,
}

const COLUMNS: &[&str] = &["username", "home_dir", "used_size", "used_files", "scan_wanted", "uncertain", "scanning"];

pub(super) async fn run(client: &Client, command: QuotaCommand) -> Result<Output, Failure> {
    match command {
        QuotaCommand::Show { username } => {
            let request = v1::GetQuotaRequest { username, consistency: 0 };
            let quota = client.quotas().get_quota(request).await?.into_inner().quota.unwrap_or_default();
            Ok(Output::one(shown(&quota)))
        }
        QuotaCommand::Set { username, size, files } => set(client, username, size, files).await,
        QuotaCommand::Scan { username } => {
            let request = v1::ScanQuotaRequest { username: username.clone(), request_id: client.request_id.clone() };
            let answer = client.quotas().scan_quota(request).await;
            let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
            Ok(Output::changed(&format!("a scan of {username} is wanted"), answer.result))
        }
        QuotaCommand::Scans => {
            let answer = client.quotas().list_scans(v1::ListScansRequest {}).await?.into_inner();
            Ok(Output::many(COLUMNS, answer.quotas.iter().map(shown).collect()))
        }
    }
}

async fn set(client: &Client, username: String, size: Option<u64>, files: Option<u64>) -> Result<Output, Failure> {
    let mut change = user::Change::of(&username);
    if let Some(bytes) = size {
        change.user.quota_size = bytes;
        change.mask.push("quota_size".to_owned());
    }
    if let Some(files) = files {
        change.user.quota_files = files;
        change.mask.push("quota_files".to_owned());
    }
    user::update(client, change, &format!("quota of {username} is set")).await
}

fn shown(quota: &v1::Quota) -> Value {
    json!({
        "username": quota.username,
        "home_dir": quota.home_dir,
        "quota_size": quota.quota_size,
        "quota_files": quota.quota_files,
        "used_size": quota.used_size,
        "used_files": quota.used_files,
        "granted_size": quota.granted_size,
        "granted_files": quota.granted_files,
        "scan_wanted": quota.scan_wanted,
        "uncertain": quota.uncertain,
        "scanning": quota.scanning,
    })
}
