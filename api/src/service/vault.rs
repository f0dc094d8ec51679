//! What administration asks of the holder of the cluster's keys. The keys themselves never come here.

use async_trait::async_trait;
use flotilla_model::Command;

/// A public SSH host key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyView {
    pub algorithm: String,
    /// As OpenSSH shows it: `SHA256:…`.
    pub fingerprint: String,
    /// `ALGORITHM BASE64`.
    pub public_key: String,
}

/// One per node.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// SHA-256 of the cluster CA's certificate.
    fn ca_fingerprint(&self) -> [u8; 32];

    /// The host keys in the log, as far as this node has applied it.
    fn host_keys(&self) -> Result<Vec<HostKeyView>, String>;

    /// New host keys, sealed: the command that puts them in the place of those that are there now.
    fn new_host_keys(&self) -> Result<(Command, Vec<HostKeyView>), String>;

    /// Makes a new cluster key, gives it to the members, and seals all secrets with it: the command that puts them.
    /// A majority of the members must have the key first, since whoever loses it loses the secrets.
    async fn rotate_cluster_key(&self) -> Result<Command, String>;
}
