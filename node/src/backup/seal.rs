//! Encryption of a backup under a key that stays with the operator: HKDF-SHA256, then ChaCha20-Poly1305 frame by frame.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use rand::RngExt;

use crate::config::secret_file;
use crate::secrets::parse_hex;

/// 32 bytes; in a file as 64 hexadecimal digits, mode 0600.
pub struct BackupKey([u8; 32]);

impl BackupKey {
    pub fn load(file: &Path) -> Result<BackupKey> {
        let text = secret_file::read("--key-file", file)?;
        let bytes = parse_hex(text.trim());
        Ok(BackupKey(bytes.with_context(|| {
            format!(
                "--key-file {}: expected 64 hexadecimal digits, as `openssl rand -hex 32` makes them",
                file.display()
            )
        })?))
    }

    #[cfg(test)]
    pub fn new(bytes: [u8; 32]) -> BackupKey {
        BackupKey(bytes)
    }
}

/// Makes a key of its own for each backup.
pub fn new_salt() -> String {
    super::file::hex(&rand::rng().random::<[u8; 32]>())
}

/// Seals or opens the frames of one file, in their order.
pub struct Sealer {
    key: LessSafeKey,
    manifest: Vec<u8>,
    frame: u64,
}

impl Sealer {
    pub fn new(key: &BackupKey, salt: &str, manifest: &[u8]) -> Result<Sealer> {
        let failed = |_| anyhow!("deriving the backup's key failed");
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.as_bytes()).extract(&key.0);
        let mut bytes = [0; 32];
        let expanded = pseudorandom.expand(&[b"flotilla backup 1"], hkdf::HKDF_SHA256).map_err(failed)?;
        expanded.fill(&mut bytes).map_err(failed)?;
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(failed)?);
        Ok(Sealer { key, manifest: manifest.to_vec(), frame: 0 })
    }

    pub fn seal(&mut self, kind: u8, bytes: &mut Vec<u8>) -> Result<()> {
        let (nonce, aad) = self.next(kind);
        self.key.seal_in_place_append_tag(nonce, aad, bytes).map_err(|_| anyhow!("sealing failed"))
    }

    pub fn open(&mut self, kind: u8, bytes: &mut Vec<u8>) -> Result<()> {
        let (nonce, aad) = self.next(kind);
        match self.key.open_in_place(nonce, aad, bytes).map(|plain| plain.len()) {
            Ok(length) => bytes.truncate(length),
            Err(_) => bail!("it does not open: another key was given, or it is damaged"),
        }
        Ok(())
    }

    /// A file's key is used for this file alone, so the frame's number is a nonce.
    fn next(&mut self, kind: u8) -> (Nonce, Aad<Vec<u8>>) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.frame.to_be_bytes());
        self.frame += 1;
        let mut aad = self.manifest.clone();
        aad.push(kind);
        (Nonce::assume_unique_for_key(nonce), Aad::from(aad))
    }
}
