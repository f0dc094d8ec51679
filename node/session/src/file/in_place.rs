//! A file that is read and written at its name: no staging. Growth is charged before it is written, a shrink earns no credit (6.3).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_cluster::ActiveTransfer;
use flotilla_vfs::{Durability, File, FileStat, SetStat};
use tokio::sync::OwnedSemaphorePermit;

use super::Transfer;
use crate::files::{Failure, OpenFile};
use crate::ledger::{AccountHandle, Charge};
use crate::open_inodes::{OpenHere, OpenInode};
use crate::session::{Session, Work, settle};

/// What a handle needs to write in place.
struct Writer {
    inode: Arc<OpenInode>,
    append: bool,
}

impl Writer {
    /// Charges the growth that this write would bring, before it is made.
    async fn charge(
        &self,
        session: &Session,
        work: &Work,
        file: &dyn File,
        offset: u64,
        len: u64,
    ) -> Result<Option<Charge>, Failure> {
        if self.append {
            return session.charge_append(work, file, &self.inode, len).await;
        }
        let end = end_of(offset, len)?;
        session.check_size(end)?;
        session.charge_growth(work, file, &self.inode, end).await
    }
}

pub(super) fn end_of(offset: u64, len: u64) -> Result<u64, Failure> {
    let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
    end.ok_or_else(|| Failure::Invalid("offset beyond any file".into()))
}

/// An open file in place.
pub(crate) struct InPlace {
    session: Arc<Session>,
    file: Arc<dyn File>,
    number: u64,
    read: bool,
    /// `None`: opened for reading only.
    writer: Option<Writer>,
    failed: Mutex<Option<String>>,
    changed: AtomicBool,
    closed: AtomicBool,
    /// Known once it is closed.
    removed: AtomicBool,
    /// Until the handle is closed.
    here: Mutex<Option<OpenHere>>,
    transfer: Transfer,
    _handle: OwnedSemaphorePermit,
}

impl InPlace {
    /// `append`: whether its writes append; `None` for one that only reads.
    pub fn open(
        session: Arc<Session>,
        (file, here): (Arc<dyn File>, OpenHere),
        transfer: Transfer,
        read: bool,
        append: Option<bool>,
        handle: OwnedSemaphorePermit,
    ) -> Arc<dyn OpenFile> {
        let writer = append.map(|append| Writer { inode: Arc::clone(here.inode()), append });
        let number = session.next_handle();
        let open: Arc<dyn OpenFile> = Arc::new(InPlace {
            session: Arc::clone(&session),
            file,
            number,
            read,
            writer,
            failed: Mutex::new(None),
            changed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            here: Mutex::new(Some(here)),
            transfer,
            _handle: handle,
        });
        session.note_open(number, Arc::clone(&open));
        open
    }

    fn writer(&self) -> Result<&Writer, Failure> {
        self.writer.as_ref().ok_or_else(|| Failure::Invalid("file is not open for writing".into()))
    }

    fn note_failure(&self, failure: &Failure) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| failure.to_string());
    }

    async fn write_charged(&self, offset: u64, data: Bytes) -> Result<(), Failure> {
        let writer = self.writer()?;
        let work = self.session.begin().await?;
        let account = self.session.before_change(&work).await?;
        let len = data.len();
        let writing = account.writing_in_place();
        let charge = writer.charge(&self.session, &work, &*self.file, offset, len as u64).await?;
        self.changed.store(true, Ordering::Release);
        let written = self.file.write(offset, data, &work.guard).await;
        // What was charged stays charged: a write that failed may have stored a part.
        settle(charge);
        drop(writing);
        if written.is_err() {
            account.mark();
        }
        written.map_err(|error| self.session.failure(error))?;
        self.transfer.note_written(&self.session, len);
        Ok(())
    }

    async fn resize(&self, work: &Work, size: u64) -> Result<(), Failure> {
        let writer = self.writer()?;
        self.session.check_size(size)?;
        let account = self.session.before_change(work).await?;
        resize(&self.session, work, &self.file, &writer.inode, size, &account).await
    }

    async fn finish(&self) -> Result<(), Failure> {
        if let Some(text) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(Failure::UploadFailed(text));
        }
        self.session.check()?;
        let sync = self.session.core.config.durability == Durability::Close;
        if self.writer.is_none() || !sync {
            return Ok(());
        }
        let work = self.session.begin().await?;
        self.file.sync(&work.guard).await.map_err(|error| self.session.failure(error))
    }

    fn end(&self, outcome: &Result<(), Failure>) {
        if let Some(here) = self.here.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.removed.store(here.is_removed(), Ordering::Release);
        }
        self.session.note_closed(self.number);
        self.transfer.log(&self.session, self.writer.is_some(), outcome);
    }
}

