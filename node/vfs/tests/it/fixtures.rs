//! A storage in a temporary folder, and uploads and downloads in one call.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_vfs::{
    Caught, CreditClaim, Durability, File, GuardRef, LocalOptions, LocalStorage, Marker, NoGuard, OpenHow, Root,
    Staged, Storage, VfsError, VfsResult,
};
use tempfile::TempDir;

pub const ACCOUNT: u64 = 7;
pub const EPOCH: u64 = 3;

pub fn free() -> GuardRef {
    NoGuard::shared()
}

pub fn marker() -> Marker {
    Marker { storage_id: "storage-1".into(), cluster_id: "cluster-1".into() }
}

/// A new folder as a storage with one root, `home`.
pub struct Fixture {
    pub folder: TempDir,
    pub storage: Arc<dyn Storage>,
    pub root: Arc<dyn Root>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(LocalOptions::default()).await
    }

    pub async fn with(options: LocalOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage_at(folder.path(), options).await;
        let root = storage.open_root("home", ACCOUNT).await.unwrap();
        Self { folder, storage, root }
    }

    /// A path inside the root, as the operating system sees it.
    pub fn inside(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("home").join(name)
    }

    pub fn staging_folder(&self, epoch: u64) -> std::path::PathBuf {
        self.folder.path().join(".flotilla").join(ACCOUNT.to_string()).join(epoch.to_string())
    }

    pub fn staged_names(&self, epoch: u64) -> Vec<String> {
        names_in(&self.staging_folder(epoch))
    }
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Opens a storage, with the marker made by whoever comes first.
pub async fn storage_at(path: &Path, options: LocalOptions) -> Arc<dyn Storage> {
    let storage = LocalStorage::open("files", path, options).await.unwrap();
    match storage.write_marker(&marker()).await {
        Ok(()) | Err(VfsError::Exists) => {}
        Err(error) => panic!("marker: {error}"),
    }
    assert_eq!(storage.read_marker().await.unwrap(), Some(marker()));
    storage
}

pub async fn stage(root: &dyn Root, path: &str, data: &[u8]) -> VfsResult<Arc<dyn Staged>> {
    let staged = root.stage(path.as_bytes(), 0o644, EPOCH, &free()).await?;
    staged.write(0, Bytes::copy_from_slice(data), &free()).await?;
    Ok(staged)
}

pub async fn put(root: &dyn Root, path: &str, data: &[u8]) -> VfsResult<Option<CreditClaim>> {
    settle(stage(root, path, data).await?.publish(Durability::Close, &free()).await?).await
}

pub async fn settle(caught: Option<Box<dyn Caught>>) -> VfsResult<Option<CreditClaim>> {
    match caught {
        Some(caught) => caught.measure_and_unlink(&free()).await,
        None => Ok(None),
    }
}

pub async fn remove(root: &dyn Root, path: &str) -> VfsResult<Option<CreditClaim>> {
    let caught = root.remove(path.as_bytes(), EPOCH, Durability::Close, &free()).await?;
    caught.measure_and_unlink(&free()).await
}

pub const READ: OpenHow = OpenHow { read: true, write: false, append: false, exclusive: false, mode: 0 };
pub const WRITE: OpenHow = OpenHow { read: true, write: true, append: false, exclusive: false, mode: 0 };
pub const EXCLUSIVE: OpenHow = OpenHow { read: true, write: true, append: false, exclusive: true, mode: 0o666 };

pub async fn open(root: &dyn Root, path: &str, how: OpenHow) -> VfsResult<Arc<dyn File>> {
    root.open(path.as_bytes(), how, &free()).await
}

pub async fn get(root: &dyn Root, path: &str) -> VfsResult<Vec<u8>> {
    let file = open(root, path, READ).await?;
    let mut data = Vec::new();
    loop {
        let part = file.read(data.len() as u64, 32 * 1024, &free()).await?;
        if part.is_empty() {
            return Ok(data);
        }
        data.extend_from_slice(&part);
    }
}

pub async fn list(root: &dyn Root, path: &str) -> VfsResult<Vec<String>> {
    let mut dir = root.open_dir(path.as_bytes(), &free()).await?;
    let mut names = Vec::new();
    loop {
        let batch = dir.next(64, &free()).await?;
        if batch.is_empty() {
            names.sort();
            return Ok(names);
        }
        names.extend(batch.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()));
    }
}

/// Asserts that a call failed with one fact.
#[macro_export]
macro_rules! assert_fails {
    ($call:expr, $pattern:pat) => {
        match $call {
            Err($pattern) => {}
            Err(other) => panic!("failed with {other:?}, expected {}", stringify!($pattern)),
            Ok(_) => panic!("succeeded, expected {}", stringify!($pattern)),
        }
    };
}

/// What this machine lacks is a failure, unless the caller of the tests said that such tests may be left out.
pub fn lacks(what: &str) {
    let may_skip = std::env::var_os("FLOTILLA_MAY_SKIP").is_some();
    assert!(may_skip, "{what}: run the tests as root, or set FLOTILLA_MAY_SKIP=1 to leave such tests out");
    println!("skipped: {what}");
}
