//! The marker, and refusals of storages that are not there or not ours.

use flotilla_vfs::{LocalOptions, LocalStorage, Marker, VfsError};

use crate::assert_fails;
use crate::fixtures::*;

async fn open(path: &std::path::Path) -> flotilla_vfs::VfsResult<std::sync::Arc<dyn flotilla_vfs::Storage>> {
    LocalStorage::open("files", path, LocalOptions::default()).await
}

#[tokio::test]
async fn a_marker_is_written_once_and_read_by_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path()).await.unwrap(), open(folder.path()).await.unwrap());
    assert_eq!(one.read_marker().await.unwrap(), None);
    one.write_marker(&marker()).await.unwrap();
    assert_fails!(two.write_marker(&marker()).await, VfsError::Exists);
    assert_fails!(one.write_marker(&marker()).await, VfsError::Exists);
    assert_eq!(two.read_marker().await.unwrap(), Some(marker()));
    assert_eq!(names_in(&folder.path().join(".flotilla")), ["marker"]);
}

#[tokio::test]
async fn a_storage_that_is_not_there_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
    std::fs::write(&file, "").unwrap();
    for (path, text) in [(missing, "no such folder"), (file, "not a folder")] {
        match open(&path).await.err() {
            Some(VfsError::StorageRefused(why)) => {
                assert!(why.contains(path.to_str().unwrap()) && why.contains(text), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_marker_no_root_opens() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    assert_fails!(storage.open_root("home", ACCOUNT).await, VfsError::StorageRefused(_));
    assert_fails!(storage.scan("home", ACCOUNT, &free()).await, VfsError::StorageRefused(_));
    assert_fails!(storage.fence(ACCOUNT, EPOCH, &free()).await, VfsError::StorageRefused(_));
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_marker_that_vanishes_or_another_folder_at_the_path_is_noticed() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("files");
    std::fs::create_dir(&path).unwrap();
    let storage = open(&path).await.unwrap();
    storage.write_marker(&marker()).await.unwrap();
    std::fs::remove_file(path.join(".flotilla/marker")).unwrap();
    assert_eq!(storage.read_marker().await.unwrap(), None);
    assert_fails!(storage.open_root("home", ACCOUNT).await, VfsError::StorageRefused(_));
    std::fs::rename(&path, above.path().join("elsewhere")).unwrap();
    assert_fails!(storage.read_marker().await, VfsError::StorageRefused(_));
    std::fs::create_dir(&path).unwrap();
    assert_fails!(storage.read_marker().await, VfsError::StorageRefused(_));
    assert_fails!(storage.write_marker(&marker()).await, VfsError::StorageRefused(_));
}

#[tokio::test]
async fn damaged_markers_and_strange_ids_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path()).await.unwrap();
    for id in ["", "a b", "a\"b", "a\nb"] {
        let bad = Marker { storage_id: id.into(), ..marker() };
        assert_fails!(storage.write_marker(&bad).await, VfsError::Invalid(_));
    }
    storage.write_marker(&marker()).await.unwrap();
    for text in ["", "storage_id = \"x\"\n", "storage_id = \"\"\ncluster_id = \"y\"\n", "\u{fffd}\0"] {
        std::fs::write(folder.path().join(".flotilla/marker"), text).unwrap();
        assert_fails!(storage.read_marker().await, VfsError::StorageRefused(_));
    }
}

#[tokio::test]
async fn roots_are_made_private_and_never_behind_links_or_in_our_folder() {
    let fixture = Fixture::new().await;
    fixture.storage.open_root("a/b", 9).await.unwrap();
    let mode = |name: &str| {
        let stat = std::fs::metadata(fixture.folder.path().join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&stat.permissions()) & 0o7777
    };
    assert_eq!([mode("a"), mode("a/b"), mode(".flotilla")], [0o700; 3]);
    std::os::unix::fs::symlink("home", fixture.folder.path().join("link")).unwrap();
    assert_fails!(fixture.storage.open_root("link", 9).await, VfsError::StorageRefused(_));
    assert_fails!(fixture.storage.open_root("link/x", 9).await, VfsError::StorageRefused(_));
    for path in [".flotilla", ".Flotilla/x", "/etc", "../x", "a/../b", "a//b", "a/"] {
        assert_fails!(fixture.storage.open_root(path, 9).await, VfsError::Invalid(_));
    }
    std::fs::write(fixture.folder.path().join("file"), "").unwrap();
    assert_fails!(fixture.storage.open_root("file", 9).await, VfsError::NotDirectory);
}

#[tokio::test]
async fn a_home_whose_storage_lies_behind_a_link_works() {
    let above = tempfile::tempdir().unwrap();
    std::fs::create_dir(above.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", above.path().join("files")).unwrap();
    let storage = storage_at(&above.path().join("files"), LocalOptions::default()).await;
    let root = storage.open_root("home", ACCOUNT).await.unwrap();
    put(&*root, "f", b"x").await.unwrap();
    assert_eq!(std::fs::read(above.path().join("real/home/f")).unwrap(), b"x");
}
