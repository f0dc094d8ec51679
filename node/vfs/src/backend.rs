//! The traits of a storage, a root on it, its files, uploads and caught files (`PROTOCOL.md` 6 and 8).
//!
//! Paths are bytes, relative to the root, components joined by `/`, canonical (no empty, `.` or `..` component, no NUL); empty = the root.
//! Every method that changes or reads something takes a [`Guard`] and checks it directly before **each** system call or request.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// The lease and cut check of whoever asks, and where they may work. A refusal ends the operation without a further system call.
pub trait Guard: Send + Sync + 'static {
    fn check(&self) -> Result<(), Stopped>;

    /// Asked of each folder that a path led to, open already, before a name in it is used: no link that is changed meanwhile steps
    /// around the answer. `real` gives the folder's path below the root, symlinks resolved.
    fn may_use(&self, _name: &[u8], _how: Use, _real: RealPath<'_>) -> VfsResult<()> {
        Ok(())
    }
}

/// The path of an open folder, found out when it is asked for.
pub type RealPath<'a> = &'a mut dyn FnMut() -> VfsResult<Vec<u8>>;

/// What happens to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What the operation is about.
    Operate,
    /// It is moved away, or to here: asked of both folders, with the kind that was found at the old name.
    Move(FileKind),
    /// What is there goes, because something else takes its name.
    Replace(FileKind),
}

/// The asker's session was cut or its node lost its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped: the session was cut or its lease is over")]
pub struct Stopped;

/// A guard as it travels with the work: blocking work takes a clone to its thread and checks it there, directly before each system call.
pub type GuardRef = Arc<dyn Guard>;

/// For work on behalf of no session.
pub struct NoGuard;
impl NoGuard {
    pub fn shared() -> GuardRef {
        Arc::new(NoGuard)
    }
}
impl Guard for NoGuard {
    fn check(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Why a storage operation failed. Facts; front ends map them to their codes.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    #[error("no such file or directory")]
    NotFound,
    #[error("already exists")]
    Exists,
    #[error("permission denied by the storage")]
    Denied,
    /// The guard refused a folder; the right that is missing, by its name.
    #[error("permission denied: {0} is not allowed there")]
    NotAllowed(&'static str),
    #[error("is a directory")]
    IsDirectory,
    #[error("is not a directory")]
    NotDirectory,
    #[error("directory is not empty")]
    NotEmpty,
    #[error("is neither a regular file nor a directory")]
    SpecialFile,
    #[error("name is too long")]
    NameTooLong,
    #[error("too many symbolic links")]
    LinkLoop,
    #[error("crosses into another file system")]
    CrossDevice,
    #[error("storage is full")]
    NoSpace,
    #[error("invalid: {0}")]
    Invalid(&'static str),
    #[error("not supported by this storage: {0}")]
    Unsupported(&'static str),
    /// The name was made and stands; what came after it failed.
    #[error("made, and then: {0}")]
    Made(Box<VfsError>),
    /// The staging folder of the epoch was fenced: the upload cannot be published any more.
    #[error("upload was fenced: its node's lease ended")]
    Fenced,
    /// The storage is not the cluster's, or not there; the text says why.
    #[error("storage is not usable: {0}")]
    StorageRefused(String),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

pub type VfsResult<T> = Result<T, VfsError>;

impl VfsError {
    /// Of a step after a name was made.
    pub(crate) fn made(self) -> Self {
        VfsError::Made(Box::new(self))
    }
}

/// What a storage can do, probed once when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    pub exchange: bool,
    pub no_replace: bool,
    pub hard_links: bool,
    pub birth_time: bool,
    pub case_folding: bool,
    pub symlinks: bool,
    pub random_writes: bool,
}

/// `close`: synced before CLOSE is answered. `none`: as OpenSSH, except that an upload which replaces a file is synced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Close,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// What `stat` says. Times are whole seconds since the epoch with nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub kind: FileKind,
    pub size: u64,
    /// Permission bits with the file type bits, as `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub links: u64,
    pub inode: InodeName,
}

/// Names an inode for ever: inode numbers are reused at once, so the birth time (ns) belongs to it. `dev` is local to the node and not part of the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeName {
    pub inode: u64,
    pub birth_ns: i64,
}

/// Wanted attributes; absent ones stay. setuid, setgid and sticky bits are masked by the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetStat {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub owner: Option<(u32, u32)>,
    /// atime, mtime in seconds.
    pub times: Option<(i64, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: Vec<u8>,
    /// `lstat` of the entry.
    pub stat: FileStat,
}

/// Free space of the file system behind a root, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub block_size: u64,
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub available_bytes: u64,
    pub total_files: u64,
    pub free_files: u64,
    pub name_max: u64,
}

/// How to open an existing file in place (no TRUNC), or make a new one with EXCL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHow {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    /// Make the file at its name; fails with `Exists`. It is written in place (8.4).
    pub exclusive: bool,
    /// Permission bits of a new file before the umask.
    pub mode: u32,
}

