//! `flotilla backup restore`: begins a new cluster of one node with what a backup holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use flotilla_model::command::PutNode;
use flotilla_model::{NodeId, State, WallTime};
use flotilla_raft::pki;

use super::file;
use super::read_state;
use super::seal::BackupKey;
use crate::bootstrap::{CA_KEY, HOST_KEYS};
use crate::config::ConfigArgs;
use crate::identity::{Identity, Member, NewIdentity};
use crate::secrets::{Keyring, new_cluster_key};
use crate::upkeep;

/// The new cluster's first node.
const FIRST: NodeId = NodeId(1);

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
    let cluster_id = config.peers.cluster_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    ensure!(
        cluster_id != reader.manifest.cluster_id,
        "peers.cluster_id is the saved cluster's: leave it out or give the new one an id of its own, so that the old \
         one's nodes are refused"
    );
    Identity::refuse_used(&config.node.data)?;
    let authority = pki::make_ca(&cluster_id)?;
    let own = pki::make_node(&authority, &cluster_id, FIRST.0)?;
    let cluster_keys = new_cluster_key();
    let ring = Keyring::of(&cluster_keys)?;
    let (mut secrets, notes) = reseal(arguments, &state, &reader.manifest.cluster_id, &cluster_id, &ring)?;
    secrets.insert(CA_KEY.to_owned(), ring.seal(&cluster_id, CA_KEY, authority.key_pem.as_bytes())?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let wall = WallTime(now.as_millis() as u64);
    let first = PutNode { node: FIRST, public_key: pki::public_key(&own.key_pem)?, ..upkeep::addresses(&config) };
    let mut raft = flotilla_raft::Config::new(FIRST, &cluster_id, config.node.data.clone(), config.peers.listen);
    let (name, peer) = (first.name.clone(), first.peer_address.clone());
    let (admin, sftp, public_key) = (String::new(), String::new(), first.public_key.clone());
    raft.peers.insert(FIRST, flotilla_raft::PeerAddress { name, peer, admin, sftp, public_key });
    let restored = state.restored(&cluster_id, &secrets, first, wall)?;
    flotilla_raft::restore_folder(&raft, &restored).context("making the data folder")?;
    let member = Member { cluster_id: cluster_id.clone(), node: FIRST.0, founder: true, roster: None, voucher: None };
    let new = NewIdentity {
        member,
        ca_pem: authority.certificate_pem,
        certificate_pem: own.certificate_pem,
        key_pem: own.key_pem,
        cluster_keys,
        bootstrap: None,
    };
    Identity::write(&config.node.data, &new)?;
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

/// Sealed secrets by name.
type Sealed = BTreeMap<String, Vec<u8>>;

/// The secrets, sealed for the new cluster, and what an operator should know of them.
fn reseal(
    arguments: &RestoreArgs,
    state: &State,
    old_cluster: &str,
    new_cluster: &str,
    new_key: &Keyring,
) -> Result<(Sealed, Vec<String>)> {
    let mut secrets = BTreeMap::new();
    let mut notes = Vec::new();
    match &arguments.old_cluster_key_file {
        Some(file) => {
            let old_key = Keyring::load(file)?;
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
