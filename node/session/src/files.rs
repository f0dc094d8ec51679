//! What a front end does with files: one trait for a session's view, one for an open file, one for an open directory.
//!
//! Client paths are bytes as sent; the session makes them canonical (`VPath`), relative ones start at `/`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_cluster::ActiveTransfer;
pub use flotilla_vfs::{DirEntry, FileKind, FileStat, SetStat, Space};

/// Why an operation failed, as a fact. Each front end has one table from this to its codes.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no such file or directory")]
    NotFound,
    #[error("already exists")]
    Exists,
    /// The right that is missing, by its wire name.
    #[error("permission denied: {0} is not allowed here")]
    NotAllowed(&'static str),
    #[error("permission denied")]
    Denied,
    /// Over quota: the text has the numbers and whether room is taken, in use, or held by a node out of reach (5.4).
    #[error("{0}")]
    QuotaExceeded(String),
    #[error("file is larger than the {limit} bytes that are allowed")]
    FileTooLarge { limit: u64 },
    #[error("{0}")]
    Invalid(String),
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    #[error("too many open handles")]
    TooManyHandles,
    /// An earlier WRITE of this handle failed: nothing was published.
    #[error("upload failed before and was not stored: {0}")]
    UploadFailed(String),
    /// The session is over: close the channel, answer nothing.
    #[error("session ended: {0}")]
    SessionOver(String),
    /// No quorum in time: nothing can be decided.
    #[error("cluster unavailable: {0}")]
    Unavailable(String),
    #[error("{0}")]
    Storage(#[from] flotilla_vfs::VfsError),
}

/// SFTP's open flags, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub create: bool,
    pub truncate: bool,
    pub exclusive: bool,
}

/// `statvfs` with the quota folded in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceLeft {
    pub space: Space,
    pub read_only: bool,
}

/// A session's files. All calls check permission, lease and cut; a cut session answers `SessionOver`.
#[async_trait]
pub trait Files: Send + Sync + 'static {
    async fn open(&self, path: &[u8], flags: OpenFlags, attributes: SetStat) -> Result<Arc<dyn OpenFile>, Failure>;
    async fn open_dir(&self, path: &[u8]) -> Result<Box<dyn OpenDir>, Failure>;
    async fn stat(&self, path: &[u8]) -> Result<FileStat, Failure>;
    async fn lstat(&self, path: &[u8]) -> Result<FileStat, Failure>;
    async fn set_stat(&self, path: &[u8], wanted: SetStat) -> Result<(), Failure>;
    async fn remove(&self, path: &[u8]) -> Result<(), Failure>;
    async fn make_dir(&self, path: &[u8], attributes: SetStat) -> Result<(), Failure>;
    async fn remove_dir(&self, path: &[u8]) -> Result<(), Failure>;
    /// Absolute canonical client path; need not exist.
    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, Failure>;
    /// Fails if the target exists (draft-02 6.5).
    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Failure>;
    async fn posix_rename(&self, from: &[u8], to: &[u8]) -> Result<(), Failure>;
    async fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Failure>;
    async fn symlink(&self, target: &[u8], link: &[u8]) -> Result<(), Failure>;
    async fn space(&self, path: &[u8]) -> Result<SpaceLeft, Failure>;
}

/// An open file. Reads and writes of one file may run at the same time; the engine keeps the order that the protocol needs.
#[async_trait]
pub trait OpenFile: Send + Sync + 'static {
    /// The fast path: what is in the page cache, after the checks. Appends to `out`. `None`: use `read`.
    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<Result<usize, Failure>>;
    /// Empty at the end of the file.
    async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Failure>;
    /// Charges growth before it writes. A failure makes a later `close` fail.
    async fn write(&self, offset: u64, data: Bytes) -> Result<(), Failure>;
    async fn stat(&self) -> Result<FileStat, Failure>;
    async fn set_stat(&self, wanted: SetStat) -> Result<(), Failure>;
    async fn sync(&self) -> Result<(), Failure>;
    /// Publishes an upload. OK means stored (P5). Exactly once; all writes have returned before.
    async fn close(&self) -> Result<(), Failure>;
    /// Once it is closed: whether the file was removed meanwhile. Its room is freed when this is dropped, which takes the time of the disk.
    fn frees_room(&self) -> bool {
        false
    }
    /// What goes on with it, for people; `None`: nothing to tell.
    fn active(&self) -> Option<ActiveTransfer> {
        None
    }
    /// The connection ended without a CLOSE: discards an upload, gives room back.
    async fn abandon(&self);
}

/// An open directory. `.` and `..` are the front end's business.
#[async_trait]
pub trait OpenDir: Send + Sync {
    /// At most `max` entries; empty at the end.
    async fn next(&mut self, max: usize) -> Result<Vec<DirEntry>, Failure>;
}
