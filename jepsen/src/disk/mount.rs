//! Mounts a disk over FUSE. The kernel caches nothing of it, so that a cut need not unmount.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{Body, Disk, Error, Ino, Stat, empty_file};

/// Nothing is believed for any time.
const NEVER: Duration = Duration::ZERO;
/// Slow syncs of one file shall not hold up all others.
const THREADS: usize = 4;

/// Mounts; ends when what it returns is dropped.
pub fn mount(disk: Arc<Disk>, at: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("flotilla-jepsen".into()), MountOption::DefaultPermissions];
    config.n_threads = Some(THREADS);
    fuser::spawn_mount(Mounted { disk }, at, &config)
}

struct Mounted {
    disk: Arc<Disk>,
}

impl From<Error> for Errno {
    fn from(error: Error) -> Errno {
        match error {
            Error::Missing => Errno::ENOENT,
            Error::Exists => Errno::EEXIST,
            Error::NotFolder => Errno::ENOTDIR,
            Error::IsFolder => Errno::EISDIR,
            Error::NotEmpty => Errno::ENOTEMPTY,
            Error::Invalid => Errno::EINVAL,
            Error::Full => Errno::ENOSPC,
            Error::Failed => Errno::EIO,
        }
    }
}

fn kind(stat: &Stat) -> FileType {
    match stat.mode & 0o170_000 {
        0o040_000 => FileType::Directory,
        0o100_000 => FileType::RegularFile,
        0o120_000 => FileType::Symlink,
        _ => FileType::Socket,
    }
}

impl Mounted {
    fn attributes(&self, ino: Ino) -> Result<FileAttr, Error> {
        let stat = self.disk.stat(ino)?;
        Ok(FileAttr {
            ino: INodeNo(ino),
            size: stat.size,
            blocks: stat.size.div_ceil(512),
            atime: stat.changed,
            mtime: stat.changed,
            ctime: stat.changed,
            crtime: stat.changed,
            kind: kind(&stat),
            perm: (stat.mode & 0o7_777) as u16,
            nlink: stat.links,
            uid: stat.owner.0,
            gid: stat.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(&self, found: Result<Ino, Error>, reply: ReplyEntry) {
        match found.and_then(|ino| self.attributes(ino)) {
            Ok(attributes) => {
                self.disk.looked_up(attributes.ino.0);
                reply.entry(&NEVER, &attributes, Generation(0));
            }
            Err(error) => reply.error(error.into()),
        }
    }
}

fn answer(done: Result<(), Error>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(self.disk.lookup(parent.0, name), reply);
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.disk.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attributes) => reply.attr(&NEVER, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.disk.set(ino.0, mode, (uid, gid), size).and_then(|()| self.attributes(ino.0)) {
            Ok(attributes) => reply.attr(&NEVER, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk.get(ino.0).map(|node| node.body) {
            Ok(Body::Link(target)) => reply.data(target.as_encoded_bytes()),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let body = if mode & 0o170_000 == 0o100_000 { empty_file() } else { Body::Other };
        let owner = (request.uid(), request.gid());
        self.entry(self.disk.make(parent.0, name, body, mode & !umask, owner), reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (body, owner) = (Body::Folder(Default::default()), (request.uid(), request.gid()));
        self.entry(self.disk.make(parent.0, name, body, 0o040_000 | (mode & !umask), owner), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.disk.remove(parent.0, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.disk.remove(parent.0, name, true), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (body, owner) = (Body::Link(target.as_os_str().to_owned()), (request.uid(), request.gid()));
        self.entry(self.disk.make(parent.0, name, body, 0o120_777, owner), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (keep, swap) =
            (flags.contains(RenameFlags::RENAME_NOREPLACE), flags.contains(RenameFlags::RENAME_EXCHANGE));
        answer(self.disk.rename((parent.0, name), (new_parent.0, new_name), keep, swap), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(self.disk.link(ino.0, parent.0, name).map(|()| ino.0), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk.read(ino.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk.write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.disk.sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.disk.sync_folder(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = match self.disk.get(ino.0).map(|node| node.body) {
            Ok(Body::Folder(entries)) => entries,
            Ok(_) => return reply.error(Errno::ENOTDIR),
            Err(error) => return reply.error(error.into()),
        };
        let dots = [(".", ino.0), ("..", ino.0)].map(|(name, ino)| (name.into(), ino));
        for (at, (name, ino)) in dots.into_iter().chain(entries).enumerate().skip(offset as usize) {
            let Ok(stat) = self.disk.stat(ino) else { continue };
            if reply.add(INodeNo(ino), at as u64 + 1, kind(&stat), &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 20;
        let free = if self.disk.is_full() { 0 } else { BLOCKS / 2 };
        reply.statfs(BLOCKS, free, free, 1 << 20, 1 << 19, 4096, 255, 4096);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let owner = (request.uid(), request.gid());
        let made = self.disk.make(parent.0, name, empty_file(), 0o100_000 | (mode & !umask), owner);
        match made.and_then(|ino| self.attributes(ino)) {
            Ok(attributes) => {
                self.disk.looked_up(attributes.ino.0);
                reply.created(&NEVER, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // Only what makes a file longer; callers write zeros where they cannot have it.
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let stat = self.disk.stat(ino.0);
        let grown = stat.and_then(|stat| match stat.size < offset + length {
            true => self.disk.set(ino.0, None, (None, None), Some(offset + length)),
            false => Ok(()),
        });
        answer(grown, reply);
    }
}
