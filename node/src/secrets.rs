//! The cluster key: secrets are sealed with it before they enter the log. One 0600 file per node.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand::RngExt;

use crate::config::secret_file;
use crate::identity::replace_private;

/// 32 bytes that open what the log holds sealed.
struct ClusterKey(LessSafeKey);

/// The cluster keys of a node, oldest first. The last one seals; any may open, since one is replaced while others read.
pub struct Keyring {
    file: PathBuf,
    keys: RwLock<Vec<(String, ClusterKey)>>,
}

/// Keys that are kept. One comes with each removed node; the oldest go when nothing can be sealed with them any more.
const KEPT: usize = 256;

/// A new cluster key as text.
pub fn new_cluster_key() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Keyring {
    /// Reads the key file: 64 hexadecimal digits a line, mode 0600.
    pub fn load(file: &Path) -> Result<Keyring> {
        let text = secret_file::read("cluster key", file)?;
        let keys = parse_keys(&text).with_context(|| format!("cluster key {}", file.display()))?;
        Ok(Keyring { file: file.to_owned(), keys: RwLock::new(keys) })
    }

    /// A keyring that is not in a file: for what is sealed before there is a node.
    pub fn of(text: &str) -> Result<Keyring> {
        Ok(Keyring { file: PathBuf::new(), keys: RwLock::new(parse_keys(text)?) })
    }

    fn keys(&self) -> std::sync::RwLockReadGuard<'_, Vec<(String, ClusterKey)>> {
        self.keys.read().expect("no panic while keys are locked")
    }

    /// All keys, a line each.
    pub fn text(&self) -> String {
        self.keys().iter().map(|(text, _)| format!("{text}\n")).collect()
    }

    /// Adds a key, which seals from now on, and keeps it in the file. One that is known already changes nothing.
    pub fn add(&self, text: &str) -> Result<()> {
        let mut keys = self.keys.write().expect("no panic while keys are locked");
        let mut all: Vec<String> = keys.iter().map(|(text, _)| text.clone()).collect();
        if all.iter().any(|known| known == text.trim()) {
            return Ok(());
        }
        all.push(text.trim().to_owned());
        let kept: String = all[all.len().saturating_sub(KEPT)..].iter().map(|text| format!("{text}\n")).collect();
        let parsed = parse_keys(&kept)?;
        replace_private(&self.file, kept.as_bytes())?;
        *keys = parsed;
        Ok(())
    }

    /// Nonce, then ciphertext with its tag. The secret's name and the cluster are authenticated with it.
    pub fn seal(&self, cluster_id: &str, name: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let keys = self.keys();
        let (_, key) = keys.last().context("there is no cluster key")?;
        key.seal(cluster_id, name, plain)
    }

    pub fn open(&self, cluster_id: &str, name: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let keys = self.keys();
        let opened = keys.iter().rev().find_map(|(_, key)| key.open(cluster_id, name, sealed).ok());
        opened.ok_or_else(|| anyhow!("secret {name} does not open with the cluster keys of this node"))
    }
}

fn parse_keys(text: &str) -> Result<Vec<(String, ClusterKey)>> {
    let keys: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(parse_key).collect::<Result<_>>()?;
    ensure!(!keys.is_empty(), "expected 64 hexadecimal digits");
    Ok(keys)
}

fn parse_key(line: &str) -> Result<(String, ClusterKey)> {
    let bytes = parse_hex(line.trim()).context("expected 64 hexadecimal digits")?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| anyhow!("cluster key has a wrong length"))?;
    Ok((line.trim().to_owned(), ClusterKey(LessSafeKey::new(key))))
}

impl ClusterKey {
    fn seal(&self, cluster_id: &str, name: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::rng().random();
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(cluster_id, name), &mut sealed)
            .map_err(|_| anyhow!("sealing {name} failed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, cluster_id: &str, name: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        ensure!(sealed.len() > NONCE_LEN, "sealed secret {name} is too short");
        let (nonce, sealed) = sealed.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| anyhow!("sealed secret {name} is damaged"))?;
        let mut plain = sealed.to_vec();
        let length = self
            .0
            .open_in_place(nonce, aad(cluster_id, name), &mut plain)
            .map_err(|_| anyhow!("secret {name} does not open with this cluster key"))?
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
        let key = Keyring::of(&new_cluster_key()).unwrap();
        let sealed = key.seal("c1", "host-key", b"secret").unwrap();
        assert_eq!(key.open("c1", "host-key", &sealed).unwrap(), b"secret");
        assert!(key.open("c2", "host-key", &sealed).is_err());
        assert!(key.open("c1", "other", &sealed).is_err());
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.key");
        replace_private(&file, new_cluster_key().as_bytes()).unwrap();
        let ring = Keyring::load(&file).unwrap();
        let old = ring.seal("c", "s", b"old").unwrap();
        let new_key = new_cluster_key();
        ring.add(&new_key).unwrap();
        ring.add(&new_key).unwrap();
        let new = ring.seal("c", "s", b"new").unwrap();
        assert_eq!(Keyring::of(&new_key).unwrap().open("c", "s", &new).unwrap(), b"new");
        let again = Keyring::load(&file).unwrap();
        assert_eq!(again.text().lines().count(), 2);
        assert_eq!(again.open("c", "s", &old).unwrap(), b"old");
        assert_eq!(again.open("c", "s", &new).unwrap(), b"new");
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.key");
        replace_private(&file, new_cluster_key().as_bytes()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keyring::load(&file).is_err());
    }
}
