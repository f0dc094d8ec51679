//! `flotilla init` and `flotilla join`: make a data folder that `flotilla serve` can start on.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flotilla_raft::{JOIN_VERSION, JoinAnswer, JoinError, JoinRequest, Welcome, pki};
use sha2::{Digest, Sha256};

use crate::bootstrap::{Bootstrap, CA_KEY, Demo, FIRST_TOKEN, HOST_KEYS, hex};
use crate::config::{AdminSection, Config, ConfigArgs, NodeSection, PeersSection, SftpListen, StorageSection};
use crate::identity::{Identity, Member, NewIdentity, replace_private};
use crate::join_token::JoinToken;
use crate::secrets::{Keyring, new_cluster_key, random_text};

/// The key that a join has made, before it has an answer: the same key may ask again.
const JOINING_KEY: &str = "joining.key";
/// Room that must be there before a token is used: the first log segments and snapshots.
const ROOM: usize = 4 << 20;
/// Nodes are asked in turn, again and again, for this long: an election takes a second or two.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
const JOIN_AGAIN: Duration = Duration::from_millis(500);

/// What both commands need to know of this machine.
#[derive(clap::Args)]
pub struct MachineArgs {
    /// The node's configuration file. If it does not exist, it is written from the options below.
    #[arg(long, default_value = "/etc/flotilla/flotilla.toml")]
    config: PathBuf,
    /// Data folder: identity, log, snapshots. Empty or not there yet, on a local file system.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The node's name; the host's if absent.
    #[arg(long)]
    name: Option<String>,
    /// Address for the other nodes, where this one listens for them and is reached.
    #[arg(long)]
    peer: Option<SocketAddr>,
    /// Address for administration.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Address for SFTP.
    #[arg(long)]
    sftp: Option<SocketAddr>,
    /// A folder for files, NAME=PATH; repeat for more. The same on all nodes.
    #[arg(long, value_name = "NAME=PATH")]
    storage: Vec<String>,
}

#[derive(clap::Args)]
pub struct InitArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// New file (mode 0600) for the first admin token; `admin.token` in the data folder if absent.
    #[arg(long)]
    token_out: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct JoinArgs {
    /// What `flotilla cluster token` printed.
    token: String,
    #[command(flatten)]
    machine: MachineArgs,
    /// Peer address of the node to ask, instead of those in the token.
    #[arg(long)]
    contact: Vec<String>,
}

impl MachineArgs {
    /// The configuration: the file's, or what the options say. The second says whether the file is to be written.
    fn config(&self) -> Result<(Config, bool)> {
        let options = self.data.is_some()
            || self.name.is_some()
            || self.peer.is_some()
            || self.admin.is_some()
            || self.sftp.is_some()
            || !self.storage.is_empty();
        if self.config.exists() {
            ensure!(
                !options,
                "{} exists: change it there instead of giving --data, --name, --peer, --admin, --sftp or --storage",
                self.config.display()
            );
            return Ok((ConfigArgs::of(&self.config).load()?.config, false));
        }
        let aside = self.aside();
        if let Some(folder) = self.config.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        std::fs::write(&aside, toml::to_string_pretty(&self.new_config()?)?)
            .with_context(|| format!("writing {}; nothing else was done yet", aside.display()))?;
        Ok((ConfigArgs::of(&aside).load()?.config, true))
    }

    /// Where a new configuration stands until the folder is made.
    fn aside(&self) -> PathBuf {
        self.config.with_extension("toml.new")
    }

    fn new_config(&self) -> Result<Config> {
        let missing = |what: &str| format!("{what}: needed, since {} does not exist", self.config.display());
        let storage = self.storage.iter().map(|text| parse_storage(text)).collect::<Result<Vec<_>>>()?;
        Ok(Config {
            node: NodeSection {
                id: None,
                name: self.name.clone().unwrap_or_default(),
                data: self.data.clone().with_context(|| missing("--data"))?,
            },
            peers: PeersSection { listen: self.peer.with_context(|| missing("--peer"))?, ..PeersSection::default() },
            sftp: crate::config::SftpSection {
                listen: vec![SftpListen {
                    address: self.sftp.with_context(|| missing("--sftp"))?,
                    proxy_protocol: Default::default(),
                }],
                ..Default::default()
            },
            admin: AdminSection { listen: self.admin.unwrap_or(AdminSection::default().listen), tls: None },
            health: Default::default(),
            log: Default::default(),
            raft: Default::default(),
            storage,
        })
    }

