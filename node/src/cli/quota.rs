//! `flotilla quota …`

use std::time::Duration;

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};
use super::progress::{self, Followed};
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
    /// Asks for a scan; it runs while the folder is in use, too.
    Scan {
        username: String,
        /// Do not wait until the processes of stopped nodes are known to be gone. What such a process still writes in place is not counted.
        #[arg(long)]
        force: bool,
        /// Return when the scan is done, and show its result.
        #[arg(long)]
        wait: bool,
        /// Seconds to wait at most.
        #[arg(long, default_value_t = 600, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
    },
    /// Lists the users whose folder waits for a scan or is being scanned.
    Scans,
}

const COLUMNS: &[&str] = &["username", "home_dir", "used_size", "used_files", "scanning", "scan_waits_for"];

pub(super) async fn run(client: &Client, command: QuotaCommand) -> Result<Output, Failure> {
    match command {
        QuotaCommand::Show { username } => Ok(Output::one(shown(&get(client, &username).await?))),
        QuotaCommand::Set { username, size, files } => set(client, username, size, files).await,
        QuotaCommand::Scan { username, force, wait, timeout } => {
            let wait = wait.then(|| Duration::from_secs(timeout));
            scan(client, username, force, wait).await
        }
        QuotaCommand::Scans => {
            let answer = client.quotas().list_scans(v1::ListScansRequest {}).await?.into_inner();
            Ok(Output::many(COLUMNS, answer.quotas.iter().map(shown).collect()))
        }
    }
}

async fn get(client: &Client, username: &str) -> Result<v1::Quota, Failure> {
    let request = v1::GetQuotaRequest { username: username.to_owned(), consistency: 0 };
    Ok(client.quotas().get_quota(request).await?.into_inner().quota.unwrap_or_default())
}

async fn scan(client: &Client, username: String, force: bool, wait: Option<Duration>) -> Result<Output, Failure> {
    let request = v1::ScanQuotaRequest { username: username.clone(), request_id: client.request_id.clone(), force };
    let answer = client.quotas().scan_quota(request).await;
    let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
    let asked = answer.result.as_ref().map_or(0, |result| result.log_index);
    let mut output = Output::changed(&format!("a scan of {username} is wanted"), answer.result);
    if force {
        output.notes.push(
            "forced: it does not wait for processes of stopped nodes; what one of them still writes in place is not counted"
                .to_owned(),
        );
    }
    let Some(wait) = wait else { return Ok(output) };
    let request = v1::WatchScanRequest { username: username.clone(), after_log_index: asked };
    let told = client.quotas().watch_scan(request).await?.into_inner();
    if let Followed::Goes(progress) = progress::follow(&format!("scan of {username}"), told, wait).await? {
        let why = if progress.waits_for.is_empty() { progress.stage } else { progress.waits_for };
        return Err(Failure::other(format!("the scan of {username} is not done after {} s: {why}", wait.as_secs())));
    }
    let quota = get(client, &username).await?;
    if quota.last_scan_index <= asked {
        return Err(Failure::other(format!("no scan of {username} is wanted any more, and none was done")));
    }
    output.notes.push(format!("scanned: {} bytes in {} files", quota.used_size, quota.used_files));
    Ok(output.with(Data::One(shown(&quota))))
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
        "scan_wanted_at": quota.scan_wanted_at,
        "scan_started_at": quota.scan_started_at,
        "scan_waits_for": quota.scan_waits_for,
        "scan_forced": quota.scan_forced,
        "last_scan_index": quota.last_scan_index,
    })
}
