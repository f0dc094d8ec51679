//! The snapshot file: a magic, then frames of (length, CRC32, bytes): the engine's meta, the state's chunks, an empty last one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flotilla_model::State;

use super::state_bytes;
use crate::types::SnapshotMeta;

const MAGIC: &[u8; 8] = b"FLSNAP1\n";
/// A frame is written by us and is never larger; a larger length is damage, not a reason to reserve memory.
const FRAME_MAX: u32 = 64 << 20;

/// Writes and syncs a whole snapshot.
pub fn write(path: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(MAGIC)?;
    write_frame(&mut out, &flotilla_model::codec::encode(meta))?;
    for chunk in state_bytes::chunks(state) {
        write_frame(&mut out, &chunk)?;
    }
    write_frame(&mut out, &[])?;
    out.into_inner().map_err(|error| error.into_error())?.sync_all()
}

pub fn read_meta(path: &Path) -> io::Result<SnapshotMeta> {
    open(path).map(|(meta, _)| meta)
}

/// Reads and checks a whole snapshot.
pub fn read(path: &Path) -> io::Result<(SnapshotMeta, State)> {
    let (meta, mut input) = open(path)?;
    let mut frames = std::iter::from_fn(|| match read_frame(&mut input) {
        Ok(frame) if frame.is_empty() => None,
        other => Some(other),
    });
    let state = state_bytes::restore(&mut frames)?;
    Ok((meta, state))
}

/// Reads it to its end: whether it is whole, and the snapshot that this meta names. Makes no state of it.
pub fn check(path: &Path, named: &SnapshotMeta) -> io::Result<()> {
    let (meta, mut input) = open(path)?;
    if meta.last_log_id != named.last_log_id {
        return Err(damaged("it is another one than was named"));
    }
    while !read_frame(&mut input)?.is_empty() {}
    if input.fill_buf()?.is_empty() { Ok(()) } else { Err(damaged("more follows its end")) }
}

fn open(path: &Path) -> io::Result<(SnapshotMeta, BufReader<File>)> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    fill(&mut input, &mut magic)?;
    if &magic != MAGIC {
        return Err(damaged("it does not begin like one"));
    }
    let meta = flotilla_model::codec::decode(&read_frame(&mut input)?).map_err(|error| damaged(&error.to_string()))?;
    Ok((meta, input))
}

fn write_frame(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= FRAME_MAX);
    let length = length.ok_or_else(|| io::Error::other("a snapshot chunk is larger than 64 MiB"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

fn read_frame(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut length, mut sum) = ([0; 4], [0; 4]);
    fill(input, &mut length)?;
    fill(input, &mut sum)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_MAX {
        return Err(damaged("a frame is too long"));
    }
    let mut bytes = vec![0; length as usize];
    fill(input, &mut bytes)?;
    if crc32fast::hash(&bytes) != u32::from_le_bytes(sum) {
        return Err(damaged("a frame's checksum is wrong"));
    }
    Ok(bytes)
}

fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => error,
    })
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("snapshot file is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed_before_a_state_is_made() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (whole, other) = (dir.path().join("whole"), dir.path().join("other"));
        let meta = SnapshotMeta::default();
        write(&whole, &meta, &State::default()).expect("a snapshot");
        check(&whole, &meta).expect("it is whole");
        let bytes = std::fs::read(&whole).expect("its bytes");
        let refused = |bytes: &[u8]| {
            std::fs::write(&other, bytes).expect("a copy");
            check(&other, &meta).expect_err("it is not whole").to_string()
        };
        for end in 0..bytes.len() {
            assert!(refused(&bytes[..end]).contains("too early"), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(refused(&bytes).contains("damaged"), "flipped at {at}");
        }
        assert!(refused(&[&bytes[..], &[0]].concat()).contains("more follows"));
    }
}
