//! Answers machines that want to join, and keeps the cluster's keys: what needs the cluster key of this node.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use flotilla_api::{HostKeyView, Vault};
use flotilla_cluster::{Cluster, new_request_id, voter_notes};
use flotilla_model::command::{AdmitNode, PutSecret, ResealSecrets};
use flotilla_model::{Command, CommandId, Done, MembershipRefusal, NodeId, Refusal};
use flotilla_raft::roster::{Voucher, vouched};
use flotilla_raft::{Desk, Handle, JOIN_VERSION, JoinAnswer, JoinRequest, Welcome, pki};
use sha2::{Digest, Sha256};

use crate::bootstrap::{CA_KEY, HOST_KEYS, parse_host_keys};
use crate::identity::Identity;
use crate::secrets::{Keyring, new_cluster_key};

/// Clocks may differ by this much: certificates and expiry dates mean the same on all nodes then.
const CLOCKS_APART_MS: u64 = 5 * 60 * 1_000;
/// Members that do not take a new cluster key in this time fetch it later.
const OFFER_WITHIN: Duration = Duration::from_secs(3);
const ADMIT_WITHIN: Duration = Duration::from_secs(12);

pub struct NodeDesk {
    pub handle: Handle,
    pub identity: Arc<Identity>,
    pub keyring: Arc<Keyring>,
    pub certificate_life: Duration,
    pub ca_fingerprint: [u8; 32],
}

pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl NodeDesk {
    /// The CA with its key, from the log.
    pub fn authority(&self) -> Result<pki::Identity> {
        let state = self.handle.state();
        let secret = state.secret(CA_KEY).context("the CA key is not in the log yet")?;
        let key = self.keyring.open(&self.identity.member.cluster_id, CA_KEY, &secret.sealed)?;
        let key_pem = String::from_utf8(key).context("the CA key is no text")?;
        Ok(pki::Identity { certificate_pem: self.identity.ca_pem.clone(), key_pem })
    }

    fn certify(&self, node: NodeId, public_key: &[u8]) -> Result<String> {
        let cluster_id = &self.identity.member.cluster_id;
        Ok(pki::certify(&self.authority()?, cluster_id, node.0, public_key, self.certificate_life)?)
    }

    /// A new certificate for this node's own key, kept and shown from now on.
    pub fn renew_own(&self) -> Result<()> {
        let public_key = pki::public_key(&self.identity.key_pem)?;
        let certificate = self.certify(self.handle.node(), &public_key)?;
        self.identity.keep_certificate(&certificate)?;
        self.handle.replace_certificate(&certificate).map_err(anyhow::Error::msg)
    }

    fn check(&self, request: &JoinRequest) -> Result<(), String> {
        let own = &self.identity.member.cluster_id;
        if request.version != JOIN_VERSION {
            return Err(format!(
                "this cluster speaks version {JOIN_VERSION} of the join call, not {}: use its program's version ({})",
                request.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        if request.cluster_id != *own {
            return Err(format!("the token is of cluster {}, this is cluster {own}", request.cluster_id));
        }
        let here = wall_ms();
        if request.wall_ms.abs_diff(here) > CLOCKS_APART_MS {
            let seconds = request.wall_ms.abs_diff(here) / 1_000;
            let way = if request.wall_ms > here { "ahead of" } else { "behind" };
            return Err(format!(
                "this machine's clock is {seconds} s {way} the cluster's: set it (NTP) and join again with the same token"
            ));
        }
        Ok(())
    }

    /// Callers show no certificate here: a secret that the cluster does not know is refused without an entry in the log.
    async fn known_token(&self, request: &JoinRequest) -> Result<(), JoinAnswer> {
        let hash: [u8; 32] = Sha256::digest(&request.secret).into();
        let known = || {
            let state = self.handle.state();
            state.settings().is_some_and(|settings| settings.join_tokens.iter().any(|token| token.hash == hash))
        };
        if known() {
            return Ok(());
        }
        if let Err(error) = self.handle.refusal_barrier(ADMIT_WITHIN).await {
            return Err(JoinAnswer::Refused {
                why: format!("{error}; the same token may be tried again"),
                again: true,
            });
        }
        if known() {
            return Ok(());
        }
        Err(JoinAnswer::Refused { why: Refusal::from(MembershipRefusal::UnknownToken).to_string(), again: false })
    }

    async fn admit(&self, request: &JoinRequest) -> Result<NodeId, JoinAnswer> {
        let command = AdmitNode {
            token_hash: Sha256::digest(&request.secret).into(),
            public_key: request.public_key.clone(),
            name: request.name.clone(),
            peer_address: request.peer_address.clone(),
            admin_address: request.admin_address.clone(),
            sftp_address: request.sftp_address.clone(),
        };
        let actor = format!("join of {}", request.name.chars().take(64).collect::<String>());
        let id = CommandId::Request(new_request_id());
        let submitted = self.handle.submit(id, &actor, Command::AdmitNode(command), ADMIT_WITHIN).await;
        let again = |why: String| JoinAnswer::Refused { why, again: true };
        match submitted.map_err(|error| again(format!("{error}; the same token may be tried again")))?.reply {
            Ok(Done::Admitted { node }) => Ok(node),
            Ok(other) => Err(again(format!("an unexpected answer: {other:?}"))),
            Err(refusal) => Err(JoinAnswer::Refused { why: refusal.to_string(), again: false }),
        }
    }

    fn welcome(&self, node: NodeId, request: &JoinRequest) -> Result<Welcome> {
        let message = vouched(&self.identity.member.cluster_id, node, &request.public_key);
        let signature = pki::sign(&self.identity.key_pem, &message)?;
        let status = self.handle.status();
        Ok(Welcome {
            node,
            certificate_pem: self.certify(node, &request.public_key)?,
            ca_pem: self.identity.ca_pem.clone(),
            cluster_key: self.keyring.text(),
            roster: flotilla_raft::roster::Roster::clone(&self.handle.roster()),
            voucher: Voucher { by: self.handle.node(), signature },
            notes: after_join(status.voters.len(), self.handle.state().nodes().filter(|row| !row.leaving).count()),
        })
    }
}

/// What is said of the votes once the new node has caught up: Raft's membership follows the log's nodes a little later.
fn after_join(voters: usize, nodes: usize) -> Vec<String> {
    match (voters % 2, nodes.saturating_sub(voters)) {
        (1, 1) => voter_notes(voters, 1),
        _ => Vec::new(),
    }
}

#[async_trait]
impl Desk for NodeDesk {
    async fn join(&self, request: JoinRequest) -> JoinAnswer {
        if let Err(why) = self.check(&request) {
            return JoinAnswer::Refused { why, again: false };
        }
        if let Err(refused) = self.known_token(&request).await {
            return refused;
        }
        let node = match self.admit(&request).await {
            Ok(node) => node,
            Err(refused) => return refused,
        };
        match self.welcome(node, &request) {
            Ok(welcome) => JoinAnswer::Welcome(Box::new(welcome)),
            Err(error) => JoinAnswer::Refused { why: format!("{error:#}"), again: true },
        }
    }

    fn keep_key(&self, key: &str) -> Result<(), String> {
        self.keyring.add(key).map_err(|error| format!("{error:#}"))
    }

    fn keys(&self) -> String {
        self.keyring.text()
    }
}

impl NodeDesk {
    fn opened_host_keys(&self) -> Result<(u64, flotilla_ssh::HostKeys)> {
        let state = self.handle.state();
        let secret = state.secret(HOST_KEYS).context("the cluster has no host keys yet")?;
        let plain = self.keyring.open(&self.identity.member.cluster_id, HOST_KEYS, &secret.sealed)?;
        Ok((secret.revision, parse_host_keys(&plain)?))
    }

    fn make_host_keys(&self) -> Result<(Command, Vec<HostKeyView>)> {
        let (revision, _) = self.opened_host_keys()?;
        let made = flotilla_ssh::generate_host_keys()?;
        let plain: Vec<u8> = made.export()?.iter().flat_map(|key| key.pem.expose().to_vec()).collect();
        let sealed = self.keyring.seal(&self.identity.member.cluster_id, HOST_KEYS, &plain)?;
        let put = PutSecret { name: HOST_KEYS.into(), expected_revision: Some(revision), sealed };
        Ok((Command::PutSecret(put), shown(&made)))
    }

    async fn new_key_for_all(&self) -> Result<Command> {
        let cluster_id = &self.identity.member.cluster_id;
        let state = self.handle.state();
        let plain = state.secrets().map(|secret| {
            let opened = self.keyring.open(cluster_id, &secret.name, &secret.sealed)?;
            anyhow::Ok((secret.name.clone(), secret.revision, opened))
        });
        let plain = plain.collect::<Result<Vec<_>>>()?;
        let key = new_cluster_key();
        let members = self.handle.roster().members.len();
        let having = self.handle.offer_key(&key, OFFER_WITHIN).await.len() + 1;
        ensure!(having > members / 2, "only {having} of {members} members could be given the new cluster key");
        self.keyring.add(&key)?;
        let ring = Keyring::of(&key)?;
        let sealed = plain.into_iter().map(|(name, revision, plain)| {
            let sealed = ring.seal(cluster_id, &name, &plain)?;
            anyhow::Ok((name, revision, sealed))
        });
        Ok(Command::ResealSecrets(ResealSecrets { secrets: sealed.collect::<Result<_>>()? }))
    }
}

/// Algorithm, fingerprint and public half of each key.
fn shown(keys: &flotilla_ssh::HostKeys) -> Vec<HostKeyView> {
    let both = keys.public_lines().into_iter().zip(keys.fingerprints());
    both.map(|(public_key, fingerprint)| {
        let algorithm = public_key.split(' ').next().unwrap_or_default().to_owned();
        HostKeyView { algorithm, fingerprint, public_key }
    })
    .collect()
}

#[async_trait]
impl Vault for NodeDesk {
    fn ca_fingerprint(&self) -> [u8; 32] {
        self.ca_fingerprint
    }

    fn host_keys(&self) -> Result<Vec<HostKeyView>, String> {
        self.opened_host_keys().map(|(_, keys)| shown(&keys)).map_err(|error| format!("{error:#}"))
    }

    fn new_host_keys(&self) -> Result<(Command, Vec<HostKeyView>), String> {
        self.make_host_keys().map_err(|error| format!("{error:#}"))
    }

    async fn rotate_cluster_key(&self) -> Result<Command, String> {
        self.new_key_for_all().await.map_err(|error| format!("{error:#}"))
    }
}
