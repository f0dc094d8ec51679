//! Values of a store under a checksum of our own.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

const DAMAGED: &str = "log store is damaged";

pub fn damaged(what: String) -> io::Error {
    let remedy = "remove the node from the cluster, and join it afresh with an empty data folder (the only node: restore a backup)";
    io::Error::new(io::ErrorKind::InvalidData, format!("{DAMAGED}: {what}; {remedy}"))
}

/// Whether an error is one of `damaged` already.
pub fn is_told(error: &io::Error) -> bool {
    error.to_string().starts_with(DAMAGED)
}

/// Opens the store in a folder, which an error names. The libraries below panic over some damaged files, which is an error like any
/// other damage.
pub fn opening<T>(dir: &Path, open: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let opened = std::panic::catch_unwind(AssertUnwindSafe(open));
    let opened = opened.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(damaged(format!("it cannot be opened: {}", text.unwrap_or("no reason given"))))
    });
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
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
