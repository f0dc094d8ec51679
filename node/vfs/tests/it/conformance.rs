//! The suite that every backend passes, as functions over a storage; what a backend lacks it says in its `Capability`.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_vfs::{Durability, FileKind, LocalOptions, OpenHow, Root, SetStat, Storage, VfsError, local::Without};

use crate::assert_fails;
use crate::fixtures::*;

const CLOSE: Durability = Durability::Close;

async fn root_of(storage: &dyn Storage, name: &str) -> Arc<dyn Root> {
    storage.open_root(&format!("suite/{name}"), ACCOUNT).await.unwrap()
}

/// Everything, in roots of its own.
pub async fn conforms(storage: &dyn Storage) {
    uploads_are_invisible_until_published(storage).await;
    uploads_replace_and_yield_what_they_replaced(storage).await;
    uploads_fail_early(storage).await;
    uploads_keep_the_attributes_of_what_they_replace(storage).await;
    a_published_handle_goes_on_in_place(storage).await;
    uploads_can_be_retargeted(storage).await;
    exclusive_files_are_made_in_place(storage).await;
    files_are_read_and_written_at_any_offset(storage).await;
    attributes_are_set_by_path_and_by_handle(storage).await;
    folders_are_made_listed_and_removed(storage).await;
    files_are_removed_and_credited(storage).await;
    renames_do_not_replace(storage).await;
    posix_renames_replace_and_credit(storage).await;
    if storage.capability().symlinks {
        symlinks_are_made_read_and_followed(storage).await;
        uploads_follow_eight_links(storage).await;
    }
    if storage.capability().hard_links {
        links_share_one_file(storage).await;
    }
    real_paths_are_canonical(storage).await;
    space_is_told(storage).await;
    roots_say_whether_they_are_used(storage).await;
}

async fn uploads_are_invisible_until_published(storage: &dyn Storage) {
    let root = root_of(storage, "invisible").await;
    let staged = stage(&*root, "f", b"new").await.unwrap();
    assert_fails!(get(&*root, "f").await, VfsError::NotFound);
    assert_eq!(list(&*root, "").await.unwrap(), Vec::<String>::new());
    assert_eq!(staged.stat(&free()).await.unwrap().size, 3);
    assert_eq!(&staged.read(1, 10, &free()).await.unwrap()[..], b"ew");
    assert!(!staged.is_published());
    assert!(staged.publish(CLOSE, &free()).await.unwrap().is_none());
    assert!(staged.is_published());
    assert_eq!(get(&*root, "f").await.unwrap(), b"new");
    assert_fails!(staged.publish(CLOSE, &free()).await, VfsError::Invalid(_));
    staged.discard().await.unwrap();
    assert_eq!(get(&*root, "f").await.unwrap(), b"new");

    let given_up = stage(&*root, "g", b"never").await.unwrap();
    given_up.discard().await.unwrap();
    given_up.discard().await.unwrap();
    assert_fails!(given_up.publish(CLOSE, &free()).await, VfsError::Invalid(_));
    assert_eq!(list(&*root, "").await.unwrap(), ["f"]);
}

async fn uploads_replace_and_yield_what_they_replaced(storage: &dyn Storage) {
    let root = root_of(storage, "replace").await;
    for durability in [Durability::Close, Durability::None] {
        assert_eq!(put(&*root, "f", b"old file").await.unwrap(), None);
        let old = root.stat(b"f", false, &free()).await.unwrap().inode;
        let staged = stage(&*root, "f", b"new").await.unwrap();
        assert_eq!(get(&*root, "f").await.unwrap(), b"old file");
        let caught = staged.publish(durability, &free()).await.unwrap().unwrap();
        assert_eq!(get(&*root, "f").await.unwrap(), b"new");
        let claim = caught.measure_and_unlink(&free()).await.unwrap().unwrap();
        assert_eq!((claim.bytes, claim.files, claim.inode), (8, 1, old));
        remove(&*root, "f").await.unwrap();
    }
}

