//! A parsed request, borrowing from its packet.

use flotilla_session::{OpenFlags, SetStat};

#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Init {
        version: u32,
    },
    Open {
        id: u32,
        path: &'a [u8],
        flags: OpenFlags,
        attributes: SetStat,
    },
    Close {
        id: u32,
        handle: &'a [u8],
    },
    Read {
        id: u32,
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        id: u32,
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    LinkStat {
        id: u32,
        path: &'a [u8],
    },
    HandleStat {
        id: u32,
        handle: &'a [u8],
    },
    SetStat {
        id: u32,
        path: &'a [u8],
        attributes: SetStat,
    },
    HandleSetStat {
        id: u32,
        handle: &'a [u8],
        attributes: SetStat,
    },
    OpenDir {
        id: u32,
        path: &'a [u8],
    },
    ReadDir {
        id: u32,
        handle: &'a [u8],
    },
    Remove {
        id: u32,
        path: &'a [u8],
    },
    MakeDir {
        id: u32,
        path: &'a [u8],
        attributes: SetStat,
    },
    RemoveDir {
        id: u32,
        path: &'a [u8],
    },
    RealPath {
        id: u32,
        path: &'a [u8],
    },
    Stat {
        id: u32,
        path: &'a [u8],
    },
    Rename {
        id: u32,
        from: &'a [u8],
        to: &'a [u8],
    },
    ReadLink {
        id: u32,
        path: &'a [u8],
    },
    /// OpenSSH and every client that follows it send the target first; the draft says the link first.
    Symlink {
        id: u32,
        target: &'a [u8],
        link: &'a [u8],
    },
    Extended {
        id: u32,
        request: Extended<'a>,
    },
    /// A packet type that is no request of version 3.
    Unknown {
        id: u32,
        kind: u8,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Extended<'a> {
    PosixRename { from: &'a [u8], to: &'a [u8] },
    Space { path: &'a [u8] },
    HandleSpace { handle: &'a [u8] },
    Sync { handle: &'a [u8] },
    Limits,
    Unknown { name: &'a [u8] },
}

/// A packet that cannot be decoded. With an id it is answered BAD_MESSAGE; either way the channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {reason}")]
pub struct Malformed {
    pub id: Option<u32>,
    pub reason: &'static str,
}
