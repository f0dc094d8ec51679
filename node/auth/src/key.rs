//! SSH public keys as comparable blobs: one line of `authorized_keys`, or what a client offers (RFC 4253 6.6, RFC 5656, PROTOCOL.u2f).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// The smallest RSA modulus that is taken, in bits.
const MIN_RSA_BITS: usize = 2048;
/// RSA 16384 has a blob of about 2.1 KiB; nothing legitimate is longer.
const MAX_BLOB_BYTES: usize = 4096;

/// Kinds of keys that are taken. DSA is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Ed25519,
    SkEd25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    SkEcdsaP256,
    Rsa,
}

impl KeyKind {
    const NAMES: [(&'static str, KeyKind); 7] = [
        ("ssh-ed25519", KeyKind::Ed25519),
        ("sk-ssh-ed25519@openssh.com", KeyKind::SkEd25519),
        ("ecdsa-sha2-nistp256", KeyKind::EcdsaP256),
        ("ecdsa-sha2-nistp384", KeyKind::EcdsaP384),
        ("ecdsa-sha2-nistp521", KeyKind::EcdsaP521),
        ("sk-ecdsa-sha2-nistp256@openssh.com", KeyKind::SkEcdsaP256),
        ("ssh-rsa", KeyKind::Rsa),
    ];

    fn parse(name: &[u8]) -> Option<KeyKind> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, kind)| *kind)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("not a public key line: expected TYPE BASE64 [COMMENT]")]
    NotALine,
    #[error("options before the key are not supported")]
    Options,
    #[error("the key's base64 is damaged")]
    Base64,
    #[error("key type is not supported")]
    UnknownType,
    #[error("the type before the key is not the key's")]
    TypeMismatch,
    #[error("the key is damaged")]
    Damaged,
    #[error("RSA keys need at least 2048 bits, this one has {0}")]
    RsaTooShort(usize),
}

/// A public key in SSH's wire format, checked.
#[derive(Clone, Debug)]
pub struct PublicKey {
    kind: KeyKind,
    blob: Vec<u8>,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.blob.ct_eq(&other.blob).into()
    }
}
impl Eq for PublicKey {}

impl PublicKey {
    /// Reads a wire blob.
    pub fn from_blob(blob: &[u8]) -> Result<Self, InvalidKey> {
        if blob.len() > MAX_BLOB_BYTES {
            return Err(InvalidKey::Damaged);
        }
        let (name, fields) = take_string(blob)?;
        let kind = KeyKind::parse(name).ok_or(InvalidKey::UnknownType)?;
        check_fields(kind, fields)?;
        Ok(PublicKey { kind, blob: blob.to_vec() })
    }

    /// Reads a line of `authorized_keys` without options: type, base64, comment.
    pub fn parse_line(line: &str) -> Result<Self, InvalidKey> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().ok_or(InvalidKey::NotALine)?;
        let encoded = words.next().ok_or(InvalidKey::NotALine)?;
        if KeyKind::parse(name.as_bytes()).is_none() {
            let later = encoded.as_bytes();
            return Err(if KeyKind::parse(later).is_some() { InvalidKey::Options } else { InvalidKey::UnknownType });
        }
        let blob = STANDARD.decode(encoded).map_err(|_| InvalidKey::Base64)?;
        let key = Self::from_blob(&blob)?;
        if key.kind.name() == name { Ok(key) } else { Err(InvalidKey::TypeMismatch) }
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// As OpenSSH prints it: `SHA256:` and unpadded base64.
    pub fn fingerprint(&self) -> String {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(&self.blob);
        format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest))
    }
}

fn take_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), InvalidKey> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(InvalidKey::Damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| InvalidKey::Damaged)?;
    rest.split_at_checked(length).ok_or(InvalidKey::Damaged)
}

fn check_fields(kind: KeyKind, fields: &[u8]) -> Result<(), InvalidKey> {
    let rest = match kind {
        KeyKind::Ed25519 => take_sized(fields, 32)?,
        KeyKind::SkEd25519 => take_string(take_sized(fields, 32)?)?.1,
        KeyKind::EcdsaP256 => take_point(fields, b"nistp256", 65)?,
        KeyKind::EcdsaP384 => take_point(fields, b"nistp384", 97)?,
        KeyKind::EcdsaP521 => take_point(fields, b"nistp521", 133)?,
        KeyKind::SkEcdsaP256 => take_string(take_point(fields, b"nistp256", 65)?)?.1,
        KeyKind::Rsa => take_rsa(fields)?,
    };
    if rest.is_empty() { Ok(()) } else { Err(InvalidKey::Damaged) }
}

fn take_sized(fields: &[u8], length: usize) -> Result<&[u8], InvalidKey> {
    let (value, rest) = take_string(fields)?;
    if value.len() == length { Ok(rest) } else { Err(InvalidKey::Damaged) }
}

/// Curve name, then an uncompressed point (SEC 1, 2.3.3).
fn take_point<'a>(fields: &'a [u8], curve: &[u8], length: usize) -> Result<&'a [u8], InvalidKey> {
    let (name, rest) = take_string(fields)?;
    let (point, rest) = take_string(rest)?;
    let sound = name == curve && point.len() == length && point[0] == 4;
    if sound { Ok(rest) } else { Err(InvalidKey::Damaged) }
}

fn take_rsa(fields: &[u8]) -> Result<&[u8], InvalidKey> {
    let (_exponent, rest) = take_string(fields)?;
    let (modulus, rest) = take_string(rest)?;
    let significant: &[u8] = match modulus {
        [0, tail @ ..] => tail,
        all => all,
    };
    let first = significant.first().copied().ok_or(InvalidKey::Damaged)?;
    let bits = significant.len() * 8 - first.leading_zeros() as usize;
    if bits < MIN_RSA_BITS { Err(InvalidKey::RsaTooShort(bits)) } else { Ok(rest) }
}
