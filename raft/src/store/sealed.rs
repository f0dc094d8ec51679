//! Values of a store under a checksum of our own.

use std::io;

pub fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log store is damaged: {what}"))
}

/// CRC32, then the value.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The value, if its checksum is right.
pub fn opened(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, body) = bytes.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*sum) == crc32fast::hash(body)).then_some(body)
}
