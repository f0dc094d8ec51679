//! What is probed, and that probing leaves nothing behind.

use flotilla_vfs::{Capability, LocalOptions, LocalStorage, VfsError, local::Without};

use crate::assert_fails;
use crate::fixtures::*;

#[tokio::test]
async fn a_linux_file_system_has_everything() {
    let fixture = Fixture::new().await;
    let expected = Capability {
        exchange: true,
        no_replace: true,
        hard_links: true,
        birth_time: true,
        case_folding: false,
        symlinks: true,
        random_writes: true,
    };
    assert_eq!(*fixture.storage.capability(), expected);
    assert_eq!(fixture.root.capability(), fixture.storage.capability());
    assert_eq!(names_in(&fixture.folder.path().join(".flotilla")), ["marker"]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_where_it_is_missing() {
    let without = Without { exchange: true, no_replace: true, hard_links: true };
    let fixture = Fixture::with(LocalOptions { without }).await;
    put(&*fixture.root, "a", b"a").await.unwrap();
    let close = flotilla_vfs::Durability::Close;
    assert_fails!(fixture.root.rename(b"a", b"b", close, &free()).await, VfsError::Unsupported(_));
    assert_fails!(fixture.root.hard_link(b"a", b"b", close, &free()).await, VfsError::Unsupported(_));
    // Uploads still work, without a credit for what they replace.
    assert_eq!(put(&*fixture.root, "a", b"again").await.unwrap(), None);
    assert_eq!(get(&*fixture.root, "a").await.unwrap(), b"again");
}

#[tokio::test]
async fn probing_a_folder_without_marker_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    LocalStorage::open("files", folder.path(), LocalOptions::default()).await.unwrap();
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_may_probe_and_mark_one_new_folder_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let starts = (0..4).map(|_| {
            let path = path.clone();
            tokio::spawn(async move {
                let storage = storage_at(&path, LocalOptions::default()).await;
                let root = storage.open_root("home", ACCOUNT).await.unwrap();
                put(&*root, "f", b"x").await.unwrap();
            })
        });
        for start in starts.collect::<Vec<_>>() {
            start.await.unwrap();
        }
        let ours = names_in(&folder.path().join(".flotilla"));
        assert_eq!(ours, [ACCOUNT.to_string(), "marker".into()]);
    }
}
