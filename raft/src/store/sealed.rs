//! Values of a store under a checksum of our own.

use std::io;
use std::panic::AssertUnwindSafe;

pub fn damaged(what: String) -> io::Error {
    let remedy = "remove the node from the cluster, and join it afresh with an empty data folder";
    io::Error::new(io::ErrorKind::InvalidData, format!("log store is damaged: {what}; {remedy}"))
}

/// Opens a store. The libraries below panic over some damaged files; which is an error like any other damage.
pub fn opening<T>(open: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let opened = std::panic::catch_unwind(AssertUnwindSafe(open));
    opened.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(damaged(format!("it cannot be opened: {}", text.unwrap_or("no reason given"))))
    })
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
