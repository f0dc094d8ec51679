//! One operation of a session: the checks before it, its place among the session's jobs, and who the user is now.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use flotilla_cluster::ActiveTransfer;
use flotilla_model::{Permission, User};
use flotilla_vfs::{File, GuardRef, VfsError};
use tokio::sync::OwnedSemaphorePermit;

use super::Session;
use crate::connection::Job;
use crate::files::{Failure, OpenFile};
use crate::ledger::{AccountHandle, QuotaRefused};
use crate::open_inodes::OpenHere;
use crate::path::VPath;
use crate::rights::{self, Rights};

/// An operation that runs. The session's slots are not given back before it is dropped.
pub(crate) struct Work {
    pub guard: GuardRef,
    _permit: OwnedSemaphorePermit,
    _job: Job,
}

impl Session {
    /// Begins an operation: lease, cut and storage are checked, a job's place is taken.
    pub(crate) async fn begin(&self) -> Result<Work, Failure> {
        self.check()?;
        let job = self.connection.job();
        let permit = Arc::clone(&self.jobs).acquire_owned().await.map_err(|_| self.over())?;
        // After the job counts and after the wait: the session's end waits for what passes here.
        self.check()?;
        self.storage.check()?;
        Ok(Work { guard: Arc::clone(&self.guard), _permit: permit, _job: job })
    }

    /// The first check (2.3), for what is answered without a job.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.connection.gate().check().map_err(|reason| Failure::SessionOver(reason.to_string()))
    }

    fn over(&self) -> Failure {
        match self.connection.gate().check() {
            Err(reason) => Failure::SessionOver(reason.to_string()),
            Ok(()) => Failure::SessionOver("the session is ending".into()),
        }
    }

    /// The user's record as this node knows it: what was added to it holds at once, what was taken away has cut the session.
    pub(crate) fn user(&self) -> Result<Arc<User>, Failure> {
        let user = self.core.cluster.state().user(&self.username).cloned();
        user.filter(|user| user.incarnation == self.incarnation).ok_or_else(|| self.over())
    }

    pub(crate) fn account(&self) -> Result<Arc<AccountHandle>, Failure> {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner).clone();
        account.ok_or_else(|| self.over())
    }

    /// Before each change on the storage: dead epochs of the account are fenced first (8.5).
    pub(crate) async fn before_change(&self, work: &Work) -> Result<Arc<AccountHandle>, Failure> {
        let account = self.account()?;
        account.before_change(&work.guard).await.map_err(|error| self.failure(error))?;
        Ok(account)
    }

    pub(crate) fn failure(&self, error: VfsError) -> Failure {
        match error {
            VfsError::Stopped(_) => self.over(),
            VfsError::Made(after) => self.failure(*after),
            VfsError::NotFound => Failure::NotFound,
            VfsError::Exists => Failure::Exists,
            VfsError::Denied => Failure::Denied,
            VfsError::NotAllowed(right) => Failure::NotAllowed(right),
            other => Failure::Storage(other),
        }
    }

    pub(crate) fn quota_failure(&self, refused: QuotaRefused) -> Failure {
        match refused {
            QuotaRefused::Exceeded(text) => Failure::QuotaExceeded(self.with_held(text)),
            QuotaRefused::Unavailable(text) => Failure::Unavailable(text),
            QuotaRefused::Stopped => self.over(),
        }
    }

    /// Says also that removed files take room because they are open.
    fn with_held(&self, text: String) -> String {
        match self.account().map_or(0, |account| account.held_bytes()) {
            0 => text,
            bytes => {
                format!("{text}; {bytes} bytes of removed files are still open here and free once they are closed")
            }
        }
    }

    /// All of these rights in the folder that the client named, or a refusal; and the guard that demands them wherever the path leads.
    pub(crate) fn authorize(&self, work: &Work, folder: &VPath, needed: &[Permission]) -> Result<Arc<Rights>, Failure> {
        let user = self.user()?;
        rights::demand(&user, folder, needed)?;
        Ok(Rights::new(&work.guard, user, needed))
    }

    /// As `authorize`, for what the storage does not resolve itself: the folder that the path leads to now must grant them too.
    pub(crate) async fn authorize_led_to(
        &self,
        work: &Work,
        folder: &VPath,
        needed: &[Permission],
    ) -> Result<(), Failure> {
        self.authorize(work, folder, needed)?;
        let user = self.user()?;
        if !rights::differ_by_folder(&user) || folder.is_root() {
            return Ok(());
        }
        rights::demand(&user, &self.real_path(work, folder).await?, needed)
    }

    /// A place among the session's open files and folders.
    pub(crate) fn take_handle(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.handles).try_acquire_owned().map_err(|_| Failure::TooManyHandles)
    }

    /// Notes which inode a file that was just opened is: while it is open its room is not free. One that was removed meanwhile was
    /// credited already, perhaps, and is not opened.
    pub(crate) async fn note_inode(
        &self,
        work: &Work,
        file: Arc<dyn File>,
    ) -> Result<(Arc<dyn File>, OpenHere), Failure> {
        let here = self.core.open_inodes.enter(self.account_id, self.epoch(), file.inode());
        let stat = file.stat(&work.guard).await.map_err(|error| self.failure(error))?;
        if stat.links == 0 {
            return Err(Failure::NotFound);
        }
        here.inode().found(stat.size);
        Ok((file, here))
    }

    pub(crate) fn next_handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes an open file, so that the session's end can end it.
    pub(crate) fn note_open(&self, number: u64, file: Arc<dyn OpenFile>) {
        self.open_files.lock().unwrap_or_else(PoisonError::into_inner).insert(number, file);
    }

    pub(crate) fn note_closed(&self, number: u64) {
        self.open_files.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Files that its client has open.
    pub fn open_files(&self) -> usize {
        self.open_files.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What is read and written in it now.
    pub(crate) fn transfers(&self) -> Vec<ActiveTransfer> {
        let open = self.open_files.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(|file| file.active()).collect()
    }

    pub(crate) fn note_uploaded(&self, bytes: u64) {
        self.bytes_uploaded.fetch_add(bytes, Ordering::Relaxed);
        metrics::counter!("flotilla_bytes_uploaded_total").increment(bytes);
    }

    pub(crate) fn note_downloaded(&self, bytes: u64) {
        self.bytes_downloaded.fetch_add(bytes, Ordering::Relaxed);
        metrics::counter!("flotilla_bytes_downloaded_total").increment(bytes);
    }
}
