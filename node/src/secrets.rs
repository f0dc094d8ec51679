//! The cluster key: secrets are sealed with it before they enter the log. One 0600 file per node.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand::RngExt;

use crate::config::secret_file;

/// 32 bytes that open what the log holds sealed.
pub struct ClusterKey(LessSafeKey);

impl ClusterKey {
    /// Makes a key file; fails if it exists.
    pub fn create(file: &Path) -> Result<()> {
        let bytes: [u8; 32] = rand::rng().random();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write_secret(file, text.as_bytes())
    }

    pub fn load(file: &Path) -> Result<ClusterKey> {
        let text = secret_file::read("cluster key", file)?;
        let bytes = parse_hex(text.trim())
            .with_context(|| format!("cluster key {}: expected 64 hexadecimal digits", file.display()))?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| anyhow!("cluster key has a wrong length"))?;
        Ok(ClusterKey(LessSafeKey::new(key)))
    }

    /// Nonce, then ciphertext with its tag. The secret's name and the cluster are authenticated with it.
    pub fn seal(&self, cluster_id: &str, name: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::rng().random();
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(cluster_id, name), &mut sealed)
            .map_err(|_| anyhow!("sealing {name} failed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    pub fn open(&self, cluster_id: &str, name: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        ensure!(sealed.len() > NONCE_LEN, "sealed secret {name} is too short");
        let (nonce, sealed) = sealed.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| anyhow!("sealed secret {name} is damaged"))?;
        let mut plain = sealed.to_vec();
        let length = self
            .0
            .open_in_place(nonce, aad(cluster_id, name), &mut plain)
            .map_err(|_| anyhow!("secret {name} does not open with this cluster key: is it another cluster's?"))?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

fn aad(cluster_id: &str, name: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("flotilla|{cluster_id}|{name}").into_bytes())
}

pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Writes a file that only its owner reads; fails if it exists.
pub fn write_secret(file: &Path, content: &[u8]) -> Result<()> {
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("making {}", file.display()))?;
    out.write_all(content)?;
    out.sync_all()?;
    Ok(())
}

/// A random text of letters and digits, for passwords and tokens: 5.95 bits a character.
pub fn random_text(length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_only_under_its_name_and_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.key");
        ClusterKey::create(&file).unwrap();
        let key = ClusterKey::load(&file).unwrap();
        let sealed = key.seal("c1", "host-key", b"secret").unwrap();
        assert_eq!(key.open("c1", "host-key", &sealed).unwrap(), b"secret");
        assert!(key.open("c2", "host-key", &sealed).is_err());
        assert!(key.open("c1", "other", &sealed).is_err());
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.key");
        ClusterKey::create(&file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(ClusterKey::load(&file).is_err());
    }
}
