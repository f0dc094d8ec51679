//! System calls: the guard before each of them, their errors as facts, and the one way to a thread that may block.

use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::backend::{FileKind, FileStat, GuardRef, InodeName, Stopped, VfsError, VfsResult};

/// Bits that a client may set; setuid, setgid and sticky are masked.
pub(super) const MODE_BITS: u32 = 0o777;
/// Taken from the mode of everything new.
pub(super) const UMASK: u32 = 0o022;
/// How often a call is repeated that the kernel answers with EAGAIN because something was renamed meanwhile, or with EXDEV because what a
/// scoped lookup found was moved out of its scope before the lookup ended (another session captured it).
const RACE_RETRIES: usize = 16;

/// One guarded system call whose error number the caller looks at.
pub(super) fn attempt<T>(
    guard: &GuardRef,
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> Result<rustix::io::Result<T>, Stopped> {
    let mut tries = 0;
    loop {
        guard.check()?;
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::XDEV) if tries < RACE_RETRIES => tries += 1,
            other => return Ok(other),
        }
    }
}

/// One guarded system call.
pub(super) fn guarded<T>(guard: &GuardRef, call: impl FnMut() -> rustix::io::Result<T>) -> VfsResult<T> {
    attempt(guard, call)?.map_err(fact)
}

/// The fact behind an error number.
pub(super) fn fact(errno: Errno) -> VfsError {
    match errno {
        // NFS says ESTALE of a folder that was removed while it was open.
        Errno::NOENT | Errno::STALE => VfsError::NotFound,
        Errno::EXIST => VfsError::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => VfsError::Denied,
        Errno::ISDIR => VfsError::IsDirectory,
        Errno::NOTDIR => VfsError::NotDirectory,
        Errno::NOTEMPTY => VfsError::NotEmpty,
        Errno::NXIO => VfsError::SpecialFile,
        Errno::NAMETOOLONG => VfsError::NameTooLong,
        Errno::LOOP => VfsError::LinkLoop,
        Errno::XDEV => VfsError::CrossDevice,
        Errno::NOSPC | Errno::DQUOT => VfsError::NoSpace,
        Errno::INVAL => VfsError::Invalid("the storage does not accept this name or value"),
        Errno::OPNOTSUPP | Errno::NOSYS => VfsError::Unsupported("the file system lacks this operation"),
        other => VfsError::Io(other.into()),
    }
}

/// Runs blocking work on tokio's pool. The job goes on if the caller is dropped; its guard is what ends it.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down and threw the job away before it began: nobody waits for an answer any more.
        Err(_) => std::future::pending().await,
    }
}

fn wanted_stat() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID
}

/// `lstat` of a name in a folder.
pub(super) fn stat_at(guard: &GuardRef, folder: impl AsFd, name: &[u8]) -> VfsResult<Statx> {
    guarded(guard, || rustix::fs::statx(&folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted_stat()))
}

/// As `stat_at`, `None` when nothing has that name.
pub(super) fn look_at(guard: &GuardRef, folder: impl AsFd, name: &[u8]) -> VfsResult<Option<Statx>> {
    match attempt(guard, || rustix::fs::statx(&folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted_stat()))? {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::STALE) => Ok(None),
        Err(errno) => Err(fact(errno)),
    }
}

/// `fstat` with the birth time.
pub(super) fn stat_of(guard: &GuardRef, file: impl AsFd) -> VfsResult<Statx> {
    guarded(guard, || rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, wanted_stat()))
}

/// The path of an open descriptor for calls that have no form for `O_PATH` descriptors.
pub(super) fn descriptor_path(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// What tells two descriptors of one node apart; never compared between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: (u32, u32),
    pub inode: InodeName,
}

pub(super) fn identity(stat: &Statx) -> Identity {
    Identity { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: inode_name(stat) }
}

pub(super) fn inode_name(stat: &Statx) -> InodeName {
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let birth_ns = if has_birth {
        stat.stx_btime.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(stat.stx_btime.tv_nsec))
    } else {
        0
    };
    InodeName { inode: stat.stx_ino, birth_ns }
}

pub(super) fn kind(stat: &Statx) -> FileKind {
    match rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        rustix::fs::FileType::RegularFile => FileKind::File,
        rustix::fs::FileType::Directory => FileKind::Directory,
        rustix::fs::FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

pub(super) fn file_stat(stat: &Statx) -> FileStat {
    FileStat {
        kind: kind(stat),
        size: stat.stx_size,
        mode: u32::from(stat.stx_mode),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        atime: (stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec),
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        links: u64::from(stat.stx_nlink),
        inode: inode_name(stat),
    }
}
