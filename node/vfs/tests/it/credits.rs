//! What is credited: a file whose last link went, by its size when it was gone, once.

use bytes::Bytes;
use flotilla_vfs::{Durability, LocalOptions, VfsError};

use crate::assert_fails;
use crate::fixtures::*;
use crate::guards::*;

#[tokio::test]
async fn a_file_that_grew_after_it_was_caught_is_credited_as_measured() {
    let fixture = Fixture::new().await;
    put(&*fixture.root, "f", b"12345").await.unwrap();
    let open = open(&*fixture.root, "f", WRITE).await.unwrap();
    let caught = fixture.root.remove(b"f", EPOCH, Durability::Close, &free()).await.unwrap();
    open.write(5, Bytes::from_static(b"678"), &free()).await.unwrap();
    assert_eq!(settle(Some(caught)).await.unwrap().unwrap().bytes, 8);
}

#[tokio::test]
async fn of_two_links_removed_on_two_nodes_at_most_one_is_credited() {
    let fixture = Fixture::new().await;
    let other = storage_at(fixture.folder.path(), LocalOptions::default()).await;
    let there = other.open_root("home", ACCOUNT).await.unwrap();
    put(&*fixture.root, "a", b"12345").await.unwrap();
    fixture.root.hard_link(b"a", b"b", Durability::Close, &free()).await.unwrap();
    let here = fixture.root.remove(b"a", EPOCH, Durability::Close, &free()).await.unwrap();
    let elsewhere = there.remove(b"b", EPOCH + 1, Durability::Close, &free()).await.unwrap();
    assert_eq!(settle(Some(here)).await.unwrap(), None);
    assert_eq!(settle(Some(elsewhere)).await.unwrap().unwrap().bytes, 5);
}

#[tokio::test]
async fn a_stopped_measure_gives_no_credit_and_leaves_the_file_to_the_fence() {
    let fixture = Fixture::new().await;
    for calls in 0..3 {
        put(&*fixture.root, "f", b"12345").await.unwrap();
        let caught = fixture.root.remove(b"f", EPOCH, Durability::None, &free()).await.unwrap();
        let guard = StopAfter::new(calls);
        assert_fails!(caught.measure_and_unlink(&as_guard(&guard)).await, VfsError::Stopped(_));
        assert_eq!(guard.asked(), calls + 1);
    }
    assert_eq!(fixture.staged_names(EPOCH).len(), 3);
    fixture.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
}

#[tokio::test]
async fn the_folder_is_synced_before_a_credit_is_measured() {
    let fixture = Fixture::new().await;
    for (durability, calls) in [(Durability::Close, 2), (Durability::None, 3)] {
        put(&*fixture.root, "f", b"12345").await.unwrap();
        let caught = fixture.root.remove(b"f", EPOCH, durability, &free()).await.unwrap();
        let guard = StopAfter::new(usize::MAX);
        caught.measure_and_unlink(&as_guard(&guard)).await.unwrap().unwrap();
        // Sync with `none`, look, unlink.
        assert_eq!(guard.asked(), calls);
    }
}

#[tokio::test]
async fn a_moved_parent_keeps_its_upload() {
    let fixture = Fixture::new().await;
    fixture.root.make_dir(b"d", 0o755, Durability::None, &free()).await.unwrap();
    let staged = stage(&*fixture.root, "d/f", b"x").await.unwrap();
    fixture.root.rename(b"d", b"e", Durability::None, &free()).await.unwrap();
    staged.publish(Durability::Close, &free()).await.unwrap();
    assert_eq!(get(&*fixture.root, "e/f").await.unwrap(), b"x");
}

#[tokio::test]
async fn folders_made_without_a_sync_are_synced_by_a_publish_below_them() {
    let fixture = Fixture::new().await;
    let count = |path: &'static str| {
        let root = fixture.root.clone();
        async move {
            let staged = stage(&*root, path, b"x").await.unwrap();
            let guard = StopAfter::new(usize::MAX);
            staged.publish(Durability::Close, &as_guard(&guard)).await.unwrap();
            guard.asked()
        }
    };
    let plain = count("f").await;
    fixture.root.make_dir(b"a", 0o755, Durability::None, &free()).await.unwrap();
    fixture.root.make_dir(b"a/b", 0o755, Durability::None, &free()).await.unwrap();
    // Look and step at b, a, home; sync above b and above a; look at the storage's folder.
    assert_eq!(count("a/b/f").await, plain + 3 * 2 + 2 + 1);
    assert_eq!(count("a/b/g").await, plain, "once");
}

#[tokio::test]
async fn owner_and_acl_of_a_replaced_file_are_taken_over() {
    let fixture = Fixture::new().await;
    put(&*fixture.root, "f", b"old").await.unwrap();
    let path = fixture.inside("f");
    // user::rw-, user:65534:r--, group::r--, mask::r--, other::---
    let entry =
        |tag: u16, perm: u16, id: u32| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let acl = [
        2u32.to_le_bytes().to_vec(),
        entry(1, 6, none),
        entry(2, 4, 65_534),
        entry(4, 4, none),
        entry(0x10, 4, none),
        entry(0x20, 0, none),
    ]
    .concat();
    let name = "system.posix_acl_access";
    if rustix::fs::setxattr(&path, name, &acl, rustix::fs::XattrFlags::empty()).is_err() {
        lacks("there are no ACLs on this file system");
        return;
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    } else {
        lacks("giving a file to another owner needs root");
    }
    put(&*fixture.root, "f", b"new").await.unwrap();
    let mut copied = [0; 256];
    let length = rustix::fs::getxattr(&path, name, &mut copied[..]).unwrap();
    assert_eq!(&copied[..length], &acl[..]);
    let stat = fixture.root.stat(b"f", false, &free()).await.unwrap();
    assert_eq!(stat.mode & 0o7777, 0o640);
    if is_root {
        assert_eq!((stat.uid, stat.gid), (1234, 2345));
    }
    assert_eq!(get(&*fixture.root, "f").await.unwrap(), b"new");
}
