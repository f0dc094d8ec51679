//! An upload: staged, charged by its largest size, published by its first CLOSE (`PROTOCOL.md` 8.2, 8.3). Its handles share it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flotilla_vfs::{FileStat, InodeName, SetStat, Staged, VfsError};
use tokio::sync::{Mutex as AsyncMutex, RwLock};

use super::in_place::end_of;
use crate::files::Failure;
use crate::ledger::Charge;
use crate::open_inodes::{OpenHere, OpenInode};
use crate::path::VPath;
use crate::rights::Rights;
use crate::session::{Session, Work, settle};

enum Phase {
    Staged,
    /// Goes on in place.
    Published(Arc<OpenInode>),
    /// Nothing was or will be stored.
    Failed(String),
}

pub(crate) struct Upload {
    staged: Arc<dyn Staged>,
    charge: Charge,
    /// Writes share it; what changes the whole file, publishes or discards it has it alone.
    phase: RwLock<Phase>,
    /// The largest size while staged.
    size: AtomicU64,
    /// Appends come one after another, so that each finds the end that the last one made.
    appending: AsyncMutex<()>,
    /// Open handles.
    handles: AtomicUsize,
    /// Known once its last handle is closed.
    removed: AtomicBool,
    /// Once it is published, until its last handle is closed.
    here: Mutex<Option<OpenHere>>,
}

impl Upload {
    pub fn new(staged: Arc<dyn Staged>, charge: Charge) -> Arc<Self> {
        Arc::new(Upload {
            staged,
            charge,
            phase: RwLock::new(Phase::Staged),
            size: AtomicU64::new(0),
            appending: AsyncMutex::new(()),
            handles: AtomicUsize::new(0),
            removed: AtomicBool::new(false),
            here: Mutex::default(),
        })
    }

    /// Parent inode, and path relative to the root.
    pub fn target(&self) -> (InodeName, Vec<u8>) {
        self.staged.target()
    }

    pub fn staged(&self) -> &Arc<dyn Staged> {
        &self.staged
    }

    pub async fn write(&self, session: &Session, offset: u64, data: Bytes, append: bool) -> Result<(), Failure> {
        let work = session.begin().await?;
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("publish-at-first-write") && matches!(*self.phase.read().await, Phase::Staged) {
            let _ = self.close(session, &work).await;
        }
        let written = if append {
            self.append(session, &work, data).await
        } else {
            self.write_at(session, &work, offset, data).await
        };
        match written {
            Err(failure) if !matches!(failure, Failure::UploadFailed(_)) => {
                self.fail(session, &failure.to_string()).await;
                Err(failure)
            }
            other => other,
        }
    }

    async fn write_at(&self, session: &Session, work: &Work, offset: u64, data: Bytes) -> Result<(), Failure> {
        let end = end_of(offset, data.len() as u64)?;
        session.check_size(end)?;
        let account = session.before_change(work).await?;
        let phase = self.phase.read().await;
        match &*phase {
            Phase::Failed(text) => Err(Failure::UploadFailed(text.clone())),
            Phase::Staged => {
                self.charge_to(session, work, end).await?;
                self.staged.write(offset, data, &work.guard).await.map_err(|error| session.failure(error))?;
                self.size.fetch_max(end, Ordering::AcqRel);
                Ok(())
            }
            Phase::Published(inode) => {
                let _writing = account.writing_in_place();
                let charge = session.charge_growth(work, &*self.staged, inode, end).await?;
                let written = self.staged.write(offset, data, &work.guard).await;
                settle(charge);
                if written.is_err() {
                    account.mark();
                }
                written.map_err(|error| session.failure(error))
            }
        }
    }

    async fn append(&self, session: &Session, work: &Work, data: Bytes) -> Result<(), Failure> {
        let _one_at_a_time = self.appending.lock().await;
        let end = self.staged.stat(&work.guard).await.map_err(|error| session.failure(error))?.size;
        self.write_at(session, work, end, data).await
    }

    async fn charge_to(&self, session: &Session, work: &Work, size: u64) -> Result<(), Failure> {
        session.raise_to(work, &self.charge, size, 1).await
    }

    /// Attributes; a new size of a staged file is charged or given back exactly, since nobody else sees the file.
    pub async fn set_stat(&self, session: &Session, work: &Work, wanted: SetStat) -> Result<(), Failure> {
        let done = self.change(session, work, wanted).await;
        if let Err(failure @ (Failure::QuotaExceeded(_) | Failure::Unavailable(_))) = &done {
            // Who asks for room and is refused gives back what it holds: others may wait for it.
            self.fail(session, &failure.to_string()).await;
        }
        done
    }

