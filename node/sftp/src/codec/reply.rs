//! Builds replies, each in one buffer with its length field.

use bytes::Bytes;
use flotilla_session::{FileStat, SpaceLeft};

use super::attributes::{put_attributes, put_no_attributes};
use super::numbers::{VERSION, code, kind};
use super::{MAX_PACKET, MAX_TRANSFER, long_name};

/// Length field, type, request id and data length of a DATA reply.
pub const DATA_HEAD: usize = 13;
/// A message is cut to this many bytes.
const MAX_MESSAGE: usize = 1024;

const EXTENSIONS: [(&str, &str); 5] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("fsync@openssh.com", "1"),
    ("limits@openssh.com", "1"),
];

fn begin(kind: u8, body: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + body);
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out
}

fn begin_answer(kind: u8, id: u32, body: usize) -> Vec<u8> {
    let mut out = begin(kind, 4 + body);
    put_u32(&mut out, id);
    out
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, length(bytes.len()));
    out.extend_from_slice(bytes);
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("replies are far smaller than 4 GiB")
}

fn finish(mut out: Vec<u8>) -> Bytes {
    let size = length(out.len() - 4);
    out[..4].copy_from_slice(&size.to_be_bytes());
    Bytes::from(out)
}

pub fn version() -> Bytes {
    let mut out = begin(kind::VERSION, 256);
    put_u32(&mut out, VERSION);
    for (name, revision) in EXTENSIONS {
        put_string(&mut out, name.as_bytes());
        put_string(&mut out, revision.as_bytes());
    }
    finish(out)
}

pub fn status(id: u32, code: u32, message: &str) -> Bytes {
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let mut out = begin_answer(kind::STATUS, id, 14 + message.len());
    put_u32(&mut out, code);
    put_string(&mut out, message.as_bytes());
    put_string(&mut out, b"en");
    finish(out)
}

pub fn ok(id: u32) -> Bytes {
    status(id, code::OK, "Success")
}

pub fn end_of_file(id: u32) -> Bytes {
    status(id, code::EOF, "End of file")
}

pub fn handle(id: u32, handle: &[u8]) -> Bytes {
    let mut out = begin_answer(kind::HANDLE, id, 4 + handle.len());
    put_string(&mut out, handle);
    finish(out)
}

/// A DATA reply into which up to `capacity` bytes are read directly: fill behind [`DATA_HEAD`], then [`finish_data`].
pub fn begin_data(id: u32, capacity: usize) -> Vec<u8> {
    let mut out = begin_answer(kind::DATA, id, 4 + capacity);
    put_u32(&mut out, 0);
    out
}

pub fn finish_data(mut out: Vec<u8>) -> Bytes {
    // A short read at the end of a file must not hold the room of a long one until it is sent.
    if out.capacity() > 4096 && out.len() < out.capacity() / 2 {
        out.shrink_to_fit();
    }
    let size = length(out.len() - DATA_HEAD);
    out[DATA_HEAD - 4..DATA_HEAD].copy_from_slice(&size.to_be_bytes());
    finish(out)
}

pub fn data(id: u32, bytes: &[u8]) -> Bytes {
    let mut out = begin_data(id, bytes.len());
    out.extend_from_slice(bytes);
    finish_data(out)
}

pub fn attributes(id: u32, stat: &FileStat) -> Bytes {
    let mut out = begin_answer(kind::ATTRS, id, 32);
    put_attributes(&mut out, stat);
    finish(out)
}

/// A NAME reply with one name and no attributes: the answer to REALPATH and READLINK.
pub fn one_name(id: u32, name: &[u8]) -> Bytes {
    let mut out = begin_answer(kind::NAME, id, 16 + 2 * name.len());
    put_u32(&mut out, 1);
    put_string(&mut out, name);
    put_string(&mut out, name);
    put_no_attributes(&mut out);
    finish(out)
}

/// A NAME reply that is filled entry by entry up to a size.
pub struct Names {
    out: Vec<u8>,
    count: u32,
    now_s: i64,
}

impl Names {
    const COUNT_AT: usize = 9;

    pub fn new(id: u32, now_s: i64) -> Self {
        let mut out = begin_answer(kind::NAME, id, 1024);
        put_u32(&mut out, 0);
        Self { out, count: 0, now_s }
    }

    pub fn push(&mut self, name: &[u8], stat: &FileStat) {
        put_string(&mut self.out, name);
        let length_at = self.out.len();
        put_u32(&mut self.out, 0);
        long_name(&mut self.out, name, stat, self.now_s);
        let size = length(self.out.len() - length_at - 4);
        self.out[length_at..length_at + 4].copy_from_slice(&size.to_be_bytes());
        put_attributes(&mut self.out, stat);
        self.count += 1;
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far, all fields included.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// What [`Names::push`] adds at most for a name of this length.
    pub fn entry_size(name: &[u8]) -> usize {
        2 * name.len() + 160
    }

    pub fn finish(mut self) -> Bytes {
        self.out[Self::COUNT_AT..Self::COUNT_AT + 4].copy_from_slice(&self.count.to_be_bytes());
        finish(self.out)
    }
}

/// `statvfs@openssh.com`: eleven numbers, as in OpenSSH's PROTOCOL 3.4.
pub fn space(id: u32, left: &SpaceLeft) -> Bytes {
    const READ_ONLY: u64 = 1;
    const NO_SET_UID: u64 = 2;
    let space = &left.space;
    let block = space.block_size.max(1);
    let flags = NO_SET_UID | if left.read_only { READ_ONLY } else { 0 };
    numbers(
        id,
        &[
            block,
            block,
            space.total_bytes / block,
            space.free_bytes / block,
            space.available_bytes / block,
            space.total_files,
            space.free_files,
            space.free_files,
            0,
            flags,
            space.name_max,
        ],
    )
}

/// `limits@openssh.com`: packet, read, write, handles.
pub fn limits(id: u32, open_handles: usize) -> Bytes {
    numbers(id, &[MAX_PACKET as u64, MAX_TRANSFER as u64, MAX_TRANSFER as u64, open_handles as u64])
}

fn numbers(id: u32, values: &[u64]) -> Bytes {
    let mut out = begin_answer(kind::EXTENDED_REPLY, id, 8 * values.len());
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
    finish(out)
}