    fn keep_config(&self, is_new: bool) -> Result<()> {
        if !is_new {
            return Ok(());
        }
        std::fs::rename(self.aside(), &self.config).with_context(|| format!("writing {}", self.config.display()))
    }
}

fn parse_storage(text: &str) -> Result<StorageSection> {
    let (name, path) = text.split_once('=').with_context(|| format!("--storage {text}: expected NAME=PATH"))?;
    Ok(StorageSection { name: name.to_owned(), path: PathBuf::from(path) })
}

/// The name in the configuration, else the host's.
pub fn node_name(config: &Config) -> String {
    if !config.node.name.is_empty() {
        return config.node.name.clone();
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if host.is_empty() { "node".to_owned() } else { host }
}

pub fn init(arguments: InitArgs) -> Result<()> {
    let (config, is_new) = arguments.machine.config()?;
    let token = random_text(40);
    let token_file = arguments.token_out.unwrap_or_else(|| config.node.data.join("admin.token"));
    let first = First { token_name: FIRST_TOKEN.to_owned(), token: token.clone(), demo: None, join_tokens: Vec::new() };
    let cluster_id = uuid::Uuid::new_v4().to_string();
    Identity::refuse_used(&config.node.data)?;
    make_private_folder(&config.node.data)?;
    new_secret(&token_file, &token)?;
    let founded = found(&config, &cluster_id, first).and_then(|_| arguments.machine.keep_config(is_new));
    if let Err(error) = founded {
        let _ = std::fs::remove_file(&token_file);
        return Err(error);
    }
    eprintln!("cluster {cluster_id} is made; this is node 1");
    eprintln!("admin token: {}", token_file.display());
    eprintln!("start it:    flotilla serve --config {}", arguments.machine.config.display());
    eprintln!("then, for each further node: flotilla cluster token, and there flotilla join TOKEN");
    Ok(())
}

/// What a new cluster is told first.
pub struct First {
    pub token_name: String,
    pub token: String,
    pub demo: Option<Demo>,
    /// SHA-256 of join tokens' secrets.
    pub join_tokens: Vec<[u8; 32]>,
}

/// Makes a cluster in an empty data folder: CA, cluster key, host keys. Returns the CA's certificate.
pub fn found(config: &Config, cluster_id: &str, first: First) -> Result<String> {
    let authority = pki::make_ca(cluster_id)?;
    let identity = pki::make_node(&authority, cluster_id, 1)?;
    let cluster_keys = new_cluster_key();
    let ring = Keyring::of(&cluster_keys)?;
    let host_keys: Vec<u8> =
        flotilla_ssh::generate_host_keys()?.export()?.iter().flat_map(|key| key.pem.expose().to_vec()).collect();
    let sealed = |name: &str, plain: &[u8]| anyhow::Ok((name.to_owned(), hex(&ring.seal(cluster_id, name, plain)?)));
    // The host keys come last: they mark the work as done.
    let secrets = vec![sealed(CA_KEY, authority.key_pem.as_bytes())?, sealed(HOST_KEYS, &host_keys)?];
    let bootstrap = Bootstrap {
        token_name: first.token_name,
        token_sha256: hex(&Sha256::digest(first.token.as_bytes())),
        demo: first.demo,
        join_tokens: first.join_tokens.iter().map(|hash| hex(hash)).collect(),
        secrets,
    };
    let member = Member { cluster_id: cluster_id.to_owned(), node: 1, founder: true, roster: None, voucher: None };
    let new = NewIdentity {
        member,
        ca_pem: authority.certificate_pem.clone(),
        certificate_pem: identity.certificate_pem,
        key_pem: identity.key_pem,
        cluster_keys,
        bootstrap: Some(serde_json::to_string_pretty(&bootstrap)?),
    };
    make_private_folder(&config.node.data)?;
    Identity::write(&config.node.data, &new)?;
    Ok(authority.certificate_pem)
}

pub async fn join(arguments: JoinArgs) -> Result<()> {
    let token = JoinToken::parse(&arguments.token)?;
    let (config, is_new) = arguments.machine.config()?;
    let contacts = if arguments.contact.is_empty() { token.addresses.clone() } else { arguments.contact.clone() };
    let welcome = join_folder(&config, &token, &contacts).await?;
    arguments.machine.keep_config(is_new)?;
    eprintln!("joined cluster {} as node {}", token.cluster_id, welcome.node);
    for note in &welcome.notes {
        eprintln!("note: {note}");
    }
    eprintln!("start it: flotilla serve --config {}", arguments.machine.config.display());
    Ok(())
}

/// Asks the cluster to let this machine in and writes what it answers. Repeated after a failure it goes on.
pub async fn join_folder(config: &Config, token: &JoinToken, contacts: &[String]) -> Result<Welcome> {
    let data = &config.node.data;
    Identity::refuse_used(data)?;
    make_private_folder(data)?;
    check_room(data)?;
    let key_pem = joining_key(data)?;
    let admin = config.admin.listen.to_string();
    let sftp = config.sftp.listen.first().map(|listen| listen.address.to_string()).unwrap_or_default();
    let request = JoinRequest {
        version: JOIN_VERSION,
        cluster_id: token.cluster_id.clone(),
        secret: token.secret.to_vec(),
        public_key: pki::public_key(&key_pem)?,
        name: node_name(config),
        peer_address: config.peers.address(),
        admin_address: admin,
        sftp_address: sftp,
        wall_ms: crate::desk::wall_ms(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let welcome = ask(token, contacts, request).await?;
    let member = Member {
        cluster_id: token.cluster_id.clone(),
        node: welcome.node.0,
        founder: false,
        roster: Some(welcome.roster.clone()),
        voucher: Some(welcome.voucher.clone()),
    };
    let new = NewIdentity {
        member,
        ca_pem: welcome.ca_pem.clone(),
        certificate_pem: welcome.certificate_pem.clone(),
        key_pem,
        cluster_keys: welcome.cluster_key.clone(),
        bootstrap: None,
    };
    let again =
        "the cluster has let this machine in; make the same call again, the token answers this machine once more";
    Identity::write(data, &new).context(again)?;
    let _ = std::fs::remove_file(data.join(JOINING_KEY));
    Ok(welcome)
}

/// Asks one node after another until one decides.
async fn ask(token: &JoinToken, contacts: &[String], request: JoinRequest) -> Result<Welcome> {
    ensure!(!contacts.is_empty(), "the token names no address: give one with --contact HOST:PORT");
    let end = tokio::time::Instant::now() + JOIN_WITHIN;
    let mut failures = BTreeMap::new();
    loop {
        let mut other_clusters = 0;
        for contact in contacts {
            let request = JoinRequest { wall_ms: crate::desk::wall_ms(), ..request.clone() };
            match flotilla_raft::join(contact, token.ca_fingerprint, &request).await {
                Ok(JoinAnswer::Welcome(welcome)) => return Ok(*welcome),
                Ok(JoinAnswer::Refused { why, again: false }) => bail!("{contact} refuses: {why}"),
                Ok(JoinAnswer::Refused { why, again: true }) => {
                    _ = failures.insert(contact, format!("{contact}: {why}"))
                }
                Err(error) => {
                    other_clusters += usize::from(matches!(error, JoinError::OtherCluster { .. }));
                    failures.insert(contact, error.to_string());
                }
            }
        }
        if other_clusters == contacts.len() || tokio::time::Instant::now() + JOIN_AGAIN > end {
            let all: Vec<String> = failures.into_values().collect();
            // An answer may have been lost after the cluster had decided.
            let advice = match other_clusters == contacts.len() {
                true => "nothing was changed there",
                false => "make the same call again: its token is this machine's, whatever became of this try",
            };
            bail!("no node let this machine in; {advice}. {}", all.join("; "));
        }
        tokio::time::sleep(JOIN_AGAIN).await;
    }
}

/// Made before anything is asked, and kept: the token answers the same key again.
fn joining_key(data: &Path) -> Result<String> {
    let file = data.join(JOINING_KEY);
    if let Ok(kept) = std::fs::read_to_string(&file)
        && pki::public_key(&kept).is_ok()
    {
        return Ok(kept);
    }
    let made = pki::make_key()?;
    replace_private(&file, made.as_bytes()).context("nothing was asked of the cluster yet")?;
    Ok(made)
}

/// A full disk must be noticed before a token is used up.
fn check_room(data: &Path) -> Result<()> {
    let file = data.join("room.tmp");
    let written = std::fs::File::create(&file).and_then(|mut out| {
        out.write_all(&vec![0; ROOM])?;
        out.sync_all()
    });
    let _ = std::fs::remove_file(&file);
    written.with_context(|| {
        format!("data folder {}: no room for {ROOM} bytes; nothing was asked of the cluster", data.display())
    })
}

fn make_private_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))
}

fn new_secret(file: &Path, text: &str) -> Result<()> {
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("making {}", file.display()))?;
    out.write_all(format!("{text}\n").as_bytes())?;
    Ok(out.sync_all()?)
}
