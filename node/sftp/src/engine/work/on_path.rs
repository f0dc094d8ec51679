//! Jobs of the session's one ordered queue of path operations.

use std::sync::Arc;

use flotilla_session::{Files, OpenFlags, SetStat};
use tokio::sync::Mutex;

use super::{Listing, Outcome, Target};
use crate::{codec::reply, engine::conflict::canonical};

#[derive(Debug)]
pub(in crate::engine) enum PathWork {
    Open { path: Vec<u8>, flags: OpenFlags, attributes: SetStat },
    OpenDir { path: Vec<u8> },
    Stat { path: Vec<u8> },
    LinkStat { path: Vec<u8> },
    SetStat { path: Vec<u8>, wanted: SetStat },
    Remove { path: Vec<u8> },
    MakeDir { path: Vec<u8>, attributes: SetStat },
    RemoveDir { path: Vec<u8> },
    RealPath { path: Vec<u8> },
    Rename { from: Vec<u8>, to: Vec<u8> },
    PosixRename { from: Vec<u8>, to: Vec<u8> },
    ReadLink { path: Vec<u8> },
    Symlink { target: Vec<u8>, link: Vec<u8> },
    Space { path: Vec<u8> },
}

impl PathWork {
    /// The paths as the client sent them; the second is empty for most.
    pub fn paths(&self) -> (&[u8], Option<&[u8]>) {
        match self {
            Self::Open { path, .. }
            | Self::OpenDir { path }
            | Self::Stat { path }
            | Self::LinkStat { path }
            | Self::SetStat { path, .. }
            | Self::Remove { path }
            | Self::MakeDir { path, .. }
            | Self::RemoveDir { path }
            | Self::RealPath { path }
            | Self::ReadLink { path }
            | Self::Space { path } => (path, None),
            Self::Rename { from, to } | Self::PosixRename { from, to } => (from, Some(to)),
            Self::Symlink { target, link } => (link, Some(target)),
        }
    }

    /// The canonical paths whose open files' earlier changes must be done first.
    pub fn touches(&self) -> Vec<Vec<u8>> {
        match self {
            // Names no file, and clients ask it all the time.
            Self::RealPath { .. } => Vec::new(),
            Self::Symlink { link, .. } => vec![canonical(link)],
            other => {
                let (one, two) = other.paths();
                [Some(one), two].into_iter().flatten().map(canonical).collect()
            }
        }
    }

    pub fn opens(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::OpenDir { .. })
    }

    pub async fn run(self, id: u32, files: &dyn Files) -> Outcome {
        let done = |()| reply::ok(id);
        match self {
            Self::Open { path, flags, attributes } => open(files, path, flags, attributes).await,
            Self::OpenDir { path } => open_dir(files, path).await,
            Self::Stat { path } => Outcome::of(files.stat(&path).await, |stat| reply::attributes(id, &stat)),
            Self::LinkStat { path } => Outcome::of(files.lstat(&path).await, |stat| reply::attributes(id, &stat)),
            Self::SetStat { path, wanted } => Outcome::of(files.set_stat(&path, wanted).await, done),
            Self::Remove { path } => Outcome::of(files.remove(&path).await, done),
            Self::MakeDir { path, attributes } => Outcome::of(files.make_dir(&path, attributes).await, done),
            Self::RemoveDir { path } => Outcome::of(files.remove_dir(&path).await, done),
            Self::RealPath { path } => Outcome::of(files.real_path(&path).await, |name| reply::one_name(id, &name)),
            Self::Rename { from, to } => Outcome::of(files.rename(&from, &to).await, done),
            Self::PosixRename { from, to } => Outcome::of(files.posix_rename(&from, &to).await, done),
            Self::ReadLink { path } => Outcome::of(files.read_link(&path).await, |name| reply::one_name(id, &name)),
            Self::Symlink { target, link } => Outcome::of(files.symlink(&target, &link).await, done),
            Self::Space { path } => Outcome::of(files.space(&path).await, |left| reply::space(id, &left)),
        }
    }
}

async fn open(files: &dyn Files, path: Vec<u8>, flags: OpenFlags, attributes: SetStat) -> Outcome {
    match files.open(&path, flags, attributes).await {
        Ok(file) => Outcome::Opened { target: Target::File { file, append: flags.append }, path },
        Err(failure) => failure.into(),
    }
}

async fn open_dir(files: &dyn Files, path: Vec<u8>) -> Outcome {
    match files.open_dir(&path).await {
        Ok(source) => {
            let listing = Listing::new(files, &path, source).await;
            Outcome::Opened { target: Target::Directory(Arc::new(Mutex::new(listing))), path }
        }
        Err(failure) => failure.into(),
    }
}
