//! `flotilla backup restore`: begins a new cluster of one node with what a backup holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use flotilla_model::command::PutNode;
use flotilla_model::{NodeId, State, WallTime};

use super::file;
use super::read_state;
use super::seal::BackupKey;
use crate::bootstrap::HOST_KEYS;
use crate::config::{Config, ConfigArgs};
use crate::secrets::{ClusterKey, write_secret};

#[derive(clap::Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// The key that it was encrypted under.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// The saved cluster's cluster key: opens its host keys, so that clients see the same ones. Without it new ones are made.
    #[arg(long)]
    old_cluster_key_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Makes the data folder that the configuration names, and what else the new cluster's first node needs. Returns what to know.
pub fn run(arguments: &RestoreArgs) -> Result<Vec<String>> {
    let config = arguments.config.load()?.config;
    let key = arguments.key_file.as_deref().map(BackupKey::load).transpose()?;
    let mut reader = file::open(&arguments.file, key.as_ref())?;
    let state = read_state(&mut reader).with_context(|| arguments.file.display().to_string())?;
    let cluster_id = &config.peers.cluster_id;
    ensure!(
        *cluster_id != reader.manifest.cluster_id,
        "peers.cluster_id is the saved cluster's: give the new one an id of its own, so that the old one's nodes are refused"
    );
    ensure!(config.peers.members.len() == 1, "peers.members: a restored cluster begins with one node; others join it");
    ensure!(!config.node.data.join("log").exists(), "node.data = {}: holds a node already", config.node.data.display());
    make_identity(&config)?;
    let new_key = ClusterKey::load(&config.node.cluster_key_file)?;
    let (secrets, notes) = reseal(arguments, &state, &reader.manifest.cluster_id, cluster_id, &new_key)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let wall = WallTime(now.as_millis() as u64);
    let restored = state.restored(cluster_id, &secrets, first_node(&config)?, wall)?;
    let raft = crate::serve::raft_config(&config, false)?;
    flotilla_raft::restore_folder(&raft, &restored).context("making the data folder")?;
    let first = format!(
        "restored {} users as of log index {} into cluster {cluster_id}; start it with: flotilla serve --config {}",
        restored.user_count(),
        state.applied_index(),
        arguments.config.config.display()
    );
    let storages =
        "limited accounts take no uploads before their scan, which runs by itself; a storage that carries the old \
                    cluster's marker (.flotilla/marker) is refused until you remove that file"
            .to_owned();
    Ok([vec![first], notes, vec![storages]].concat())
}

fn first_node(config: &Config) -> Result<PutNode> {
    let member =
        config.peers.members.get(&config.node.id.to_string()).context("peers.members: this node is missing")?;
    Ok(PutNode {
        node: NodeId(config.node.id),
        name: member.name.clone(),
        peer_address: member.peer.clone(),
        admin_address: member.admin.clone(),
        sftp_address: member.sftp.clone(),
    })
}

/// CA, certificate and cluster key, where the files are not there yet.
fn make_identity(config: &Config) -> Result<()> {
    if !config.node.cluster_key_file.exists() {
        ClusterKey::create(&config.node.cluster_key_file)?;
    }
    let peers = &config.peers;
    let there = [&peers.ca_file, &peers.certificate_file, &peers.key_file].map(|file| file.exists());
    if there == [true; 3] {
        return Ok(());
    }
    ensure!(there == [false; 3], "peers.ca_file, certificate_file and key_file: all three must be there, or none");
    let authority = flotilla_raft::pki::make_ca(&peers.cluster_id)?;
    let identity = flotilla_raft::pki::make_node(&authority, &peers.cluster_id, config.node.id)?;
    let write =
        |file: &PathBuf, text: &str| std::fs::write(file, text).with_context(|| format!("making {}", file.display()));
    write(&peers.ca_file, &authority.certificate_pem)?;
    write(&peers.certificate_file, &identity.certificate_pem)?;
    write_secret(&peers.key_file, identity.key_pem.as_bytes())
}

/// Secrets sealed for the new cluster, by name.
fn reseal(
    arguments: &RestoreArgs,
    state: &State,
    old_cluster: &str,
    new_cluster: &str,
    new_key: &ClusterKey,
) -> Result<(BTreeMap<String, Vec<u8>>, Vec<String>)> {
    let mut secrets = BTreeMap::new();
    let mut notes = Vec::new();
    match &arguments.old_cluster_key_file {
        Some(file) => {
            let old_key = ClusterKey::load(file)?;
            for secret in state.secrets() {
                let plain = old_key.open(old_cluster, &secret.name, &secret.sealed)?;
                secrets.insert(secret.name.clone(), new_key.seal(new_cluster, &secret.name, &plain)?);
            }
        }
        None => {
            let pems = crate::bootstrap::new_host_keys()?;
            secrets.insert(HOST_KEYS.to_owned(), new_key.seal(new_cluster, HOST_KEYS, &pems)?);
            notes.push(
                "new SSH host keys were made: clients will warn of a changed host key. With --old-cluster-key-file the saved ones are kept"
                    .to_owned(),
            );
        }
    }
    if state.secret(HOST_KEYS).is_none() {
        bail!("the backup is of a cluster that was never set up: it has no host keys");
    }
    Ok((secrets, notes))
}
