//! Contents of files that say which upload they are of, and show whether they are whole.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What a reader found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saw {
    Absent,
    /// The whole content of this id.
    Whole(u64),
    /// Anything else, described.
    Broken(String),
}

/// Bytes of the head: id and size, each eight.
const HEAD: usize = 16;

/// `size` bytes that belong to `id` and no other. Contents shorter than the head hold a part of it and are not told apart.
pub fn content(id: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size.max(HEAD));
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&(size as u64).to_be_bytes());
    bytes.resize(size.max(HEAD), 0);
    StdRng::seed_from_u64(id).fill(&mut bytes[HEAD..]);
    bytes.truncate(size);
    bytes
}

/// Which content it is.
pub fn recognise(bytes: Option<&[u8]>) -> Saw {
    let Some(bytes) = bytes else { return Saw::Absent };
    let number = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
    let (Some(id), Some(size)) = (number(0), number(8)) else {
        return Saw::Broken(format!("{} bytes without a head", bytes.len()));
    };
    if size != bytes.len() as u64 {
        return Saw::Broken(format!("{} bytes with the head of content {id} of {size}", bytes.len()));
    }
    match bytes.iter().zip(content(id, bytes.len())).position(|(is, should)| *is != should) {
        None => Saw::Whole(id),
        Some(at) => Saw::Broken(format!("content {id} of {size} bytes is another from byte {at}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_recognised_and_a_mixture_is_not() {
        let (one, two) = (content(1, 1000), content(2, 1000));
        assert_eq!(recognise(Some(&one)), Saw::Whole(1));
        assert_eq!(recognise(None), Saw::Absent);
        let mixed = [&one[..500], &two[500..]].concat();
        assert!(matches!(recognise(Some(&mixed)), Saw::Broken(text) if text.contains("byte 500")));
        assert!(matches!(recognise(Some(&one[..999])), Saw::Broken(text) if text.contains("999 bytes")));
        assert!(matches!(recognise(Some(&[])), Saw::Broken(_)));
    }
}
