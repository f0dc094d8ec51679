//! A handle on an upload. The first CLOSE of one that writes publishes; the others go on in place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_cluster::ActiveTransfer;
use flotilla_vfs::{FileStat, SetStat};
use tokio::sync::OwnedSemaphorePermit;

use super::{Transfer, Upload};
use crate::files::{Failure, OpenFile, OpenFlags};
use crate::session::Session;

pub(crate) struct UploadHandle {
    session: Arc<Session>,
    upload: Arc<Upload>,
    number: u64,
    flags: OpenFlags,
    failed: Mutex<Option<String>>,
    closed: AtomicBool,
    transfer: Transfer,
    _handle: OwnedSemaphorePermit,
}

impl UploadHandle {
    pub fn open(
        session: Arc<Session>,
        upload: Arc<Upload>,
        transfer: Transfer,
        flags: OpenFlags,
        handle: OwnedSemaphorePermit,
    ) -> Arc<dyn OpenFile> {
        upload.add_handle();
        let number = session.next_handle();
        let open: Arc<dyn OpenFile> = Arc::new(UploadHandle {
            session: Arc::clone(&session),
            upload,
            number,
            flags,
            failed: Mutex::new(None),
            closed: AtomicBool::new(false),
            transfer,
            _handle: handle,
        });
        session.note_open(number, Arc::clone(&open));
        open
    }

    fn demand(&self, held: bool, what: &str) -> Result<(), Failure> {
        if held { Ok(()) } else { Err(Failure::Invalid(format!("file is not open for {what}"))) }
    }

    fn note_failure(&self, failure: &Failure) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| failure.to_string());
    }

    async fn finish(&self) -> Result<(), Failure> {
        if !self.flags.write {
            return self.session.check();
        }
        if let Some(text) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(Failure::UploadFailed(text));
        }
        let work = self.session.begin().await?;
        self.upload.close(&self.session, &work).await
    }

    fn end(&self, outcome: &Result<(), Failure>) {
        self.session.note_closed(self.number);
        self.upload.remove_handle();
        self.transfer.log(&self.session, self.flags.write, outcome);
    }
}

#[async_trait]
impl OpenFile for UploadHandle {
    fn active(&self) -> Option<ActiveTransfer> {
        Some(self.transfer.active(&self.session, self.flags.write))
    }

    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<Result<usize, Failure>> {
        if let Err(failure) = self.demand(self.flags.read, "reading").and_then(|()| self.session.check()) {
            return Some(Err(failure));
        }
        let read = self.upload.staged().read_now(offset, len, out)?;
        if let Ok(bytes) = &read {
            self.transfer.note_read(&self.session, *bytes);
        }
        Some(read.map_err(|error| self.session.failure(error)))
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Failure> {
        self.demand(self.flags.read, "reading")?;
        let work = self.session.begin().await?;
        let read = self.upload.staged().read(offset, len, &work.guard).await;
        let data = read.map_err(|error| self.session.failure(error))?;
        self.transfer.note_read(&self.session, data.len());
        Ok(data)
    }

    async fn write(&self, offset: u64, data: Bytes) -> Result<(), Failure> {
        self.demand(self.flags.write, "writing")?;
        let len = data.len();
        let written = self.upload.write(&self.session, offset, data, self.flags.append).await;
        match &written {
            Ok(()) => self.transfer.note_written(&self.session, len),
            Err(failure) => self.note_failure(failure),
        }
        written
    }

    async fn stat(&self) -> Result<FileStat, Failure> {
        let work = self.session.begin().await?;
        self.upload.stat(&self.session, &work).await
    }

    async fn set_stat(&self, wanted: SetStat) -> Result<(), Failure> {
        self.demand(self.flags.write, "writing")?;
        let work = self.session.begin().await?;
        self.session.authorize_attributes(&self.transfer, &wanted)?;
        self.upload.set_stat(&self.session, &work, wanted).await
    }

    async fn sync(&self) -> Result<(), Failure> {
        let work = self.session.begin().await?;
        self.upload.staged().sync(&work.guard).await.map_err(|error| self.session.failure(error))
    }

    async fn close(&self) -> Result<(), Failure> {
        // Counts before anybody can see that the handle is closed: the session's end waits for the staged file to be unlinked.
        let _job = self.session.connection().job();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Failure::Invalid("file is closed already".into()));
        }
        let outcome = self.finish().await;
        if let Err(failure) = &outcome {
            // What could not be published has no handle any more; a published one is not touched by this.
            self.upload.fail(&self.session, &failure.to_string()).await;
        }
        self.end(&outcome);
        outcome
    }

    fn frees_room(&self) -> bool {
        self.upload.is_removed()
    }

    async fn abandon(&self) {
        let _job = self.session.connection().job();
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.upload.abandon(&self.session).await;
            self.end(&Err(Failure::SessionOver("ended without CLOSE".into())));
        }
    }
}
