//! Scans: everything once, staging included, in bounded memory however deep the tree.

use std::os::unix::fs::{PermissionsExt, symlink};

use flotilla_vfs::{Durability, LocalOptions, Usage, UsageInUse, VfsError};

use crate::assert_fails;
use crate::fixtures::*;
use crate::guards::*;

async fn scan(fixture: &Fixture) -> Usage {
    fixture.storage.scan("home", ACCOUNT, &free()).await.unwrap()
}

#[tokio::test]
async fn files_links_and_staged_files_count_once_each() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    assert_eq!(scan(&fixture).await, Usage::default());
    put(root, "f", &[1; 1000]).await.unwrap();
    root.make_dir(b"d", 0o755, Durability::Close, &free()).await.unwrap();
    put(root, "d/g", &[1; 200]).await.unwrap();
    root.hard_link(b"f", b"d/again", Durability::Close, &free()).await.unwrap();
    symlink("anywhere", fixture.inside("s")).unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1200, files: 3 });
    let staged = stage(root, "f", &[2; 30]).await.unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1230, files: 4 });
    let caught = root.remove(b"d/g", EPOCH + 1, Durability::Close, &free()).await.unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1230, files: 4 });
    settle(Some(caught)).await.unwrap();
    staged.discard().await.unwrap();
    // A link of the file that lies in staging is the same inode.
    let held = root.rename_over(b"s", b"f", EPOCH, Durability::Close, &free()).await.unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1000, files: 2 });
    assert_eq!(settle(held).await.unwrap(), None);
    // Another account's staging is not this one's.
    let other = fixture.storage.open_root("other", ACCOUNT + 1).await.unwrap();
    stage(&*other, "f", &[1; 77]).await.unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1000, files: 2 });
    // Sparse files count by their logical size.
    std::fs::File::create(fixture.inside("sparse")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 1000 + (1 << 40), files: 3 });
}

#[tokio::test]
async fn a_tree_deeper_than_the_open_levels_is_counted_to_its_end() {
    let fixture = Fixture::new().await;
    let mut path = fixture.inside("");
    for depth in 0..300 {
        for side in 0..3 {
            let name = format!("{side}-file");
            std::fs::write(path.join(name), [0; 10]).unwrap();
        }
        for side in ["a", "z"] {
            let folder = path.join(format!("{side}-side"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("leaf"), [0; 1]).unwrap();
        }
        path.push("m");
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{depth}: {error}"));
    }
    assert_eq!(scan(&fixture).await, Usage { bytes: 300 * 32, files: 300 * 5 });
}

#[tokio::test]
async fn a_root_that_does_not_exist_counts_nothing_and_a_closed_folder_fails() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.storage.scan("nowhere", 99, &free()).await.unwrap(), Usage::default());
    if rustix::process::geteuid().is_root() {
        println!("skipped: folders that this process may not read (runs as root)");
        return;
    }
    std::fs::create_dir(fixture.inside("closed")).unwrap();
    std::fs::set_permissions(fixture.inside("closed"), std::fs::Permissions::from_mode(0o0)).unwrap();
    assert_fails!(fixture.storage.scan("home", ACCOUNT, &free()).await, VfsError::Denied);
}

#[tokio::test]
async fn a_scan_stops_with_its_guard() {
    let fixture = Fixture::new().await;
    for number in 0..10 {
        put(&*fixture.root, &format!("f{number}"), b"x").await.unwrap();
    }
    for calls in 0..12 {
        let guard = StopAfter::new(calls);
        assert_fails!(fixture.storage.scan("home", ACCOUNT, &as_guard(&guard)).await, VfsError::Stopped(_));
        assert_eq!(guard.asked(), calls + 1, "no call after the refusal");
    }
}

#[tokio::test]
async fn a_scan_sees_what_another_node_staged() {
    let fixture = Fixture::new().await;
    let other = storage_at(fixture.folder.path(), LocalOptions::default()).await;
    let root = other.open_root("home", ACCOUNT).await.unwrap();
    let _staged = stage(&*root, "f", &[1; 55]).await.unwrap();
    assert_eq!(scan(&fixture).await, Usage { bytes: 55, files: 1 });
}

async fn scan_in_use(fixture: &Fixture) -> UsageInUse {
    fixture.storage.scan_in_use("home", ACCOUNT, &free()).await.unwrap()
}

#[tokio::test]
async fn in_use_staging_is_counted_apart_and_each_inode_once() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    assert_eq!(scan_in_use(&fixture).await, UsageInUse::default());
    put(root, "f", &[1; 1000]).await.unwrap();
    put(root, "g", &[1; 200]).await.unwrap();
    assert_eq!(scan_in_use(&fixture).await.all, Usage { bytes: 1200, files: 2 });
    assert_eq!(scan_in_use(&fixture).await.staged, Usage::default());
    let staged = stage(root, "h", &[2; 30]).await.unwrap();
    // Linked into staging before it is replaced: the same inode in both places.
    let held = root.rename_over(b"g", b"f", EPOCH, Durability::Close, &free()).await.unwrap();
    let found = scan_in_use(&fixture).await;
    assert_eq!(found.all, Usage { bytes: 1230, files: 3 });
    assert!(found.staged.files >= 2 && found.staged.bytes >= 1030, "{found:?}");
    settle(held).await.unwrap();
    staged.discard().await.unwrap();
    assert_eq!(scan_in_use(&fixture).await.all, scan(&fixture).await);
}

/// What is published or caught while it is walked is found: here by each of many walks.
#[tokio::test(flavor = "multi_thread")]
async fn in_use_nothing_is_missed_that_is_published_replaced_or_caught_under_the_walk() {
    let fixture = Fixture::new().await;
    let root = std::sync::Arc::clone(&fixture.root);
    for number in 0..200 {
        put(&*root, &format!("still-{number}"), &[0; 10]).await.unwrap();
    }
    put(&*root, "busy", &[0; 100]).await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let (root, stop) = (std::sync::Arc::clone(&root), std::sync::Arc::clone(&stop));
        tokio::spawn(async move {
            let mut rounds = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                put(&*root, "busy", &[1; 100]).await.unwrap();
                rounds += 1;
            }
            rounds
        })
    };
    for walk in 0..50 {
        let found = scan_in_use(&fixture).await;
        assert!(found.all.files >= 201 && found.all.bytes >= 2_100, "walk {walk}: {found:?}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let rounds = writer.await.unwrap();
    assert!(rounds > 0, "nothing happened under the walks");
    assert_eq!(scan_in_use(&fixture).await.all, Usage { bytes: 2_100, files: 201 });
}
