//! An open directory of a session.

use std::sync::Arc;

use async_trait::async_trait;
use flotilla_vfs::{Dir, DirEntry};
use tokio::sync::OwnedSemaphorePermit;

use crate::files::{Failure, OpenDir};
use crate::session::Session;

pub(crate) struct OpenDirectory {
    pub session: Arc<Session>,
    pub dir: Box<dyn Dir>,
    pub _handle: OwnedSemaphorePermit,
}

#[async_trait]
impl OpenDir for OpenDirectory {
    async fn next(&mut self, max: usize) -> Result<Vec<DirEntry>, Failure> {
        let work = self.session.begin().await?;
        self.dir.next(max, &work.guard).await.map_err(|error| self.session.failure(error))
    }
}
