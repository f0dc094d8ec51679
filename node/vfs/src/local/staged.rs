//! An upload: a file in staging with a name to come. After it is published the same handle goes on in place.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::backend::{Caught, Durability, File, FileStat, GuardRef, InodeName, SetStat, Staged, VfsError, VfsResult};

use super::attributes::Chosen;
use super::file::{Reader, write_all};
use super::root::OpenRoot;
use super::set_stat::set_file;
use super::stage::Target;
use super::staging::StagingFolder;
use super::system::{Identity, blocking, fact, file_stat, guarded, stat_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Staged,
    Published,
    Discarded,
    Fenced,
}

struct State {
    stage: Stage,
    /// Closed by a discard or a fence.
    descriptor: Option<Arc<OwnedFd>>,
    chosen: Chosen,
    target: Target,
}

pub(super) struct StagedFile {
    pub root: Arc<OpenRoot>,
    pub staging: Arc<StagingFolder>,
    pub name: String,
    pub own: Identity,
    state: Mutex<State>,
    reader: Reader,
    /// Held while the file gets its name, gets another name to come, or is thrown away.
    turn: Mutex<()>,
}

impl StagedFile {
    pub fn new(
        root: Arc<OpenRoot>,
        staging: Arc<StagingFolder>,
        name: String,
        own: Identity,
        file: OwnedFd,
        target: Target,
    ) -> Self {
        let state = State { stage: Stage::Staged, descriptor: Some(Arc::new(file)), chosen: Chosen::default(), target };
        Self { root, staging, name, own, state: Mutex::new(state), reader: Reader::default(), turn: Mutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    pub fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    pub fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn descriptor(&self) -> VfsResult<Arc<OwnedFd>> {
        let state = self.state();
        state.descriptor.clone().ok_or(match state.stage {
            Stage::Fenced => VfsError::Fenced,
            _ => VfsError::Invalid("the upload was discarded"),
        })
    }

    pub fn stage(&self) -> Stage {
        self.state().stage
    }

    pub fn target(&self) -> Target {
        self.state().target.clone()
    }

    pub fn chosen(&self) -> Chosen {
        self.state().chosen
    }

    /// From here on the file stands at its name (or no longer does, after an undone exchange).
    pub fn set_published(&self, is_published: bool) {
        let mut state = self.state();
        state.stage = if is_published { Stage::Published } else { Stage::Staged };
        if is_published {
            self.staging.forget(&self.name);
        }
    }

    /// The fence closes what is not published; calls that have the descriptor already end by themselves.
    pub fn close_as_fenced(&self) {
        let mut state = self.state();
        if state.stage == Stage::Staged {
            state.stage = Stage::Fenced;
            state.descriptor = None;
        }
    }

    fn discard_now(&self) -> VfsResult<()> {
        let _turn = self.take_turn();
        {
            let mut state = self.state();
            if matches!(state.stage, Stage::Published | Stage::Discarded) {
                return Ok(());
            }
            state.descriptor = None;
        }
        match rustix::fs::unlinkat(&self.staging.folder, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::STALE) => {}
            Err(errno) => return Err(fact(errno)),
        }
        self.staging.forget(&self.name);
        let mut state = self.state();
        if state.stage == Stage::Staged {
            state.stage = Stage::Discarded;
        }
        Ok(())
    }

    fn retarget_now(&self, path: &[u8], guard: &GuardRef) -> VfsResult<()> {
        let _turn = self.take_turn();
        self.descriptor()?;
        if self.stage() != Stage::Staged {
            return Err(VfsError::Invalid("the upload is published"));
        }
        let target = self.root.target(path, guard)?;
        self.state().target = target;
        Ok(())
    }

    fn set_stat_now(&self, file: &OwnedFd, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
        set_file(file, wanted, guard)?;
        let mut state = self.state();
        state.chosen.mode |= wanted.mode.is_some();
        state.chosen.owner |= wanted.owner.is_some();
        Ok(())
    }

    fn myself(self: &Arc<Self>, guard: &GuardRef) -> (Arc<Self>, GuardRef) {
        (self.clone(), guard.clone())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        self.staging.forget(&self.name);
    }
}

/// The handle that sessions hold.
pub(super) struct Upload(pub Arc<StagedFile>);

#[async_trait]
impl File for Upload {
    fn inode(&self) -> InodeName {
        self.0.own.inode
    }

    fn read_now(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Option<VfsResult<usize>> {
        match self.0.descriptor() {
            Ok(file) => self.0.reader.read_now(&file, offset, len, out),
            Err(error) => Some(Err(error)),
        }
    }

    async fn read(&self, offset: u64, len: usize, guard: &GuardRef) -> VfsResult<Bytes> {
        self.0.reader.read(self.0.descriptor()?, offset, len, guard).await
    }

    async fn write(&self, offset: u64, data: Bytes, guard: &GuardRef) -> VfsResult<()> {
        let (file, guard) = (self.0.descriptor()?, guard.clone());
        self.0.root.shared.prompt.run(move || write_all(&file, offset, &data, &guard)).await
    }

    async fn stat(&self, guard: &GuardRef) -> VfsResult<FileStat> {
        let (file, guard) = (self.0.descriptor()?, guard.clone());
        self.0.root.shared.prompt.run(move || Ok(file_stat(&stat_of(&guard, &file)?))).await
    }

    async fn set_stat(&self, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
        let file = self.0.descriptor()?;
        let (staged, guard) = self.0.myself(guard);
        match wanted.size {
            None => self.0.root.shared.prompt.run(move || staged.set_stat_now(&file, wanted, &guard)).await,
            Some(_) => blocking(move || staged.set_stat_now(&file, wanted, &guard)).await,
        }
    }

    async fn sync(&self, guard: &GuardRef) -> VfsResult<()> {
        let (file, guard) = (self.0.descriptor()?, guard.clone());
        blocking(move || guarded(&guard, || rustix::fs::fsync(&file))).await
    }
}

#[async_trait]
impl Staged for Upload {
    fn target(&self) -> (InodeName, Vec<u8>) {
        let target = self.0.target();
        (target.folder_inode, target.path)
    }

    async fn retarget(&self, path: &[u8], guard: &GuardRef) -> VfsResult<()> {
        let (staged, guard) = self.0.myself(guard);
        let path = path.to_vec();
        blocking(move || staged.retarget_now(&path, &guard)).await
    }

    async fn publish(&self, durability: Durability, guard: &GuardRef) -> VfsResult<Option<Box<dyn Caught>>> {
        if durability == Durability::None {
            let (staged, guard) = self.0.myself(guard);
            if let Some(published) = self.0.root.shared.prompt.run(move || staged.publish_without_waiting(&guard)).await
            {
                return published.map(|()| None);
            }
        }
        let (staged, guard) = self.0.myself(guard);
        let caught = blocking(move || staged.publish_now(durability, &guard)).await?;
        Ok(caught.map(|caught| Box::new(caught) as Box<dyn Caught>))
    }

    fn is_published(&self) -> bool {
        self.0.stage() == Stage::Published
    }

    async fn discard(&self) -> VfsResult<()> {
        let staged = self.0.clone();
        blocking(move || staged.discard_now()).await
    }
}
