//! What is made through a root belongs to the owner that the root was opened for.

use std::os::unix::fs::MetadataExt;

use flotilla_vfs::{Durability, Owner, VfsError};

use crate::fixtures::*;
use crate::guards::Interrupt;

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

/// Who owns the folder puts something else, that is not ours, in the place of what was just made.
#[tokio::test]
async fn what_takes_the_place_of_a_new_folder_or_symlink_is_not_given_away() {
    if !rustix::process::geteuid().is_root() {
        return lacks("files are given away by root only");
    }
    let fixture = Fixture::new().await;
    let owner = Owner { uid: Some(4242), gid: Some(4343) };
    let root = fixture.storage.open_root_as("theirs", ACCOUNT, owner).await.unwrap();
    let theirs = fixture.folder.path().join("theirs");
    let mut swapped = [0, 0];
    for at in 0..20 {
        for (count, is_folder) in [(0, true), (1, false)] {
            let name = format!("{at}-{is_folder}");
            let (made, aside, bait) = (theirs.join(&name), theirs.join(name.clone() + "-made"), name.clone() + "-bait");
            let bait = theirs.join(bait);
            match is_folder {
                true => std::fs::create_dir(&bait).unwrap(),
                false => std::os::unix::fs::symlink("anywhere", &bait).unwrap(),
            }
            std::os::unix::fs::lchown(&bait, Some(1), Some(1)).unwrap();
            let (from, to) = (bait.clone(), made.clone());
            let guard = Interrupt::meanwhile(at, move || {
                if to.symlink_metadata().is_ok() {
                    std::fs::rename(&to, &aside).unwrap();
                    std::fs::rename(&from, &to).unwrap();
                }
            }) as _;
            let done = match is_folder {
                true => root.make_dir(name.as_bytes(), 0o755, Durability::Close, &guard).await,
                false => root.symlink(name.as_bytes(), b"upload", Durability::Close, &guard).await,
            };
            assert!(matches!(done, Ok(()) | Err(VfsError::NotFound)), "{done:?}");
            if bait.symlink_metadata().is_err() {
                swapped[count] += 1;
                let there = std::fs::symlink_metadata(&made).unwrap();
                assert_eq!((there.uid(), there.gid()), (1, 1), "another's was given away at call {at}");
            }
        }
    }
    assert!(swapped.iter().all(|count| *count >= 2), "{swapped:?}");
}
