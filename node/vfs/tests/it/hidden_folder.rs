//! Where a root is the storage's own folder, `.flotilla` is not there for its client: by name, in any case, or through links.

use flotilla_vfs::{Durability, LocalOptions, SetStat, VfsError};

use crate::assert_fails;
use crate::fixtures::*;

const CLOSE: Durability = Durability::Close;

#[tokio::test]
async fn our_folder_is_hidden_and_refused() {
    let fixture = Fixture::new().await;
    let root = &*fixture.storage.open_root("", 1).await.unwrap();
    put(root, "f", b"x").await.unwrap();
    assert_eq!(list(root, "").await.unwrap(), ["f", "home"]);

    for (link, target) in [("way", ".flotilla"), ("home/up", "../.flotilla"), ("abs", "/home/../.flotilla/")] {
        root.symlink(link.as_bytes(), target.as_bytes(), CLOSE, &free()).await.unwrap();
    }
    root.symlink(b"file-link", b".flotilla/marker", CLOSE, &free()).await.unwrap();
    root.symlink(b"deep", b"home/up/7/marker", CLOSE, &free()).await.unwrap();
    for path in
        [".flotilla/marker", ".FLOTILLA/marker", "way/marker", "home/up/marker", "abs/marker", "file-link", "way/7/x"]
    {
        assert_fails!(get(root, path).await, VfsError::Denied | VfsError::NotFound);
        assert_fails!(root.stat(path.as_bytes(), true, &free()).await, VfsError::Denied | VfsError::NotFound);
        assert_fails!(stage(root, path, b"").await, VfsError::Denied | VfsError::NotFound);
    }
    for path in [".flotilla", ".FloTilla"] {
        let bytes = path.as_bytes();
        assert_fails!(list(root, path).await, VfsError::Denied | VfsError::NotFound);
        assert_fails!(root.stat(bytes, false, &free()).await, VfsError::Denied);
        assert_fails!(root.make_dir(bytes, 0o755, CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.remove_dir(bytes, CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.rename(bytes, b"x", CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.rename(b"f", bytes, CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.rename_over(bytes, b"x", EPOCH, CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.set_stat(bytes, SetStat::default(), &free()).await, VfsError::Denied);
        assert_fails!(root.symlink(bytes, b"x", CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(open(root, path, EXCLUSIVE).await, VfsError::Denied);
        assert_fails!(remove(root, path).await, VfsError::Denied);
        assert_fails!(root.real_path(bytes, &free()).await, VfsError::Denied);
    }
    for path in ["way", "home/up", "abs"] {
        let bytes = path.as_bytes();
        assert_fails!(list(root, path).await, VfsError::Denied);
        assert_fails!(root.stat(bytes, true, &free()).await, VfsError::Denied);
        assert_fails!(root.real_path(bytes, &free()).await, VfsError::Denied);
        assert_fails!(
            root.set_stat(bytes, SetStat { mode: Some(0o777), ..SetStat::default() }, &free()).await,
            VfsError::Denied
        );
        let inside = format!("{path}/marker");
        assert_fails!(remove(root, &inside).await, VfsError::Denied);
        assert_fails!(root.rename(inside.as_bytes(), b"mine", CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.rename(b"f", format!("{path}/f").as_bytes(), CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.hard_link(inside.as_bytes(), b"mine", CLOSE, &free()).await, VfsError::Denied);
        assert_fails!(root.make_dir(format!("{path}/d").as_bytes(), 0o755, CLOSE, &free()).await, VfsError::Denied);
    }
    assert_eq!(fixture.storage.read_marker().await.unwrap(), Some(marker()));
    // Deeper down the name is anybody's.
    root.make_dir(b"home/.flotilla", 0o755, CLOSE, &free()).await.unwrap();
    put(root, "home/.flotilla/f", b"mine").await.unwrap();
    assert_eq!(get(root, "home/.flotilla/f").await.unwrap(), b"mine");
    assert_eq!(list(root, "home").await.unwrap(), [".flotilla", "up"]);
}

#[tokio::test]
async fn a_root_that_is_the_storage_is_unused_and_scanned_without_our_folder() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage_at(folder.path(), LocalOptions::default()).await;
    assert!(!storage.is_root_used("").await.unwrap());
    let root = storage.open_root("", ACCOUNT).await.unwrap();
    put(&*root, "f", b"12345").await.unwrap();
    stage(&*root, "g", b"123").await.unwrap();
    let usage = storage.scan("", ACCOUNT, &free()).await.unwrap();
    assert_eq!((usage.bytes, usage.files), (8, 2));
    assert!(storage.is_root_used("").await.unwrap());
}

#[tokio::test]
async fn other_roots_cannot_reach_it_by_links() {
    let fixture = Fixture::new().await;
    fixture.root.symlink(b"up", b"../.flotilla/marker", CLOSE, &free()).await.unwrap();
    fixture.root.symlink(b"top", b"/../../.flotilla", CLOSE, &free()).await.unwrap();
    assert_fails!(get(&*fixture.root, "up").await, VfsError::NotFound);
    assert_fails!(list(&*fixture.root, "top").await, VfsError::NotFound);
}
