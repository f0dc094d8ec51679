//! Versioned bytes of entries and records: one version byte, then postcard. A new version gets a number and a `migrate`.

use serde::{Serialize, de::DeserializeOwned};

use crate::Entry;

/// The only version so far.
const V1: u8 = 1;

/// Why stored or sent bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("version {0} is newer than this program knows (1): start a newer program on this data")]
    NewerVersion(u8),
    #[error("bytes are damaged: {0}")]
    Damaged(#[from] postcard::Error),
    #[error("bytes are damaged: empty")]
    Empty,
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![V1]).expect("records hold no type that postcard cannot encode")
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&V1, rest)) => Ok(postcard::from_bytes(rest)?),
        Some((&version, _)) => Err(DecodeError::NewerVersion(version)),
    }
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }
}
