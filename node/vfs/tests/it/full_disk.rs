//! A full file system: refused as such, nothing that was there is harmed, and room that is freed can be used.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use flotilla_vfs::{Durability, LocalOptions, VfsError};

use crate::assert_fails;
use crate::fixtures::*;

pub struct Mount(PathBuf);

impl Mount {
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount {}", self.0.display());
    }
}

/// `None` where this process may not mount and that was said to be fine.
pub fn mount_tmpfs(at: &Path, size: &str) -> Option<Mount> {
    if !rustix::process::geteuid().is_root() {
        lacks("mounting a tmpfs needs root");
        return None;
    }
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).status();
    if !done.is_ok_and(|status| status.success()) {
        lacks("a tmpfs cannot be mounted here");
        return None;
    }
    Some(Mount(at.to_owned()))
}

#[tokio::test]
async fn a_full_disk_refuses_and_harms_nothing() {
    let above = tempfile::tempdir().unwrap();
    let Some(_mount) = mount_tmpfs(above.path(), "1m") else { return };
    let storage = storage_at(above.path(), LocalOptions::default()).await;
    let root = &*storage.open_root("home", ACCOUNT).await.unwrap();
    put(root, "good", &[1; 100_000]).await.unwrap();

    let staged = stage(root, "good", b"").await.unwrap();
    let chunk = Bytes::from(vec![2; 256 * 1024]);
    let mut offset = 0;
    let error = loop {
        match staged.write(offset, chunk.clone(), &free()).await {
            Ok(()) => offset += chunk.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, VfsError::NoSpace), "{error:?}");
    assert_eq!(get(root, "good").await.unwrap(), vec![1; 100_000]);
    assert_fails!(
        open(root, "good", WRITE).await.unwrap().write(100_000, chunk.clone(), &free()).await,
        VfsError::NoSpace
    );
    let space = root.space(&free()).await.unwrap();
    assert!(space.available_bytes < 256 * 1024, "{space:?}");
    staged.discard().await.unwrap();
    put(root, "second", &[3; 200_000]).await.unwrap();
    assert_eq!(get(root, "second").await.unwrap(), vec![3; 200_000]);
    assert!(remove(root, "good").await.unwrap().unwrap().bytes >= 100_000);
}

#[tokio::test]
async fn without_inodes_an_upload_is_refused_at_open() {
    let above = tempfile::tempdir().unwrap();
    let Some(_mount) = mount_tmpfs(above.path(), "1m,nr_inodes=40") else { return };
    let storage = storage_at(above.path(), LocalOptions::default()).await;
    let root = &*storage.open_root("home", ACCOUNT).await.unwrap();
    let mut count = 0;
    let error = loop {
        match put(root, &format!("f{count}"), b"x").await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 100);
    };
    assert!(matches!(error, VfsError::NoSpace), "{error:?}");
    let close = Durability::Close;
    assert_fails!(root.make_dir(b"d", 0o755, close, &free()).await, VfsError::NoSpace);
    assert_fails!(root.symlink(b"l", b"f0", close, &free()).await, VfsError::NoSpace);
    assert_fails!(open(root, "x", EXCLUSIVE).await, VfsError::NoSpace);
    // Removing needs no inode.
    assert_eq!(remove(root, "f0").await.unwrap().unwrap().files, 1);
    put(root, "again", b"x").await.unwrap();
}
