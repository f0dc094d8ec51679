//! The file format: what is written reads back, and every kind of damage is noticed.

use std::io::Cursor;

use super::file::{Manifest, Reader, Writer};
use super::seal::BackupKey;

fn manifest() -> Manifest {
    Manifest {
        cluster_id: "c".into(),
        log_index: 7,
        state_hash: "00".into(),
        saved_at: 1,
        version: "0".into(),
        users: 2,
        secrets: vec!["ssh-host-keys".into()],
        salt: None,
    }
}

const CHUNKS: [&[u8]; 3] = [b"first chunk", b"second", b""];

fn written(key: Option<&BackupKey>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), manifest(), key).unwrap();
    for chunk in CHUNKS {
        writer.chunk(chunk).unwrap();
    }
    let (bytes, chunks, length) = writer.finish().unwrap();
    assert_eq!((chunks, length), (3, 17));
    bytes
}

fn read(bytes: &[u8], key: Option<&BackupKey>) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut reader = Reader::new(Cursor::new(bytes), key)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

#[test]
fn what_is_written_reads_back_with_and_without_a_key() {
    assert_eq!(read(&written(None), None).unwrap(), CHUNKS);
    let key = BackupKey::new([7; 32]);
    let sealed = written(Some(&key));
    assert_eq!(read(&sealed, Some(&key)).unwrap(), CHUNKS);
    assert!(!sealed.windows(6).any(|window| window == b"second"), "the content is not readable in the file");
    let reader = Reader::new(Cursor::new(&sealed), None).unwrap();
    assert_eq!(reader.manifest.cluster_id, "c", "the manifest is");
    assert!(!reader.is_readable());
    assert_ne!(sealed, written(Some(&key)), "each file has a key of its own");
}

#[test]
fn another_key_is_refused() {
    let sealed = written(Some(&BackupKey::new([7; 32])));
    let error = read(&sealed, Some(&BackupKey::new([8; 32]))).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error:#}");
}

#[test]
fn a_key_is_not_taken_for_a_backup_without_one() {
    let error = read(&written(None), Some(&BackupKey::new([7; 32]))).unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error:#}");
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let key = BackupKey::new([7; 32]);
    for (bytes, key) in [(written(None), None), (written(Some(&key)), Some(&key))] {
        let good = (manifest().log_index, CHUNKS.map(<[u8]>::to_vec).to_vec());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let found = Reader::new(Cursor::new(&damaged), key).map(|reader| reader.manifest);
            let chunks = read(&damaged, key);
            // In a file without a key nothing guards the manifest but the state that it names (`read_state`).
            let unguarded = key.is_none() && found.is_ok_and(|found| found != manifest());
            assert!(chunks.is_err() || unguarded, "byte {at} of {}: {good:?}", bytes.len());
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], key).is_err(), "cut to {length} bytes");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(read(&longer, key).is_err(), "something follows");
    }
}

#[test]
fn sealed_frames_cannot_change_places_or_files() {
    let key = BackupKey::new([7; 32]);
    let (one, other) = (written(Some(&key)), written(Some(&key)));
    let head = one.len() - 3 * (5 + 16) - 17 - end_length(&one);
    let mixed = [&one[..head], &other[head..]].concat();
    assert!(read(&mixed, Some(&key)).is_err());
}

/// Bytes of the last frame, head included.
fn end_length(bytes: &[u8]) -> usize {
    let mut rest = &bytes[b"flotilla-backup 1\n".len()..];
    loop {
        let length = 5 + u32::from_le_bytes(rest[1..5].try_into().unwrap()) as usize;
        if length == rest.len() {
            return length;
        }
        rest = &rest[length..];
    }
}
