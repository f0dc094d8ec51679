//! What the first node says to a new cluster: host keys, the first admin token, under `dev` also the demo user. Once.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flotilla_cluster::{Cluster, new_request_id};
use flotilla_model::command::{CreateUser, MakeJoinToken, PutSecret, PutToken};
use flotilla_model::{Command, CommandId, Filters, Permission, Refusal, Root, Status, StorageName, UserSpec, Username};
use serde::{Deserialize, Serialize};

/// The sealed host keys' name in the log. Present means: the cluster has been set up.
pub const HOST_KEYS: &str = "ssh-host-keys";
/// The sealed key of the cluster's CA.
pub const CA_KEY: &str = "ca-key";

/// `dev` starts its nodes within a minute.
const JOIN_TOKEN_MS: u64 = 10 * 60 * 1_000;

/// The name of a cluster's first admin token; `token reset` makes that one anew if it is told no other.
pub const FIRST_TOKEN: &str = "admin";

/// How long the first node tries one command before it gives up and says why.
const LIMIT: Duration = Duration::from_secs(60);
/// A cluster that does not answer is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// A file in the first node's identity, made by `init` and `dev`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    pub token_name: String,
    /// SHA-256 of the admin token's text, hexadecimal.
    pub token_sha256: String,
    pub demo: Option<Demo>,
    /// SHA-256 of join tokens' secrets, hexadecimal: `dev` lets its other nodes in by them.
    #[serde(default)]
    pub join_tokens: Vec<String>,
    /// Name and sealed bytes, hexadecimal, in the order in which they are put.
    pub secrets: Vec<(String, String)>,
}

/// The demonstration's user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demo {
    pub username: String,
    pub password_hash: String,
    pub public_key: String,
    pub storage: String,
}

impl Bootstrap {
    fn load(file: &Path) -> Result<Option<Bootstrap>> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| file.display().to_string())?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }

    /// Applies what the file says, if there is one, and removes it: once done, a start waits for nobody.
    pub async fn once(file: &Path, cluster: &Arc<dyn Cluster>) -> Result<()> {
        let Some(bootstrap) = Bootstrap::load(file)? else { return Ok(()) };
        bootstrap.apply(cluster).await?;
        if let Err(error) = std::fs::remove_file(file) {
            // The next start finds that it was done.
            tracing::warn!(sender = "node", file = %file.display(), error = %error, "not removed");
        }
        Ok(())
    }

    /// Sets a new cluster up, unless that was done. The host keys come last: they mark the work as done. Waits without a limit
    /// for a quorum: without one a founder that starts again cannot tell a new cluster from its own.
    async fn apply(&self, cluster: &Arc<dyn Cluster>) -> Result<()> {
        let mut applied = cluster.applied();
        loop {
            if cluster.state().secret(HOST_KEYS).is_some() {
                return Ok(());
            }
            if cluster.state().settings().is_none() {
                applied.changed().await.context("consensus ended")?;
            } else if cluster.barrier(LIMIT).await.is_ok() {
                break;
            } else {
                tokio::time::sleep(AGAIN).await;
            }
        }
        if cluster.state().secret(HOST_KEYS).is_some() {
            return Ok(());
        }
        let hash = parse_sha256(&self.token_sha256).context("token_sha256: expected 64 hexadecimal digits")?;
        let token = PutToken {
            name: self.token_name.clone(),
            hash,
            permissions: vec!["*".into()],
            expires_at: 0,
            replace: true,
        };
        submit(cluster, Command::PutToken(token)).await?;
        if let Some(demo) = &self.demo {
            submit(cluster, Command::CreateUser(demo.command()?)).await?;
        }
        for hash in &self.join_tokens {
            let hash = parse_sha256(hash).context("join_tokens: expected 64 hexadecimal digits")?;
            submit(cluster, Command::MakeJoinToken(MakeJoinToken { hash, life_ms: JOIN_TOKEN_MS })).await?;
        }
        for (name, sealed) in &self.secrets {
            let sealed = parse_hex(sealed).with_context(|| format!("secrets: {name} is not hexadecimal"))?;
            let put = PutSecret { name: name.clone(), expected_revision: Some(0), sealed };
            submit(cluster, Command::PutSecret(put)).await?;
        }
        Ok(())
    }
}

impl Demo {
    fn command(&self) -> Result<CreateUser> {
        let spec = UserSpec {
            status: Status::Enabled,
            expiration_date: 0,
            password_hash: Some(self.password_hash.clone()),
            public_keys: vec![self.public_key.clone()],
            home: Root::new(StorageName::parse(&self.storage)?, &self.username)?,
            uid: 0,
            gid: 0,
            max_sessions: 0,
            quota_size: 0,
            quota_files: 0,
            permissions: [("/".to_owned(), vec![Permission::Any])].into(),
            upload_bandwidth: 0,
            download_bandwidth: 0,
            filters: Filters::default(),
            email: String::new(),
            description: "made by flotilla dev".into(),
            additional_info: String::new(),
            groups: Vec::new(),
            role: None,
        };
        Ok(CreateUser { username: Username::parse(&self.username)?, spec })
    }
}

async fn submit(cluster: &Arc<dyn Cluster>, command: Command) -> Result<()> {
    let submitted = cluster.submit(CommandId::Request(new_request_id()), "bootstrap", command, LIMIT).await?;
    match submitted.reply {
        Ok(_) | Err(Refusal::UserExists { .. } | Refusal::NameExists { .. } | Refusal::RevisionMismatch { .. }) => {
            Ok(())
        }
        Err(refusal) => bail!("setting the cluster up: {refusal}"),
    }
}

/// New host keys, as they lie in the log before they are sealed.
pub fn new_host_keys() -> Result<Vec<u8>> {
    Ok(flotilla_ssh::generate_host_keys()?.export()?.iter().flat_map(|key| key.pem.expose().to_vec()).collect())
}

/// The host keys as they lie in the log: OpenSSH private keys, one behind the other.
pub fn parse_host_keys(bytes: &[u8]) -> Result<flotilla_ssh::HostKeys> {
    let text = std::str::from_utf8(bytes).context("host keys are not text")?;
    let pems = text.split_inclusive("-----END OPENSSH PRIVATE KEY-----\n").filter(|pem| !pem.trim().is_empty());
    Ok(flotilla_ssh::HostKeys::parse(pems)?)
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    parse_hex(text)?.try_into().ok()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}
