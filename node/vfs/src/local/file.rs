//! An open regular file: reads, writes, attributes and sync on one descriptor.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use crate::backend::{File, FileStat, GuardRef, InodeName, SetStat, VfsError, VfsResult};

use super::Shared;
use super::set_stat::set_file;
use super::system::{blocking, fact, file_stat, guarded, stat_of};

/// How far ahead of a sequential reader that missed the page cache the kernel is asked to read.
const READ_AHEAD: u64 = 4 * 1024 * 1024;

/// A file in place.
pub(super) struct LocalFile {
    shared: Arc<Shared>,
    descriptor: Arc<OwnedFd>,
    inode: InodeName,
    reader: Reader,
    /// The folder of a file that was made at its name (EXCL): synced with the file's first sync.
    made_in: Mutex<Option<Arc<OwnedFd>>>,
}

impl LocalFile {
    pub(super) fn new(shared: Arc<Shared>, file: OwnedFd, inode: InodeName) -> Self {
        Self { shared, descriptor: Arc::new(file), inode, reader: Reader::default(), made_in: Mutex::new(None) }
    }

    pub(super) fn made(shared: Arc<Shared>, file: OwnedFd, inode: InodeName, folder: Arc<OwnedFd>) -> Self {
        Self { made_in: Mutex::new(Some(folder)), ..Self::new(shared, file, inode) }
    }
}

#[async_trait]
impl File for LocalFile {
    fn inode(&self) -> InodeName {
        self.inode
    }

    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<VfsResult<usize>> {
        self.reader.read_now(&self.descriptor, offset, len, out)
    }

    async fn read(&self, offset: u64, len: usize, guard: &GuardRef) -> VfsResult<Bytes> {
        self.reader.read(self.descriptor.clone(), offset, len, guard).await
    }

    async fn write(&self, offset: u64, data: Bytes, guard: &GuardRef) -> VfsResult<()> {
        let (file, guard) = (self.descriptor.clone(), guard.clone());
        self.shared.prompt.run(move || write_all(&file, offset, &data, &guard)).await
    }

    async fn stat(&self, guard: &GuardRef) -> VfsResult<FileStat> {
        let (file, guard) = (self.descriptor.clone(), guard.clone());
        self.shared.prompt.run(move || Ok(file_stat(&stat_of(&guard, &file)?))).await
    }

    async fn set_stat(&self, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
        let (file, guard) = (self.descriptor.clone(), guard.clone());
        match wanted.size {
            None => self.shared.prompt.run(move || set_file(&file, wanted, &guard)).await,
            Some(_) => blocking(move || set_file(&file, wanted, &guard)).await,
        }
    }

    async fn sync(&self, guard: &GuardRef) -> VfsResult<()> {
        let made_in = self.made_in.lock().expect("no holder of this lock panics").take();
        let (shared, file, guard) = (self.shared.clone(), self.descriptor.clone(), guard.clone());
        let (made_in, synced) = blocking(move || {
            let synced = sync(&shared, &file, made_in.as_deref(), &guard);
            (made_in, synced)
        })
        .await;
        if synced.is_err() {
            *self.made_in.lock().expect("no holder of this lock panics") = made_in;
        }
        synced
    }
}

fn sync(shared: &Shared, file: &OwnedFd, made_in: Option<&OwnedFd>, guard: &GuardRef) -> VfsResult<()> {
    guarded(guard, || rustix::fs::fsync(file))?;
    match made_in {
        Some(folder) => shared.sync_folder(folder, guard),
        None => Ok(()),
    }
}

/// Writes all of it; the guard is asked before each call.
pub(super) fn write_all(file: &OwnedFd, offset: u64, data: &[u8], guard: &GuardRef) -> VfsResult<()> {
    let mut done = 0;
    while done < data.len() {
        let at = offset.checked_add(done as u64).ok_or(VfsError::Invalid("an offset beyond any file"))?;
        match guarded(guard, || rustix::io::pwrite(file, &data[done..], at))? {
            0 => return Err(VfsError::Io(std::io::ErrorKind::WriteZero.into())),
            count => done += count,
        }
    }
    Ok(())
}

/// How one handle reads: what is cached at once, what is not with reading ahead.
#[derive(Default)]
pub(super) struct Reader {
    /// Where a sequential reader would go on.
    expected: AtomicU64,
    /// Up to where the kernel was asked to read ahead.
    advised: Arc<AtomicU64>,
    /// The file system does not know `RWF_NOWAIT` (tmpfs): everything is read at once.
    without_nowait: AtomicBool,
}

impl Reader {
    pub(super) fn read_now(
        &self,
        file: &OwnedFd,
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Option<VfsResult<usize>> {
        let before = out.len();
        out.resize(before + len, 0);
        let read = self.read_cached(file, offset, &mut out[before..]);
        out.truncate(before + read.unwrap_or(0));
        match read {
            Ok(count) => {
                self.expected.store(offset + count as u64, Ordering::Relaxed);
                Some(Ok(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Err(fact(errno))),
        }
    }

    fn read_cached(&self, file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        if !self.without_nowait.load(Ordering::Relaxed) {
            let mut slices = [IoSliceMut::new(&mut *buffer)];
            match rustix::io::preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.without_nowait.store(true, Ordering::Relaxed),
                other => return other,
            }
        }
        // Such a file system holds its files in memory, or cannot tell.
        rustix::io::pread(file, buffer, offset)
    }

    pub(super) async fn read(&self, file: Arc<OwnedFd>, offset: u64, len: usize, guard: &GuardRef) -> VfsResult<Bytes> {
        let end = offset.saturating_add(len as u64);
        let is_sequential = self.expected.swap(end, Ordering::Relaxed) == offset;
        let (advised, guard) = (self.advised.clone(), guard.clone());
        blocking(move || {
            if is_sequential {
                read_ahead(&file, end, &advised, &guard)?;
            }
            read_all(&file, offset, len, &guard)
        })
        .await
    }
}

/// Advice only: its errors do not matter.
fn read_ahead(file: &OwnedFd, from: u64, advised: &AtomicU64, guard: &GuardRef) -> VfsResult<()> {
    let until = from.saturating_add(READ_AHEAD);
    let known = advised.load(Ordering::Relaxed);
    // Asked again when half of it is used up; after a jump back, from anew.
    if from < known && known - from > READ_AHEAD / 2 && known - from <= READ_AHEAD {
        return Ok(());
    }
    advised.store(until, Ordering::Relaxed);
    let length = std::num::NonZeroU64::new(READ_AHEAD);
    guard.check()?;
    let _ = rustix::fs::fadvise(file, from, length, Advice::WillNeed);
    Ok(())
}

fn read_all(file: &OwnedFd, offset: u64, len: usize, guard: &GuardRef) -> VfsResult<Bytes> {
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        let at = offset.saturating_add(data.len() as u64);
        if i64::try_from(at).is_err() {
            break;
        }
        let count = guarded(guard, || rustix::io::pread(file, rustix::buffer::spare_capacity(&mut data), at))?;
        if count == 0 {
            break;
        }
    }
    data.truncate(len);
    Ok(Bytes::from(data))
}