async fn uploads_fail_early(storage: &dyn Storage) {
    let root = root_of(storage, "early").await;
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    put(&*root, "f", b"x").await.unwrap();
    assert_fails!(stage(&*root, "d", b"").await, VfsError::IsDirectory);
    assert_fails!(stage(&*root, "", b"").await, VfsError::IsDirectory);
    assert_fails!(stage(&*root, "missing/f", b"").await, VfsError::NotFound);
    assert_fails!(stage(&*root, "f/f", b"").await, VfsError::NotDirectory);
    // A folder that comes to the name, or a parent that goes, before CLOSE.
    let staged = stage(&*root, "g", b"x").await.unwrap();
    root.make_dir(b"g", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(staged.publish(CLOSE, &free()).await, VfsError::IsDirectory);
    assert!(!staged.is_published());
    let staged = stage(&*root, "d/f", b"x").await.unwrap();
    root.remove_dir(b"d", CLOSE, &free()).await.unwrap();
    assert_fails!(staged.publish(CLOSE, &free()).await, VfsError::NotFound);
    assert!(!staged.is_published());
}

async fn uploads_keep_the_attributes_of_what_they_replace(storage: &dyn Storage) {
    let root = root_of(storage, "attributes").await;
    let mode = |mode| SetStat { mode: Some(mode), ..SetStat::default() };
    let staged = root.stage(b"f", 0o4777, EPOCH, &free()).await.unwrap();
    staged.publish(CLOSE, &free()).await.unwrap();
    assert_eq!(root.stat(b"f", false, &free()).await.unwrap().mode & 0o7777, 0o755);
    root.set_stat(b"f", mode(0o640), &free()).await.unwrap();
    put(&*root, "f", b"x").await.unwrap();
    assert_eq!(root.stat(b"f", false, &free()).await.unwrap().mode & 0o7777, 0o640);
    // What the client asked for on the upload itself wins.
    let staged = stage(&*root, "f", b"y").await.unwrap();
    staged.set_stat(mode(0o604), &free()).await.unwrap();
    settle(staged.publish(CLOSE, &free()).await.unwrap()).await.unwrap();
    assert_eq!(root.stat(b"f", false, &free()).await.unwrap().mode & 0o7777, 0o604);
}

async fn a_published_handle_goes_on_in_place(storage: &dyn Storage) {
    let root = root_of(storage, "onwards").await;
    let staged = stage(&*root, "f", b"one").await.unwrap();
    staged.publish(CLOSE, &free()).await.unwrap();
    staged.write(3, Bytes::from_static(b" two"), &free()).await.unwrap();
    staged.sync(&free()).await.unwrap();
    assert_eq!(get(&*root, "f").await.unwrap(), b"one two");
    assert_eq!(staged.stat(&free()).await.unwrap().inode, root.stat(b"f", false, &free()).await.unwrap().inode);
}

async fn uploads_can_be_retargeted(storage: &dyn Storage) {
    let root = root_of(storage, "retarget").await;
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    let staged = stage(&*root, "f", b"x").await.unwrap();
    assert_eq!(staged.target(), (root.stat(b"", true, &free()).await.unwrap().inode, b"f".to_vec()));
    staged.retarget(b"d/g", &free()).await.unwrap();
    assert_eq!(staged.target(), (root.stat(b"d", true, &free()).await.unwrap().inode, b"d/g".to_vec()));
    assert_fails!(staged.retarget(b"d", &free()).await, VfsError::IsDirectory);
    staged.publish(CLOSE, &free()).await.unwrap();
    assert_fails!(get(&*root, "f").await, VfsError::NotFound);
    assert_eq!(get(&*root, "d/g").await.unwrap(), b"x");
    assert_fails!(staged.retarget(b"h", &free()).await, VfsError::Invalid(_));
}

async fn exclusive_files_are_made_in_place(storage: &dyn Storage) {
    let root = root_of(storage, "exclusive").await;
    let file = open(&*root, "lock", EXCLUSIVE).await.unwrap();
    assert_eq!(get(&*root, "lock").await.unwrap(), b"");
    assert_fails!(open(&*root, "lock", EXCLUSIVE).await, VfsError::Exists);
    file.write(0, Bytes::from_static(b"pid"), &free()).await.unwrap();
    file.sync(&free()).await.unwrap();
    assert_eq!(get(&*root, "lock").await.unwrap(), b"pid");
    let stat = root.stat(b"lock", false, &free()).await.unwrap();
    assert_eq!(stat.mode & 0o7777, 0o644);
    assert_fails!(open(&*root, "missing/lock", EXCLUSIVE).await, VfsError::NotFound);
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(open(&*root, "d", EXCLUSIVE).await, VfsError::Exists);
}

async fn files_are_read_and_written_at_any_offset(storage: &dyn Storage) {
    let root = root_of(storage, "offsets").await;
    put(&*root, "f", b"0123456789").await.unwrap();
    let file = open(&*root, "f", WRITE).await.unwrap();
    assert_eq!(&file.read(3, 4, &free()).await.unwrap()[..], b"3456");
    assert_eq!(&file.read(8, 40, &free()).await.unwrap()[..], b"89");
    assert!(file.read(10, 4, &free()).await.unwrap().is_empty());
    assert!(file.read(u64::MAX, 4, &free()).await.unwrap().is_empty());
    file.write(12, Bytes::from_static(b"x"), &free()).await.unwrap();
    file.write(0, Bytes::new(), &free()).await.unwrap();
    assert_eq!(get(&*root, "f").await.unwrap(), b"0123456789\0\0x");
    let how = OpenHow { write: true, append: true, ..OpenHow::default() };
    open(&*root, "f", how).await.unwrap().write(0, Bytes::from_static(b"!"), &free()).await.unwrap();
    assert_eq!(get(&*root, "f").await.unwrap(), b"0123456789\0\0x!");
    assert_fails!(open(&*root, "missing", READ).await, VfsError::NotFound);
    assert_fails!(open(&*root, "", READ).await, VfsError::IsDirectory);
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(open(&*root, "d", READ).await, VfsError::IsDirectory);
    assert_fails!(open(&*root, "d", WRITE).await, VfsError::IsDirectory);
    assert_fails!(open(&*root, "f/x", READ).await, VfsError::NotDirectory);
}

async fn attributes_are_set_by_path_and_by_handle(storage: &dyn Storage) {
    let root = root_of(storage, "setstat").await;
    put(&*root, "f", b"0123456789").await.unwrap();
    let wanted = SetStat { size: Some(4), mode: Some(0o7600), times: Some((1_000, 2_000)), owner: None };
    root.set_stat(b"f", wanted, &free()).await.unwrap();
    let stat = root.stat(b"f", true, &free()).await.unwrap();
    assert_eq!((stat.size, stat.mode & 0o7777, stat.atime.0, stat.mtime.0), (4, 0o600, 1_000, 2_000));
    assert_eq!(stat.kind, FileKind::File);
    let file = open(&*root, "f", WRITE).await.unwrap();
    file.set_stat(SetStat { size: Some(6), times: Some((3, 4)), ..SetStat::default() }, &free()).await.unwrap();
    assert_eq!(get(&*root, "f").await.unwrap(), b"0123\0\0");
    let stat = file.stat(&free()).await.unwrap();
    assert_eq!((stat.size, stat.mode & 0o7777, stat.mtime.0), (6, 0o600, 4));
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    root.set_stat(b"d", SetStat { mode: Some(0o700), ..SetStat::default() }, &free()).await.unwrap();
    assert_eq!(root.stat(b"d", true, &free()).await.unwrap().mode & 0o7777, 0o700);
    let size = SetStat { size: Some(0), ..SetStat::default() };
    assert_fails!(root.set_stat(b"d", size, &free()).await, VfsError::IsDirectory);
    assert_fails!(root.set_stat(b"", size, &free()).await, VfsError::IsDirectory);
    assert_fails!(root.set_stat(b"missing", wanted, &free()).await, VfsError::NotFound);
}

async fn folders_are_made_listed_and_removed(storage: &dyn Storage) {
    let root = root_of(storage, "folders").await;
    root.make_dir(b"d", 0o7777, CLOSE, &free()).await.unwrap();
    root.make_dir(b"d/e", 0o755, Durability::None, &free()).await.unwrap();
    assert_eq!(root.stat(b"d", false, &free()).await.unwrap().mode & 0o7777, 0o755);
    assert_fails!(root.make_dir(b"d", 0o755, CLOSE, &free()).await, VfsError::Exists);
    assert_fails!(root.make_dir(b"x/y", 0o755, CLOSE, &free()).await, VfsError::NotFound);
    put(&*root, "d/e/f", b"x").await.unwrap();
    assert_eq!(list(&*root, "d").await.unwrap(), ["e"]);
    assert_eq!(list(&*root, "d/e").await.unwrap(), ["f"]);
    assert_fails!(root.remove_dir(b"d/e", CLOSE, &free()).await, VfsError::NotEmpty);
    assert_fails!(root.remove_dir(b"d/e/f", CLOSE, &free()).await, VfsError::NotDirectory);
    assert_fails!(root.remove_dir(b"", CLOSE, &free()).await, VfsError::Denied);
    assert_fails!(list(&*root, "d/e/f").await, VfsError::NotDirectory);
    assert_fails!(list(&*root, "missing").await, VfsError::NotFound);
    remove(&*root, "d/e/f").await.unwrap();
    root.remove_dir(b"d/e", CLOSE, &free()).await.unwrap();
    root.remove_dir(b"d", Durability::None, &free()).await.unwrap();
    assert_eq!(list(&*root, "").await.unwrap(), Vec::<String>::new());
}

async fn files_are_removed_and_credited(storage: &dyn Storage) {
    let root = root_of(storage, "remove").await;
    put(&*root, "f", b"12345").await.unwrap();
    let inode = root.stat(b"f", false, &free()).await.unwrap().inode;
    let caught = root.remove(b"f", EPOCH, Durability::None, &free()).await.unwrap();
    assert_fails!(get(&*root, "f").await, VfsError::NotFound);
    let claim = caught.measure_and_unlink(&free()).await.unwrap().unwrap();
    assert_eq!((claim.bytes, claim.files, claim.inode), (5, 1, inode));
    assert_fails!(remove(&*root, "f").await, VfsError::NotFound);
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(remove(&*root, "d").await, VfsError::IsDirectory);
    assert_fails!(remove(&*root, "").await, VfsError::Denied);
    assert_fails!(remove(&*root, "missing/f").await, VfsError::NotFound);
}

async fn renames_do_not_replace(storage: &dyn Storage) {
    let root = root_of(storage, "rename").await;
    put(&*root, "a", b"a").await.unwrap();
    put(&*root, "b", b"b").await.unwrap();
    assert_fails!(root.rename(b"a", b"b", CLOSE, &free()).await, VfsError::Exists);
    assert_fails!(root.rename(b"missing", b"c", CLOSE, &free()).await, VfsError::NotFound);
    assert_fails!(root.rename(b"a", b"x/y", CLOSE, &free()).await, VfsError::NotFound);
    root.rename(b"a", b"c", CLOSE, &free()).await.unwrap();
    assert_eq!(list(&*root, "").await.unwrap(), ["b", "c"]);
    root.make_dir(b"d", 0o755, Durability::None, &free()).await.unwrap();
    put(&*root, "d/f", b"f").await.unwrap();
    root.rename(b"d", b"e", Durability::None, &free()).await.unwrap();
    assert_eq!(get(&*root, "e/f").await.unwrap(), b"f");
    assert_fails!(root.rename(b"e", b"b", CLOSE, &free()).await, VfsError::Exists);
    assert_fails!(root.rename(b"", b"z", CLOSE, &free()).await, VfsError::Denied);
    assert_fails!(root.rename(b"e", b"e/e", CLOSE, &free()).await, VfsError::Invalid(_));
    assert_eq!(get(&*root, "b").await.unwrap(), b"b");
}

async fn posix_renames_replace_and_credit(storage: &dyn Storage) {
    let root = root_of(storage, "over").await;
    for durability in [Durability::Close, Durability::None] {
        put(&*root, "a", b"aaa").await.unwrap();
        put(&*root, "b", b"bb").await.unwrap();
        let old = root.stat(b"b", false, &free()).await.unwrap().inode;
        let caught = root.rename_over(b"a", b"b", EPOCH, durability, &free()).await.unwrap();
        assert_eq!(list(&*root, "").await.unwrap(), ["b"]);
        assert_eq!(get(&*root, "b").await.unwrap(), b"aaa");
        let claim = settle(caught).await.unwrap();
        if storage.capability().hard_links {
            let claim = claim.unwrap();
            assert_eq!((claim.bytes, claim.files, claim.inode), (2, 1, old));
        } else {
            assert_eq!(claim, None);
        }
    }
    assert!(root.rename_over(b"b", b"c", EPOCH, CLOSE, &free()).await.unwrap().is_none());
    assert_fails!(root.rename_over(b"missing", b"c", EPOCH, CLOSE, &free()).await, VfsError::NotFound);
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(root.rename_over(b"c", b"d", EPOCH, CLOSE, &free()).await, VfsError::IsDirectory);
    assert_fails!(root.rename_over(b"d", b"c", EPOCH, CLOSE, &free()).await, VfsError::NotDirectory);
    // As POSIX: a folder may replace an empty one.
    root.make_dir(b"e", 0o755, CLOSE, &free()).await.unwrap();
    assert!(root.rename_over(b"d", b"e", EPOCH, CLOSE, &free()).await.unwrap().is_none());
    assert_eq!(list(&*root, "").await.unwrap(), ["c", "e"]);
}

async fn symlinks_are_made_read_and_followed(storage: &dyn Storage) {
    let root = root_of(storage, "symlinks").await;
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    put(&*root, "d/f", b"deep").await.unwrap();
    root.symlink(b"abs", b"/d/f", CLOSE, &free()).await.unwrap();
    root.symlink(b"d/up", b"../abs", Durability::None, &free()).await.unwrap();
    root.symlink(b"folder", b"../../d/", CLOSE, &free()).await.unwrap();
    root.symlink(b"top", b"..", CLOSE, &free()).await.unwrap();
    assert_eq!(root.read_link(b"folder", &free()).await.unwrap(), b"../../d/");
    for path in ["abs", "d/up", "folder/f", "top/d/f", "top/top/folder/up"] {
        assert_eq!(get(&*root, path).await.unwrap(), b"deep", "{path}");
    }
    assert_eq!(root.stat(b"abs", true, &free()).await.unwrap().kind, FileKind::File);
    assert_eq!(root.stat(b"abs", false, &free()).await.unwrap().kind, FileKind::Symlink);
    assert_eq!(root.stat(b"top", true, &free()).await.unwrap().kind, FileKind::Directory);
    assert_eq!(list(&*root, "folder").await.unwrap(), ["f", "up"]);
    assert_fails!(root.symlink(b"abs", b"x", CLOSE, &free()).await, VfsError::Exists);
    assert_fails!(root.symlink(b"n", b"", CLOSE, &free()).await, VfsError::Invalid(_));
    assert_fails!(root.read_link(b"d", &free()).await, VfsError::Invalid(_));
    assert_fails!(root.read_link(b"missing", &free()).await, VfsError::NotFound);
    root.symlink(b"loop", b"loop", CLOSE, &free()).await.unwrap();
    assert_fails!(get(&*root, "loop").await, VfsError::LinkLoop);
    assert_fails!(root.stat(b"loop", true, &free()).await, VfsError::LinkLoop);
    assert_fails!(stage(&*root, "loop", b"").await, VfsError::LinkLoop);
    root.symlink(b"dangling", b"nowhere", CLOSE, &free()).await.unwrap();
    assert_fails!(root.stat(b"dangling", true, &free()).await, VfsError::NotFound);
    assert_fails!(open(&*root, "dangling", EXCLUSIVE).await, VfsError::Exists);
    let claim = remove(&*root, "dangling").await.unwrap().unwrap();
    assert_eq!((claim.bytes, claim.files), (0, 1));
}

async fn uploads_follow_eight_links(storage: &dyn Storage) {
    let root = root_of(storage, "hops").await;
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    root.symlink(b"l1", b"d/f", CLOSE, &free()).await.unwrap();
    for hop in 2..=9 {
        let (name, target) = (format!("l{hop}"), format!("l{}", hop - 1));
        root.symlink(name.as_bytes(), target.as_bytes(), CLOSE, &free()).await.unwrap();
    }
    let staged = stage(&*root, "l8", b"through").await.unwrap();
    assert_eq!(staged.target().1, b"d/f");
    staged.publish(CLOSE, &free()).await.unwrap();
    assert_eq!(get(&*root, "d/f").await.unwrap(), b"through");
    assert_eq!(root.stat(b"l1", false, &free()).await.unwrap().kind, FileKind::Symlink);
    assert_fails!(stage(&*root, "l9", b"").await, VfsError::LinkLoop);
}

async fn links_share_one_file(storage: &dyn Storage) {
    let root = root_of(storage, "links").await;
    put(&*root, "a", b"shared").await.unwrap();
    root.hard_link(b"a", b"b", CLOSE, &free()).await.unwrap();
    assert_fails!(root.hard_link(b"a", b"b", CLOSE, &free()).await, VfsError::Exists);
    assert_fails!(root.hard_link(b"missing", b"c", CLOSE, &free()).await, VfsError::NotFound);
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    assert_fails!(root.hard_link(b"d", b"c", CLOSE, &free()).await, VfsError::Denied);
    // POSIX: a rename between two links of one inode answers OK and does nothing; nothing is credited.
    let caught = root.rename_over(b"a", b"b", EPOCH, CLOSE, &free()).await.unwrap();
    assert_eq!(settle(caught).await.unwrap(), None);
    assert_eq!(list(&*root, "").await.unwrap(), ["a", "b", "d"]);
    assert_eq!(root.stat(b"a", false, &free()).await.unwrap().links, 2);
    assert_eq!(remove(&*root, "a").await.unwrap(), None);
    assert_eq!(remove(&*root, "b").await.unwrap().unwrap().bytes, 6);
}

async fn real_paths_are_canonical(storage: &dyn Storage) {
    let root = root_of(storage, "real").await;
    root.make_dir(b"d", 0o755, CLOSE, &free()).await.unwrap();
    put(&*root, "d/f", b"x").await.unwrap();
    let mut expected = vec![("", ""), ("d", "d"), ("d/f", "d/f"), ("d/x/y", "d/x/y"), ("x", "x")];
    if storage.capability().symlinks {
        root.symlink(b"l", b"/d", CLOSE, &free()).await.unwrap();
        root.symlink(b"d/t", b"../..", CLOSE, &free()).await.unwrap();
        expected.extend([("l", "d"), ("l/f", "d/f"), ("l/x/y", "d/x/y"), ("l/t", ""), ("l/t/l/f", "d/f")]);
    }
    for (path, real) in expected {
        assert_eq!(root.real_path(path.as_bytes(), &free()).await.unwrap(), real.as_bytes(), "{path}");
    }
}

async fn space_is_told(storage: &dyn Storage) {
    let space = root_of(storage, "space").await.space(&free()).await.unwrap();
    assert!(space.block_size > 0 && space.total_bytes >= space.free_bytes && space.free_bytes >= space.available_bytes);
}

async fn roots_say_whether_they_are_used(storage: &dyn Storage) {
    assert!(!storage.is_root_used("suite/used").await.unwrap());
    let root = root_of(storage, "used").await;
    assert!(!storage.is_root_used("suite/used").await.unwrap());
    put(&*root, "f", b"x").await.unwrap();
    assert!(storage.is_root_used("suite/used").await.unwrap());
}

#[tokio::test]
async fn a_local_storage_conforms() {
    conforms(&*Fixture::new().await.storage).await;
}

#[tokio::test]
async fn a_local_storage_without_rename_flags_conforms() {
    let without = Without { exchange: true, no_replace: true, hard_links: false };
    conforms(&*Fixture::with(LocalOptions { without }).await.storage).await;
}

#[tokio::test]
async fn a_local_storage_without_exchange_conforms() {
    let without = Without { exchange: true, ..Without::default() };
    conforms(&*Fixture::with(LocalOptions { without }).await.storage).await;
}

#[tokio::test]
async fn a_local_storage_without_hard_links_conforms() {
    let without = Without { hard_links: true, ..Without::default() };
    conforms(&*Fixture::with(LocalOptions { without }).await.storage).await;
}
