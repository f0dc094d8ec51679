//! `flotilla backup`: save a consistent cut of the replicated state, look into it, begin a new cluster with it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use flotilla_model::State;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::save_backup_response::Part;
use serde_json::{Value, json};

use super::Globals;
use super::connect::Client;
use super::failure::Failure;
use super::output::Output;
use super::progress::Bar;
use crate::backup::file::{self, Manifest, hex};
use crate::backup::read_state;
use crate::backup::restore::{self, RestoreArgs};
use crate::backup::seal::BackupKey;

/// The longest wait for the next part.
const PART: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Subcommand, Clone, Debug)]
pub enum BackupCommand {
    /// Saves users, quotas, settings and sealed secrets; not the users' files.
    Save {
        /// A file that does not exist yet.
        file: PathBuf,
        /// Encrypts under the 64 hexadecimal digits in this file (mode 0600; `openssl rand -hex 32` makes them).
        #[arg(long)]
        key_file: Option<PathBuf>,
    },
    /// Checks a backup and says what is in it. Needs no cluster.
    Inspect {
        file: PathBuf,
        /// The key that it was encrypted under; without it only the manifest can be read.
        #[arg(long)]
        key_file: Option<PathBuf>,
    },
    /// Begins a new cluster of one node with what a backup holds.
    Restore(RestoreArgs),
}

pub(super) async fn run(command: BackupCommand, globals: &Globals) -> Result<Output, Failure> {
    match command {
        BackupCommand::Save { file, key_file } => save(&Client::connect(globals).await?, &file, key_file).await,
        BackupCommand::Inspect { file, key_file } => inspect(&file, key_file.as_deref()).map_err(failed),
        BackupCommand::Restore(arguments) => {
            let notes = restore::run(&arguments).map_err(failed)?;
            Ok(Output::noted(notes))
        }
    }
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::other(format!("{error:#}"))
}

/// A file that could not be written whole is removed again.
async fn save(client: &Client, file: &Path, key_file: Option<PathBuf>) -> Result<Output, Failure> {
    let key = key_file.as_deref().map(BackupKey::load).transpose().map_err(failed)?;
    let out = file::create(file).map_err(failed)?;
    match receive(client, out, key.as_ref()).await {
        Ok((manifest, bytes)) => {
            let about = json!({
                "file": file.display().to_string(), "bytes": bytes, "cluster_id": manifest.cluster_id,
                "log_index": manifest.log_index, "users": manifest.users, "encrypted": key.is_some(),
            });
            Ok(Output::one(about)
                .noting("the cluster key is no part of it: keep a copy of one node's cluster key file elsewhere"))
        }
        Err(failure) => {
            let _ = std::fs::remove_file(file);
            Err(failure)
        }
    }
}

async fn receive(
    client: &Client,
    out: std::io::BufWriter<std::fs::File>,
    key: Option<&BackupKey>,
) -> Result<(v1::BackupManifest, u64), Failure> {
    let mut parts = client.backups().save_backup(v1::SaveBackupRequest {}).await?.into_inner();
    let Some(Part::Manifest(manifest)) = next(&mut parts).await? else {
        return Err(cut_off());
    };
    let mut writer = file::Writer::new(out, to_manifest(&manifest), key).map_err(failed)?;
    let (mut bar, mut received) = (Bar::new("backup"), 0);
    let end = loop {
        match next(&mut parts).await? {
            Some(Part::Chunk(chunk)) => {
                received += chunk.len() as u64;
                bar.bytes("receiving", received, 0);
                writer.chunk(&chunk).map_err(failed)?;
            }
            Some(Part::End(end)) => break end,
            _ => return Err(cut_off()),
        }
    };
    let (out, chunks, bytes) = writer.finish().map_err(failed)?;
    if (chunks, bytes) != (end.chunks, end.bytes) {
        return Err(cut_off());
    }
    let synced = out.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
    synced.map_err(|error| Failure::other(format!("writing the backup: {error}")))?;
    Ok((manifest, bytes))
}

async fn next(parts: &mut tonic::Streaming<v1::SaveBackupResponse>) -> Result<Option<Part>, Failure> {
    let message = tokio::time::timeout(PART, parts.message()).await;
    let message = message.map_err(|_| Failure::other("the node went silent in the middle of the backup"))?;
    Ok(message?.and_then(|message| message.part))
}

fn cut_off() -> Failure {
    Failure::other("the node ended the backup before its end: try again, perhaps through another node")
}

fn to_manifest(from: &v1::BackupManifest) -> Manifest {
    Manifest {
        cluster_id: from.cluster_id.clone(),
        log_index: from.log_index,
        state_hash: hex(&from.state_hash),
        saved_at: from.saved_at,
        version: from.version.clone(),
        users: from.users,
        secrets: from.secrets.clone(),
        salt: None,
    }
}

fn inspect(file: &Path, key_file: Option<&Path>) -> anyhow::Result<Output> {
    let key = key_file.map(BackupKey::load).transpose()?;
    let mut reader = file::open(file, key.as_ref())?;
    let mut about = serde_json::to_value(&reader.manifest)?;
    let fields = about.as_object_mut().expect("a manifest is an object");
    let encrypted = fields.remove("salt").is_some_and(|salt| !salt.is_null());
    fields.insert("encrypted".into(), json!(encrypted));
    if !reader.is_readable() {
        fields.insert("checked".into(), json!(false));
        return Ok(Output::one(about)
            .noting("only the manifest could be read: give the key with --key-file to check the rest"));
    }
    let state = read_state(&mut reader).map_err(|error| error.context(file.display().to_string()))?;
    fields.insert("checked".into(), json!(true));
    fields.extend(content(&state));
    Ok(Output::one(about))
}

/// Counts of what a restore would bring.
fn content(state: &State) -> serde_json::Map<String, Value> {
    let used: u64 = state.accounts().map(|account| account.taken().at_least_zero().bytes.unsigned_abs()).sum();
    let counts = [
        ("accounts", state.accounts().count()),
        ("tokens", state.tokens().count()),
        ("nodes", state.nodes().count()),
        ("sessions", state.live_sessions().count()),
    ];
    let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), json!(count)));
    counts.chain([("used_bytes".to_owned(), json!(used))]).collect()
}