/// The marker that tells whose storage it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub storage_id: String,
    pub cluster_id: String,
}

/// Who owns what is made under a root. What is absent stays the process's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// What a scan counted: each inode once, regular files and symlinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub files: u64,
}

/// What was counted while the account was in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageInUse {
    /// Each inode once, with the largest size that was seen.
    pub all: Usage,
    /// Of it in staging folders.
    pub staged: Usage,
}

/// One configured storage on this node.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    fn name(&self) -> &str;
    fn capability(&self) -> &Capability;
    /// Reads the marker; `Ok(None)` when there is none (a new folder, or an unmounted share: the caller knows which).
    async fn read_marker(&self) -> VfsResult<Option<Marker>>;
    /// Makes the marker, once and durably; fails with `Exists`.
    async fn write_marker(&self, marker: &Marker) -> VfsResult<()>;
    /// Opens an account's root, making the folder (0700, durable) if it is not there. Checks that it is on the same mount.
    async fn open_root(&self, path: &str, account: u64) -> VfsResult<Arc<dyn Root>> {
        self.open_root_as(path, account, Owner::default()).await
    }
    /// As `open_root`; what is made through the root, itself included, is given to `owner` as far as the process may.
    async fn open_root_as(&self, path: &str, account: u64, owner: Owner) -> VfsResult<Arc<dyn Root>>;
    /// Whether anything lies in the root; `false` too if it does not exist.
    async fn is_root_used(&self, path: &str) -> VfsResult<bool>;
    /// Ends an epoch's staging folder for good (8.5): unlink files, remove the folder, sync the parent, repeat until done.
    /// What is no file of ours there is kept aside under `.flotilla/kept/` and logged as an error. Idempotent.
    async fn fence(&self, account: u64, epoch: u64, guard: &GuardRef) -> VfsResult<()>;
    /// Removes the account's staging folders of epochs that are over, with what lies in them: folders that nothing was left in when their
    /// sessions ended, in which a power cut may have brought back what was unlinked. Not synced: what comes back is swept again. The
    /// caller fences epochs that may have left anything uncounted. Whether anything lay there: a scan may have counted it.
    async fn sweep(&self, account: u64, is_over: IsOver, guard: &GuardRef) -> VfsResult<bool>;
    /// Counts what a root stores, staging folders of the account included: `syncfs`, then a walk. Bounded memory.
    async fn scan(&self, path: &str, account: u64, guard: &GuardRef) -> VfsResult<Usage>;
    /// The same while files are published, caught and removed: staging, the tree, staging again. What is published or caught meanwhile is
    /// counted, once; what is renamed may be missed.
    async fn scan_in_use(&self, path: &str, account: u64, guard: &GuardRef) -> VfsResult<UsageInUse>;
}

/// Whether an epoch is over: nobody stages anything in it any more.
pub type IsOver = Box<dyn Fn(u64) -> bool + Send>;

