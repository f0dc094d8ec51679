//! What is made through a root belongs to the owner that the root was opened for.

use std::os::unix::fs::MetadataExt;

use flotilla_vfs::{Durability, Owner};

use crate::fixtures::*;

/// As root everything is given away; another process may not, says so in its log, and its uploads work nevertheless.
#[tokio::test]
async fn what_is_made_belongs_to_the_roots_owner() {
    let fixture = Fixture::new().await;
    let owner = Owner { uid: Some(4242), gid: Some(4343) };
    let root = fixture.storage.open_root_as("theirs", ACCOUNT, owner).await.unwrap();
    put(&*root, "upload", b"x").await.unwrap();
    open(&*root, "lock", EXCLUSIVE).await.unwrap();
    root.make_dir(b"folder", 0o755, Durability::None, &free()).await.unwrap();
    root.symlink(b"link", b"upload", Durability::None, &free()).await.unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let own = std::fs::metadata(fixture.folder.path()).unwrap();
    let expected = if is_root { (4242, 4343) } else { (own.uid(), own.gid()) };
    for name in ["", "upload", "lock", "folder", "link"] {
        let made = std::fs::symlink_metadata(fixture.folder.path().join("theirs").join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_replaced_file_keeps_its_owner_and_an_absent_part_is_left_alone() {
    let fixture = Fixture::new().await;
    put(&*fixture.root, "old", b"x").await.unwrap();
    let before = std::fs::metadata(fixture.inside("old")).unwrap();
    let owner = Owner { uid: None, gid: Some(4343) };
    let root = fixture.storage.open_root_as("home", ACCOUNT, owner).await.unwrap();
    put(&*root, "old", b"new").await.unwrap();
    put(&*root, "fresh", b"x").await.unwrap();
    let (old, fresh) =
        (std::fs::metadata(fixture.inside("old")).unwrap(), std::fs::metadata(fixture.inside("fresh")).unwrap());
    assert_eq!((old.uid(), old.gid()), (before.uid(), before.gid()));
    let gid = if rustix::process::geteuid().is_root() { 4343 } else { before.gid() };
    assert_eq!((fresh.uid(), fresh.gid()), (before.uid(), gid));
}
