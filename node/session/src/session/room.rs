//! How a session's operations get room of the account: locally if they can, else after what is being freed here has been measured.

use flotilla_model::{Amount, LogIndex};
use flotilla_vfs::File;

use super::{Session, Work};
use crate::files::Failure;
use crate::ledger::Charge;
use crate::open_inodes::{Growing, OpenInode};

impl Session {
    /// Charges this much more.
    pub(crate) async fn raise(&self, work: &Work, charge: &Charge, bytes: u64, files: u64) -> Result<(), Failure> {
        if charge.try_raise(bytes, files) {
            return Ok(());
        }
        let _waits = self.progress.wait();
        self.core.captures.measured(self.account_id).await;
        charge.raise(bytes, files, &work.guard).await.map_err(|refused| self.quota_failure(refused))
    }

    /// Charges up to this total.
    pub(crate) async fn raise_to(&self, work: &Work, charge: &Charge, bytes: u64, files: u64) -> Result<(), Failure> {
        if charge.try_raise_to(bytes, files) {
            return Ok(());
        }
        let _waits = self.progress.wait();
        self.core.captures.measured(self.account_id).await;
        charge.raise_to(bytes, files, &work.guard).await.map_err(|refused| self.quota_failure(refused))
    }

    /// A charge of its own for something that is made or grows at its name: end it with `settle`. A refusal leaves nothing.
    pub(crate) async fn charge_now(&self, work: &Work, bytes: u64, files: u64) -> Result<Charge, Failure> {
        let charge = self.account()?.charge();
        match self.raise(work, &charge, bytes, files).await {
            Ok(()) => Ok(charge),
            Err(failure) => {
                charge.give_back();
                Err(failure)
            }
        }
    }

    /// Charges what a file in place has not been charged for, up to this size. `None`: nothing more was due. From before this until it is
    /// stored somebody holds `AccountHandle::writing_in_place`.
    pub(crate) async fn charge_growth(
        &self,
        work: &Work,
        file: &dyn File,
        inode: &OpenInode,
        size: u64,
    ) -> Result<Option<Charge>, Failure> {
        let scan = self.account()?.last_scan();
        if size <= inode.charged() && !inode.is_stale(scan) {
            return Ok(None);
        }
        let growing = inode.lock().await;
        self.look_anew(work, file, inode, &growing, scan).await?;
        let more = size.saturating_sub(growing.charged());
        if more == 0 {
            return Ok(None);
        }
        let charge = self.charge_now(work, more, 0).await?;
        growing.set(size);
        Ok(Some(charge))
    }

    /// An append grows the file by its length, wherever its end is by now.
    pub(crate) async fn charge_append(
        &self,
        work: &Work,
        file: &dyn File,
        inode: &OpenInode,
        len: u64,
    ) -> Result<Option<Charge>, Failure> {
        let scan = self.account()?.last_scan();
        let growing = inode.lock().await;
        self.look_anew(work, file, inode, &growing, scan).await?;
        let size = growing.charged().saturating_add(len);
        self.check_size(size)?;
        let charge = self.charge_now(work, len, 0).await?;
        growing.set(size);
        Ok(Some(charge))
    }

    async fn look_anew(
        &self,
        work: &Work,
        file: &dyn File,
        inode: &OpenInode,
        growing: &Growing<'_>,
        scan: LogIndex,
    ) -> Result<(), Failure> {
        if inode.is_stale(scan) {
            let stat = file.stat(&work.guard).await.map_err(|error| self.failure(error))?;
            growing.set_anew(stat.size, scan);
        }
        Ok(())
    }
}

/// What was charged is stored, or may be.
pub(crate) fn settle(charge: Option<Charge>) {
    if let Some(charge) = charge {
        charge.publish();
        debug_assert_eq!(charge.held(), Amount::ZERO);
        charge.give_back();
    }
}
