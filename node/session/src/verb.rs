//! The verbs of a session's files, one file each. Front ends reach them through `Files`.

mod attributes;
mod make_dir;
mod open;
mod open_dir;
mod open_read;
mod open_upload;
mod open_write;
mod posix_rename;
mod read_link;
mod real_path;
mod remove;
mod remove_dir;
mod rename;
mod set_stat;
mod space;
mod stat;
mod symlink;

use std::sync::Arc;

use async_trait::async_trait;

use crate::files::*;
use crate::session::Session;

#[async_trait]
impl Files for Session {
    async fn open(&self, path: &[u8], flags: OpenFlags, attributes: SetStat) -> Result<Arc<dyn OpenFile>, Failure> {
        open::run(self, path, flags, attributes).await
    }
    async fn open_dir(&self, path: &[u8]) -> Result<Box<dyn OpenDir>, Failure> {
        open_dir::run(self, path).await
    }
    async fn stat(&self, path: &[u8]) -> Result<FileStat, Failure> {
        stat::run(self, path, true).await
    }
    async fn lstat(&self, path: &[u8]) -> Result<FileStat, Failure> {
        stat::run(self, path, false).await
    }
    async fn set_stat(&self, path: &[u8], wanted: SetStat) -> Result<(), Failure> {
        set_stat::run(self, path, wanted).await
    }
    async fn remove(&self, path: &[u8]) -> Result<(), Failure> {
        remove::run(self, path).await
    }
    async fn make_dir(&self, path: &[u8], attributes: SetStat) -> Result<(), Failure> {
        make_dir::run(self, path, attributes).await
    }
    async fn remove_dir(&self, path: &[u8]) -> Result<(), Failure> {
        remove_dir::run(self, path).await
    }
    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, Failure> {
        real_path::run(self, path).await
    }
    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), Failure> {
        rename::run(self, from, to).await
    }
    async fn posix_rename(&self, from: &[u8], to: &[u8]) -> Result<(), Failure> {
        posix_rename::run(self, from, to).await
    }
    async fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Failure> {
        read_link::run(self, path).await
    }
    async fn symlink(&self, target: &[u8], link: &[u8]) -> Result<(), Failure> {
        symlink::run(self, target, link).await
    }
    async fn space(&self, path: &[u8]) -> Result<SpaceLeft, Failure> {
        space::run(self, path).await
    }
}
