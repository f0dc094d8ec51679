//! Decodes one packet (without its length field) into a request. Bytes behind the last field are ignored, as OpenSSH does.

use flotilla_session::OpenFlags;

use super::read::{Cursor, in_request};
use super::{
    Extended, Malformed, Request,
    attributes::take_attributes,
    numbers::{kind, open},
};

pub fn parse(packet: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut cursor = Cursor::new(packet);
    let kind = in_request(None, cursor.u8().map_err(|_| "empty packet"))?;
    let id = in_request(None, cursor.u32().map_err(|_| "packet ends before its request id"))?;
    if kind == kind::INIT {
        return Ok(Request::Init { version: id });
    }
    in_request(Some(id), body(kind, id, &mut cursor))
}

fn body<'a>(kind: u8, id: u32, from: &mut Cursor<'a>) -> Result<Request<'a>, &'static str> {
    Ok(match kind {
        kind::OPEN => Request::Open {
            id,
            path: from.string()?,
            flags: open_flags(from.u32()?),
            attributes: take_attributes(from)?,
        },
        kind::CLOSE => Request::Close { id, handle: from.string()? },
        kind::READ => Request::Read { id, handle: from.string()?, offset: from.u64()?, length: from.u32()? },
        kind::WRITE => Request::Write { id, handle: from.string()?, offset: from.u64()?, data: from.string()? },
        kind::LSTAT => Request::LinkStat { id, path: from.string()? },
        kind::FSTAT => Request::HandleStat { id, handle: from.string()? },
        kind::SETSTAT => Request::SetStat { id, path: from.string()?, attributes: take_attributes(from)? },
        kind::FSETSTAT => Request::HandleSetStat { id, handle: from.string()?, attributes: take_attributes(from)? },
        kind::OPENDIR => Request::OpenDir { id, path: from.string()? },
        kind::READDIR => Request::ReadDir { id, handle: from.string()? },
        kind::REMOVE => Request::Remove { id, path: from.string()? },
        kind::MKDIR => Request::MakeDir { id, path: from.string()?, attributes: take_attributes(from)? },
        kind::RMDIR => Request::RemoveDir { id, path: from.string()? },
        kind::REALPATH => Request::RealPath { id, path: from.string()? },
        kind::STAT => Request::Stat { id, path: from.string()? },
        kind::RENAME => Request::Rename { id, from: from.string()?, to: from.string()? },
        kind::READLINK => Request::ReadLink { id, path: from.string()? },
        kind::SYMLINK => Request::Symlink { id, target: from.string()?, link: from.string()? },
        kind::EXTENDED => Request::Extended { id, request: extended(from)? },
        kind => Request::Unknown { id, kind },
    })
}

fn extended<'a>(from: &mut Cursor<'a>) -> Result<Extended<'a>, &'static str> {
    Ok(match from.string()? {
        b"posix-rename@openssh.com" => Extended::PosixRename { from: from.string()?, to: from.string()? },
        b"statvfs@openssh.com" => Extended::Space { path: from.string()? },
        b"fstatvfs@openssh.com" => Extended::HandleSpace { handle: from.string()? },
        b"fsync@openssh.com" => Extended::Sync { handle: from.string()? },
        b"limits@openssh.com" => Extended::Limits,
        name => Extended::Unknown { name },
    })
}

/// Flags that version 3 does not know are ignored, as OpenSSH does.
fn open_flags(bits: u32) -> OpenFlags {
    OpenFlags {
        read: bits & open::READ != 0,
        write: bits & open::WRITE != 0,
        append: bits & open::APPEND != 0,
        create: bits & open::CREATE != 0,
        truncate: bits & open::TRUNCATE != 0,
        exclusive: bits & open::EXCLUSIVE != 0,
    }
}