/// Makes a file in place longer or shorter. Growth is charged before; a shrink earns nothing and wants a scan.
pub(crate) async fn resize(
    session: &Session,
    work: &Work,
    file: &Arc<dyn File>,
    inode: &OpenInode,
    size: u64,
    account: &AccountHandle,
) -> Result<(), Failure> {
    let _writing = account.writing_in_place();
    let charge = session.charge_growth(work, &**file, inode, size).await?;
    let _shrinking = (size < inode.charged()).then(|| account.shrinking());
    let wanted = SetStat { size: Some(size), ..SetStat::default() };
    let done = file.set_stat(wanted, &work.guard).await;
    settle(charge);
    if done.is_err() {
        account.mark();
    }
    done.map_err(|error| session.failure(error))
}

#[async_trait]
impl OpenFile for InPlace {
    fn active(&self) -> Option<ActiveTransfer> {
        Some(self.transfer.active(&self.session, self.writer.is_some()))
    }

    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<Result<usize, Failure>> {
        if !self.read {
            return Some(Err(Failure::Invalid("file is not open for reading".into())));
        }
        if let Err(over) = self.session.check() {
            return Some(Err(over));
        }
        let read = self.file.read_now(offset, len, out)?;
        if let Ok(bytes) = &read {
            self.transfer.note_read(&self.session, *bytes);
        }
        Some(read.map_err(|error| self.session.failure(error)))
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Failure> {
        if !self.read {
            return Err(Failure::Invalid("file is not open for reading".into()));
        }
        let work = self.session.begin().await?;
        let data = self.file.read(offset, len, &work.guard).await.map_err(|error| self.session.failure(error))?;
        self.transfer.note_read(&self.session, data.len());
        Ok(data)
    }

    async fn write(&self, offset: u64, data: Bytes) -> Result<(), Failure> {
        let written = self.write_charged(offset, data).await;
        if let Err(failure) = &written {
            self.note_failure(failure);
        }
        written
    }

    async fn stat(&self) -> Result<FileStat, Failure> {
        let work = self.session.begin().await?;
        self.file.stat(&work.guard).await.map_err(|error| self.session.failure(error))
    }

    async fn set_stat(&self, wanted: SetStat) -> Result<(), Failure> {
        let work = self.session.begin().await?;
        self.session.authorize_attributes(&self.transfer, &wanted)?;
        if let Some(size) = wanted.size {
            self.resize(&work, size).await?;
        }
        let others = SetStat { size: None, ..wanted };
        if others == SetStat::default() {
            return Ok(());
        }
        self.session.before_change(&work).await?;
        self.file.set_stat(others, &work.guard).await.map_err(|error| self.session.failure(error))
    }

    async fn sync(&self) -> Result<(), Failure> {
        let work = self.session.begin().await?;
        self.file.sync(&work.guard).await.map_err(|error| self.session.failure(error))
    }

    async fn close(&self) -> Result<(), Failure> {
        let _job = self.session.connection().job();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Failure::Invalid("file is closed already".into()));
        }
        let outcome = self.finish().await;
        self.end(&outcome);
        outcome
    }

    fn frees_room(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    async fn abandon(&self) {
        let _job = self.session.connection().job();
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.end(&Err(Failure::SessionOver("ended without CLOSE".into())));
        }
    }
}
