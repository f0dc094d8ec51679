//! ATTRS structures: in as wanted changes, out from a file's state.

use flotilla_session::{FileKind, FileStat, SetStat};

use super::numbers::{attribute, mode};
use super::read::Cursor;

/// Decodes an ATTRS structure that stands alone.
pub fn read_attributes(bytes: &[u8]) -> Result<SetStat, &'static str> {
    take_attributes(&mut Cursor::new(bytes))
}

/// Unknown flag bits have no fields in version 3 and are ignored; extended pairs are skipped.
pub(super) fn take_attributes(from: &mut Cursor<'_>) -> Result<SetStat, &'static str> {
    let flags = from.u32()?;
    let mut wanted = SetStat::default();
    if flags & attribute::SIZE != 0 {
        wanted.size = Some(from.u64()?);
    }
    if flags & attribute::OWNER != 0 {
        wanted.owner = Some((from.u32()?, from.u32()?));
    }
    if flags & attribute::MODE != 0 {
        // Clients send the file type along; it cannot be changed.
        wanted.mode = Some(from.u32()? & !mode::TYPE);
    }
    if flags & attribute::TIMES != 0 {
        wanted.times = Some((i64::from(from.u32()?), i64::from(from.u32()?)));
    }
    if flags & attribute::EXTENDED != 0 {
        skip_pairs(from)?;
    }
    Ok(wanted)
}

fn skip_pairs(from: &mut Cursor<'_>) -> Result<(), &'static str> {
    // A lying count ends with the packet: each turn takes at least eight bytes.
    for _ in 0..from.u32()? {
        from.string()?;
        from.string()?;
    }
    Ok(())
}

pub(super) fn put_attributes(out: &mut Vec<u8>, stat: &FileStat) {
    let flags = attribute::SIZE | attribute::OWNER | attribute::MODE | attribute::TIMES;
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&stat.size.to_be_bytes());
    for field in [stat.uid, stat.gid, wire_mode(stat), wire_seconds(stat.atime.0), wire_seconds(stat.mtime.0)] {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

/// An ATTRS structure with no fields.
pub(super) fn put_no_attributes(out: &mut Vec<u8>) {
    out.extend_from_slice(&0u32.to_be_bytes());
}

/// `st_mode`; a backend that knows no type bits gets those of the kind.
pub(super) fn wire_mode(stat: &FileStat) -> u32 {
    if stat.mode & mode::TYPE != 0 {
        return stat.mode & 0o177_777;
    }
    let kind = match stat.kind {
        FileKind::File => mode::FILE,
        FileKind::Directory => mode::DIRECTORY,
        FileKind::Symlink => mode::SYMLINK,
        FileKind::Other => 0,
    };
    kind | (stat.mode & 0o7777)
}

/// Version 3 has 32 bits for a time: from 1970 to 2106.
fn wire_seconds(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}
