//! A session's own unpublished uploads, found by (parent inode, name) (8.2), and the caught files whose credit is on the way.

use std::sync::{Arc, PoisonError};

use flotilla_model::Permission;
use flotilla_vfs::{Caught, CreditClaim, FileKind, NoGuard};

use super::{Session, Work};
use crate::file::Upload;
use crate::files::Failure;
use crate::ledger::{AccountHandle, Measuring};
use crate::path::VPath;
use crate::rights;

impl Session {
    pub(crate) fn add_upload(&self, upload: Arc<Upload>) {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).push(upload);
    }

    /// Forgets an upload that was published or discarded.
    pub(crate) fn remove_upload(&self, upload: &Upload) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|known| !std::ptr::eq(Arc::as_ptr(known), upload));
    }

    pub(crate) fn all_uploads(&self) -> Vec<Arc<Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The session's own unpublished upload of that name, also through symlinks.
    pub(crate) async fn find_upload(&self, work: &Work, path: &VPath) -> Result<Option<Arc<Upload>>, Failure> {
        if path.is_root() || self.all_uploads().is_empty() {
            return Ok(None);
        }
        if let Some(upload) = self.find_upload_at(work, path).await? {
            return Ok(Some(upload));
        }
        match self.root.stat(path.as_bytes(), false, &work.guard).await {
            Ok(found) if found.kind == FileKind::Symlink => {}
            _ => return Ok(None),
        }
        match self.root.real_path(path.as_bytes(), &work.guard).await {
            Ok(real) => self.find_upload_at(work, &VPath::from_storage(real)).await,
            Err(_) => Ok(None),
        }
    }

    async fn find_upload_at(&self, work: &Work, path: &VPath) -> Result<Option<Arc<Upload>>, Failure> {
        let parent = match self.root.stat(path.parent().as_bytes(), true, &work.guard).await {
            Ok(parent) => parent.inode,
            Err(flotilla_vfs::VfsError::Stopped(stopped)) => return Err(self.failure(stopped.into())),
            Err(_) => return Ok(None),
        };
        let found = |upload: &Arc<Upload>| {
            let (folder, name) = upload.target();
            folder == parent && VPath::from_storage(name).name() == path.name()
        };
        Ok(self.all_uploads().into_iter().find(found))
    }

    /// All of these rights in the folder that the path names and in the one in which this upload of its own was found. Returns the
    /// latter where rights differ by folder.
    pub(crate) async fn authorize_own(
        &self,
        work: &Work,
        path: &VPath,
        upload: &Upload,
        needed: &[Permission],
    ) -> Result<Option<VPath>, Failure> {
        self.authorize(work, &path.parent(), needed)?;
        let user = self.user()?;
        if !rights::differ_by_folder(&user) {
            return Ok(None);
        }
        let (holding, _) = upload.target();
        // As `find_upload` looked: at the name itself, then where a link at the name leads.
        for at_the_name in [true, false] {
            let folder = if at_the_name {
                self.real_path(work, &path.parent()).await?
            } else {
                self.real_path(work, path).await?.parent()
            };
            rights::demand(&user, &folder, needed)?;
            let found = self.root.stat(folder.as_bytes(), true, &work.guard).await;
            if found.map_err(|error| self.failure(error))?.inode == holding {
                return Ok(Some(folder));
            }
        }
        // The path has come to lead elsewhere.
        Err(Failure::NotFound)
    }

    pub(super) async fn real_path(&self, work: &Work, path: &VPath) -> Result<VPath, Failure> {
        let real = self.root.real_path(path.as_bytes(), &work.guard).await.map_err(|error| self.failure(error))?;
        Ok(VPath::from_storage(real))
    }

    /// Measures and credits a caught file (6.1), at once if nobody here has it open. The client's answer need not wait for it, unless many are on the way already.
    pub(crate) async fn credit(&self, account: Arc<AccountHandle>, mut measuring: Measuring, caught: Box<dyn Caught>) {
        let job = self.connection.job();
        let (core, epoch) = (Arc::clone(&self.core), self.epoch());
        let account_id = self.account_id();
        let capture = core.captures.begin(account_id);
        let measured = async move {
            // Dropped last: the session leaves its account only after this.
            let _job = job;
            measuring.measure_now();
            if let Some(claim) = measure(account, caught).await {
                core.open_inodes.credit(account_id, epoch, measuring, claim);
            }
            drop(capture);
        };
        match Arc::clone(&self.measuring).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    measured.await;
                    drop(place);
                });
            }
            Err(_) => measured.await,
        }
    }
}

async fn measure(account: Arc<AccountHandle>, caught: Box<dyn Caught>) -> Option<CreditClaim> {
    // Cleaning up is right also for a session that was cut meanwhile.
    match caught.measure_and_unlink(&NoGuard::shared()).await {
        Ok(Some(claim)) => return Some(claim),
        Ok(None) => account.mark(),
        Err(error) => {
            tracing::warn!(sender = "credit", %error, "caught file could not be measured: account marked for a scan");
            account.mark();
        }
    }
    None
}