/// One root, opened once per session or shared by sessions; every resolution stays under its descriptor.
#[async_trait]
pub trait Root: Send + Sync + 'static {
    fn capability(&self) -> &Capability;
    async fn stat(&self, path: &[u8], follow: bool, guard: &GuardRef) -> VfsResult<FileStat>;
    async fn set_stat(&self, path: &[u8], wanted: SetStat, guard: &GuardRef) -> VfsResult<()>;
    async fn open_dir(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Box<dyn Dir>>;
    async fn make_dir(&self, path: &[u8], mode: u32, durability: Durability, guard: &GuardRef) -> VfsResult<()>;
    async fn remove_dir(&self, path: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()>;
    /// An error after the link was made is [`VfsError::Made`].
    async fn symlink(&self, path: &[u8], target: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()>;
    async fn read_link(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>>;
    /// Follows symlinks as far as the path exists; the result is canonical and relative to the root.
    async fn real_path(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>>;
    /// Opens a regular file in place. An error after one was made (EXCL) is [`VfsError::Made`].
    async fn open(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<Arc<dyn File>>;
    /// Begins an upload (8.2): a file in `.flotilla/<account>/<epoch>/`, to be published at `path`. Follows a symlink at `path`
    /// (at most 8 hops). Fails early if a directory is there or the parent is missing. Copies mode, owner and ACL of what it will replace at publish.
    async fn stage(&self, path: &[u8], mode: u32, epoch: u64, guard: &GuardRef) -> VfsResult<Arc<dyn Staged>>;
    /// Moves a file or symlink out of its name into the epoch's staging folder. With `Close` the folder is synced before this returns,
    /// with `None` by the caught file before it measures (credits always sync).
    async fn remove(
        &self,
        path: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Box<dyn Caught>>;
    /// Fails with `Exists` if the target exists. The guard is asked with [`Use::Move`].
    async fn rename(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()>;
    /// posix-rename (8.3): replaces a file at the target; what it replaced is caught.
    async fn rename_over(
        &self,
        from: &[u8],
        to: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Option<Box<dyn Caught>>>;
    async fn hard_link(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()>;
    async fn space(&self, guard: &GuardRef) -> VfsResult<Space>;
}

/// An open directory; yields entries in batches, without `.` and `..` and what is hidden.
#[async_trait]
pub trait Dir: Send + Sync {
    /// At most `max` entries; empty at the end.
    async fn next(&mut self, max: usize, guard: &GuardRef) -> VfsResult<Vec<DirEntry>>;
}

/// An open regular file.
#[async_trait]
pub trait File: Send + Sync + 'static {
    /// The inode that was opened.
    fn inode(&self) -> InodeName;
    /// Reads without blocking what is in the page cache: `None` when it would block or the storage cannot tell.
    /// Appends at most `len` bytes to `out`; 0 at the end of the file. The caller checked its guard just before.
    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<VfsResult<usize>>;
    /// Reads up to `len` bytes; empty at the end of the file, short only there.
    async fn read(&self, offset: u64, len: usize, guard: &GuardRef) -> VfsResult<Bytes>;
    /// Writes all of `data`. On failure a prefix may have been written.
    async fn write(&self, offset: u64, data: Bytes, guard: &GuardRef) -> VfsResult<()>;
    async fn stat(&self, guard: &GuardRef) -> VfsResult<FileStat>;
    async fn set_stat(&self, wanted: SetStat, guard: &GuardRef) -> VfsResult<()>;
    async fn sync(&self, guard: &GuardRef) -> VfsResult<()>;
}

/// An upload that is not visible yet. Dropping it without publish or discard leaves the staged file for the fence; call `discard`.
#[async_trait]
pub trait Staged: File {
    /// The final path (after symlinks), relative to the root: what a session finds its own uploads by, with the parent's inode.
    fn target(&self) -> (InodeName, Vec<u8>);
    /// Changes the target of an unpublished upload (rename of it by its own session).
    async fn retarget(&self, path: &[u8], guard: &GuardRef) -> VfsResult<()>;
    /// Publishes (8.3, 8.6). Returns what it replaced, caught in staging. Afterwards the same handle goes on in place.
    async fn publish(&self, durability: Durability, guard: &GuardRef) -> VfsResult<Option<Box<dyn Caught>>>;
    /// Whether the file stands (or stood) at its name. After a failed `publish` this tells whether its charge stays: it does when
    /// `true` (for example the folder could not be synced: CLOSE fails, but the file is there or another session caught and credited it).
    fn is_published(&self) -> bool;
    /// Unlinks the staged file. Idempotent, no guard: cleaning up is always right. `NotFound` is success.
    async fn discard(&self) -> VfsResult<()>;
}

/// A file that a remove or replace took from its name, lying in staging.
#[async_trait]
pub trait Caught: Send + Sync {
    /// Measures after the folder is synced, then unlinks (6.1, 6.2). `None`: no credit, because another link of it is left or it could not
    /// be captured on this storage (the account is then over-counted).
    async fn measure_and_unlink(self: Box<Self>, guard: &GuardRef) -> VfsResult<Option<CreditClaim>>;
}

/// What may be credited: exact size when measured, named by inode. A symlink counts as one file of 0 bytes, here and in a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditClaim {
    pub bytes: u64,
    pub files: u64,
    pub inode: InodeName,
}