    async fn change(&self, session: &Session, work: &Work, wanted: SetStat) -> Result<(), Failure> {
        let account = session.before_change(work).await?;
        let phase = self.phase.write().await;
        let mut grown = None;
        let (mut _writing, mut _shrinking) = (None, None);
        if let Some(size) = wanted.size {
            session.check_size(size)?;
            match &*phase {
                Phase::Failed(text) => return Err(Failure::UploadFailed(text.clone())),
                Phase::Staged => self.charge_to(session, work, size.max(self.size.load(Ordering::Acquire))).await?,
                Phase::Published(inode) => {
                    _writing = Some(account.writing_in_place());
                    grown = session.charge_growth(work, &*self.staged, inode, size).await?;
                    _shrinking = (size < inode.charged()).then(|| account.shrinking());
                }
            }
        }
        let done = self.staged.set_stat(wanted, &work.guard).await;
        match (&*phase, wanted.size) {
            (Phase::Published(_), Some(_)) => {
                settle(grown);
                if done.is_err() {
                    account.mark();
                }
            }
            (Phase::Staged, Some(size)) => {
                if done.is_ok() {
                    self.size.store(size, Ordering::Release);
                }
                self.charge.lower_to(self.size.load(Ordering::Acquire), 1);
            }
            _ => {}
        }
        done.map_err(|error| session.failure(error))
    }

    pub async fn stat(&self, session: &Session, work: &Work) -> Result<FileStat, Failure> {
        self.staged.stat(&work.guard).await.map_err(|error| session.failure(error))
    }

    /// The upload failed: the staged file goes at once and its room is given back, since others may wait for it.
    pub async fn fail(&self, session: &Session, text: &str) {
        self.charge.fail();
        let mut phase = self.phase.write().await;
        if matches!(*phase, Phase::Staged) {
            *phase = Phase::Failed(text.to_owned());
            self.discard(session).await;
        }
    }

    /// The staged file is unlinked before its room is free.
    async fn discard(&self, session: &Session) {
        session.remove_upload(self);
        match self.staged.discard().await {
            Ok(()) => self.charge.give_back(),
            Err(error) => {
                // It stays charged, and the account wants a scan.
                tracing::error!(sender = "upload", %error, "staged file could not be removed");
                self.charge.publish();
                if let Ok(account) = session.account() {
                    account.mark();
                }
            }
        }
    }

    /// The session ended: what is not published is discarded.
    pub async fn abandon(&self, session: &Session) {
        self.fail(session, "the session ended before CLOSE").await;
    }

    /// A CLOSE: the first one publishes. OK means stored (P5).
    pub async fn close(&self, session: &Session, work: &Work) -> Result<(), Failure> {
        let account = session.before_change(work).await?;
        let mut phase = self.phase.write().await;
        match &*phase {
            Phase::Failed(text) => return Err(Failure::UploadFailed(text.clone())),
            Phase::Published(_) => return self.sync_published(session, work).await,
            Phase::Staged => {}
        }
        // What was announced at OPEN and not written is not stored.
        self.charge.lower_to(self.size.load(Ordering::Acquire), 1);
        // Before anybody can find and remove it.
        let here = session.core.open_inodes.enter(session.account_id(), session.epoch(), self.staged.inode());
        // A file that came to the name since OPEN is replaced only by who may overwrite.
        let guard = Rights::new(&work.guard, session.user()?, &[]).guard();
        let measuring = account.measuring();
        match self.staged.publish(session.core.config.durability, &guard).await {
            Ok(caught) => {
                *phase = self.published(session, here);
                drop(phase);
                if let Some(caught) = caught {
                    session.credit(account, measuring, caught).await;
                }
                Ok(())
            }
            Err(error) if self.staged.is_published() => {
                account.mark();
                *phase = self.published(session, here);
                Err(session.failure(error))
            }
            Err(error) => {
                if matches!(error, VfsError::IsDirectory) {
                    // A folder may have been caught and put back.
                    drop(account.moving());
                }
                let failure = session.failure(error);
                *phase = Phase::Failed(failure.to_string());
                self.discard(session).await;
                Err(failure)
            }
        }
    }

    fn published(&self, session: &Session, here: OpenHere) -> Phase {
        self.charge.publish();
        session.remove_upload(self);
        let inode = Arc::clone(here.inode());
        inode.found(self.size.load(Ordering::Acquire));
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = Some(here);
        Phase::Published(inode)
    }

    async fn sync_published(&self, session: &Session, work: &Work) -> Result<(), Failure> {
        match session.core.config.durability {
            flotilla_vfs::Durability::Close => {
                self.staged.sync(&work.guard).await.map_err(|error| session.failure(error))
            }
            flotilla_vfs::Durability::None => Ok(()),
        }
    }

    pub fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::AcqRel);
    }

    /// A handle has gone; with the last one the charge ends. All that it held was published or given back.
    pub fn remove_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.charge.publish();
            self.charge.give_back();
            if let Some(here) = self.here.lock().unwrap_or_else(PoisonError::into_inner).take() {
                self.removed.store(here.is_removed(), Ordering::Release);
            }
        }
    }

    /// Whether the published file was removed before its last handle was closed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Renames the unpublished upload.
    pub async fn retarget(&self, session: &Session, rights: &Arc<Rights>, to: &VPath) -> Result<(), Failure> {
        let _alone = self.phase.write().await;
        self.staged.retarget(to.as_bytes(), &rights.guard()).await.map_err(|error| session.failure(error))
    }
}
