//! The cluster's SSH host keys: made once, kept in the log, the same on every node (P7).

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};

/// The private keys that this server proves itself with. Not printable.
#[derive(Clone)]
pub struct HostKeys(Vec<PrivateKey>);

/// A private key on its way into the log.
pub struct ExportedKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`.
    pub algorithm: String,
    /// OpenSSH PEM.
    pub pem: flotilla_auth::Secret,
}

/// Why host keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    #[error("host key {number} cannot be read: {reason}")]
    Unreadable { number: usize, reason: String },
    #[error("host key {number} is protected by a passphrase")]
    Encrypted { number: usize },
    #[error("host key {number} is of type {algorithm}, which is not supported")]
    Unsupported { number: usize, algorithm: String },
    #[error("there is no host key")]
    Missing,
    #[error("host key cannot be made: {0}")]
    NotMade(String),
}

/// Makes an ed25519 and an ECDSA P-256 key, ready to be exported.
pub fn generate_host_keys() -> Result<HostKeys, HostKeyError> {
    let wanted = [Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }];
    let mut random = rand::rng();
    let made = wanted.into_iter().map(|algorithm| PrivateKey::random(&mut random, algorithm));
    let keys: Result<Vec<_>, _> = made.collect();
    keys.map(HostKeys).map_err(|error| HostKeyError::NotMade(error.to_string()))
}

impl HostKeys {
    /// Reads OpenSSH private keys, one in each text.
    pub fn parse<T: AsRef<[u8]>>(pems: impl IntoIterator<Item = T>) -> Result<Self, HostKeyError> {
        let keys: Result<Vec<_>, _> =
            pems.into_iter().enumerate().map(|(at, pem)| parse_one(at + 1, pem.as_ref())).collect();
        let keys = keys?;
        if keys.is_empty() { Err(HostKeyError::Missing) } else { Ok(HostKeys(keys)) }
    }

    /// The private keys as OpenSSH PEM.
    pub fn export(&self) -> Result<Vec<ExportedKey>, HostKeyError> {
        let one = |key: &PrivateKey| {
            let pem = key.to_openssh(LineEnding::LF).map_err(|error| HostKeyError::NotMade(error.to_string()))?;
            Ok(ExportedKey { algorithm: key.algorithm().as_str().to_owned(), pem: secret(pem.as_bytes()) })
        };
        self.0.iter().map(one).collect()
    }

    /// `TYPE BASE64` of each public key.
    pub fn public_lines(&self) -> Vec<String> {
        let line = |key: &PrivateKey| {
            let text = key.public_key().to_openssh().unwrap_or_default();
            text.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        self.0.iter().map(line).collect()
    }

    /// `SHA256:…` of each public key, as OpenSSH shows it.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|key| key.public_key().fingerprint(HashAlg::Sha256).to_string()).collect()
    }

    /// Lines for a client's `known_hosts`.
    pub fn known_hosts(&self, host: &str, port: u16) -> Vec<String> {
        let name = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
        self.public_lines().into_iter().map(|line| format!("{name} {line}")).collect()
    }

    pub(crate) fn keys(&self) -> &[PrivateKey] {
        &self.0
    }
}

fn secret(bytes: &[u8]) -> flotilla_auth::Secret {
    flotilla_auth::Secret::new(bytes)
}

fn parse_one(number: usize, pem: &[u8]) -> Result<PrivateKey, HostKeyError> {
    let unreadable =
        |error: russh::keys::ssh_key::Error| HostKeyError::Unreadable { number, reason: error.to_string() };
    let key = PrivateKey::from_openssh(pem).map_err(unreadable)?;
    if key.is_encrypted() {
        return Err(HostKeyError::Encrypted { number });
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        other => Err(HostKeyError::Unsupported { number, algorithm: other.as_str().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_keys_read_back_as_the_same_keys() {
        let made = generate_host_keys().expect("the system has randomness");
        let exported = made.export().expect("fresh keys can be written");
        let read = HostKeys::parse(exported.iter().map(|key| key.pem.expose())).expect("what was written can be read");
        assert_eq!(read.public_lines(), made.public_lines());
        assert_eq!(
            exported.iter().map(|key| key.algorithm.as_str()).collect::<Vec<_>>(),
            ["ssh-ed25519", "ecdsa-sha2-nistp256"]
        );
        assert!(made.fingerprints().iter().all(|text| text.starts_with("SHA256:")));
        assert!(made.known_hosts("localhost", 2022)[0].starts_with("[localhost]:2022 ssh-ed25519 "));
    }

    /// Signing with RSA leaks the key by its time (RUSTSEC-2023-0071).
    #[test]
    fn rsa_host_keys_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
            .arg(&file)
            .status();
        assert!(made.expect("ssh-keygen runs").success());
        let pem = std::fs::read(&file).expect("it was made");
        assert!(matches!(HostKeys::parse([pem]), Err(HostKeyError::Unsupported { number: 1, .. })));
    }

    #[test]
    fn garbage_and_nothing_are_refused() {
        assert!(matches!(HostKeys::parse(["garbage"]), Err(HostKeyError::Unreadable { number: 1, .. })));
        assert!(matches!(HostKeys::parse(Vec::<&str>::new()), Err(HostKeyError::Missing)));
    }
}
