//! Power cuts of a real ext4: its image is copied while it is mounted, so what the file system has not written yet is lost in the copy.
//! Commits by themselves are put off for minutes, and the copy is taken at a moment of the test's choosing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use flotilla_vfs::{Durability, GuardRef, LocalOptions, Root, Storage, VfsError};
use tempfile::TempDir;

use crate::fixtures::*;
use crate::full_disk::Mount;
use crate::guards::*;

const CLOSE: Durability = Durability::Close;
const NONE: Durability = Durability::None;

struct Disk {
    _mount: Mount,
    folder: TempDir,
    storage: Arc<dyn Storage>,
    root: Arc<dyn Root>,
}

fn run(command: &str, arguments: &[&str]) -> bool {
    let done = Command::new(command).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn mount_image(image: &Path, at: &Path) -> Option<Mount> {
    let arguments = ["-t", "ext4", "-o", "loop,commit=300", image.to_str().unwrap(), at.to_str().unwrap()];
    run("mount", &arguments).then(|| Mount::at(at))
}

impl Disk {
    /// `None` where this process may not mount and that was said to be fine.
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
        std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let is_made = run("mkfs.ext4", &["-q", "-F", "-b", "1024", "-J", "size=4", image.to_str().unwrap()]);
        let mount = if is_made { mount_image(&image, &at) } else { None };
        let Some(mount) = mount else {
            lacks("power cuts need mkfs.ext4, a loop device and root");
            return None;
        };
        let storage = storage_at(&at, LocalOptions::default()).await;
        let root = storage.open_root("home", ACCOUNT).await.unwrap();
        Some(Self { _mount: mount, folder, storage, root })
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// The disk as it is after a power cut now.
    async fn cut(&self) -> After {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.image(), folder.path().join("image")).unwrap();
        After::mount(folder).await
    }

    /// A guard that copies the image before the n-th call.
    fn copying(&self, call: usize) -> (Arc<Interrupt>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (self.image(), folder.path().join("image"));
        let copy = move || {
            std::fs::copy(from, to).unwrap();
        };
        (Interrupt::meanwhile(call, copy), folder)
    }
}

struct After {
    _mount: Mount,
    folder: TempDir,
    storage: Arc<dyn Storage>,
    root: Arc<dyn Root>,
}

impl After {
    async fn mount(folder: TempDir) -> Self {
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mount = mount_image(&folder.path().join("image"), &at).expect("the copy mounts");
        let storage = LocalOptions::default();
        let storage = storage_at(&at, storage).await;
        let root = storage.open_root("home", ACCOUNT).await.unwrap();
        Self { _mount: mount, folder, storage, root }
    }

    async fn content(&self, path: &str) -> Option<Vec<u8>> {
        match get(&*self.root, path).await {
            Ok(data) => Some(data),
            Err(VfsError::NotFound) => None,
            Err(error) => panic!("{path}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives() {
    let Some(disk) = Disk::new().await else { return };
    let root = &*disk.root;
    put(root, "new", b"new").await.unwrap();
    put(root, "over", b"old").await.unwrap();
    settle(stage(root, "over", &[1; 5000]).await.unwrap().publish(CLOSE, &free()).await.unwrap()).await.unwrap();
    root.make_dir(b"a", 0o755, NONE, &free()).await.unwrap();
    root.make_dir(b"a/b", 0o755, NONE, &free()).await.unwrap();
    put(root, "a/b/f", b"deep").await.unwrap();
    let after = disk.cut().await;
    assert_eq!(after.content("new").await.unwrap(), b"new");
    assert_eq!(after.content("over").await.unwrap(), [1; 5000]);
    assert_eq!(after.content("a/b/f").await.unwrap(), b"deep");

    root.make_dir(b"x", 0o755, NONE, &free()).await.unwrap();
    let lock = open(root, "x/lock", EXCLUSIVE).await.unwrap();
    lock.write(0, Bytes::from_static(b"pid"), &free()).await.unwrap();
    lock.sync(&free()).await.unwrap();
    assert_eq!(disk.cut().await.content("x/lock").await.unwrap(), b"pid");

    root.rename(b"a", b"moved", NONE, &free()).await.unwrap();
    put(root, "moved/b/g", b"behind a move").await.unwrap();
    let after = disk.cut().await;
    assert_eq!(after.content("moved/b/g").await.unwrap(), b"behind a move");

    root.rename(b"new", b"moved/renamed", CLOSE, &free()).await.unwrap();
    let after = disk.cut().await;
    assert_eq!((after.content("moved/renamed").await.unwrap(), after.content("new").await), (b"new".to_vec(), None));
    remove(root, "moved/renamed").await.unwrap();
    root.make_dir(b"made", 0o755, CLOSE, &free()).await.unwrap();
    root.symlink(b"link", b"over", CLOSE, &free()).await.unwrap();
    let after = disk.cut().await;
    assert_eq!(after.content("moved/renamed").await, None);
    assert_eq!(after.content("link").await.unwrap(), [1; 5000]);
    assert_eq!(list(&*after.root, "").await.unwrap(), ["link", "made", "moved", "over", "x"]);
    root.remove_dir(b"made", CLOSE, &free()).await.unwrap();
    put(root, "source", b"by posix-rename").await.unwrap();
    settle(root.rename_over(b"source", b"over", EPOCH, CLOSE, &free()).await.unwrap()).await.unwrap();
    let after = disk.cut().await;
    assert_eq!(list(&*after.root, "").await.unwrap(), ["link", "moved", "over", "x"]);
    assert_eq!(after.content("over").await.unwrap(), b"by posix-rename");
}

/// Shows that a copy loses what was not synced: without this the other tests would say nothing.
#[tokio::test]
async fn what_was_not_synced_is_lost_in_the_copy() {
    let Some(disk) = Disk::new().await else { return };
    stage(&*disk.root, "f", b"unsynced").await.unwrap().publish(NONE, &free()).await.unwrap();
    assert_eq!(disk.cut().await.content("f").await, None);
    disk.root.make_dir(b"d", 0o755, NONE, &free()).await.unwrap();
    assert!(list(&*disk.cut().await.root, "").await.unwrap().is_empty());
}

async fn replace(root: &dyn Root, durability: Durability, guard: &GuardRef) {
    let staged = root.stage(b"f", 0o644, EPOCH, guard).await.unwrap();
    staged.write(0, vec![2; 30_000].into(), guard).await.unwrap();
    let caught = staged.publish(durability, guard).await.unwrap();
    caught.unwrap().measure_and_unlink(guard).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cut_at_any_call_of_a_replacing_upload_leaves_the_old_or_the_new_file_whole() {
    let (mut old, mut new) = (0, 0);
    for durability in [CLOSE, NONE] {
        for call in 0.. {
            let Some(disk) = Disk::new().await else { return };
            put(&*disk.root, "f", &[1; 20_000]).await.unwrap();
            let (guard, copy) = disk.copying(call);
            replace(&*disk.root, durability, &as_guard(&guard)).await;
            if !guard.has_acted() {
                break;
            }
            let after = After::mount(copy).await;
            after.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
            match after.content("f").await.expect("there is a file at the name") {
                data if data == [1; 20_000] => old += 1,
                data if data == [2; 30_000] => new += 1,
                data => panic!("{durability:?}, before call {call}: {} bytes of neither", data.len()),
            }
        }
    }
    assert!(old > 5 && new > 1, "{old} {new}");
}

#[tokio::test]
async fn what_was_credited_does_not_come_back() {
    for durability in [CLOSE, NONE] {
        let Some(disk) = Disk::new().await else { return };
        put(&*disk.root, "f", &[1; 20_000]).await.unwrap();
        put(&*disk.root, "g", &[1; 10_000]).await.unwrap();
        let caught = disk.root.remove(b"f", EPOCH, durability, &free()).await.unwrap();
        assert_eq!(settle(Some(caught)).await.unwrap().unwrap().bytes, 20_000);
        let after = disk.cut().await;
        assert_eq!(after.content("f").await, None, "{durability:?}");
        put(&*disk.root, "h", &[3; 50]).await.unwrap();
        let caught = disk.root.rename_over(b"h", b"g", EPOCH, durability, &free()).await.unwrap();
        assert_eq!(settle(caught).await.unwrap().unwrap().bytes, 10_000);
        let after = disk.cut().await;
        assert_eq!((after.content("g").await.unwrap(), after.content("h").await), (vec![3; 50], None));
        after.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
        assert_eq!(after.storage.scan("home", ACCOUNT, &free()).await.unwrap().bytes, 50);
    }
}

#[tokio::test]
async fn a_fence_and_a_scan_outlast_a_cut() {
    let Some(disk) = Disk::new().await else { return };
    put(&*disk.root, "f", &[1; 20_000]).await.unwrap();
    let staged = stage(&*disk.root, "g", &[1; 100]).await.unwrap();
    staged.sync(&free()).await.unwrap();
    // Killed between the capture and its sync: the removal is not durable yet.
    let guard = StopAfter::new(2);
    let stopped = disk.root.remove(b"f", EPOCH, NONE, &as_guard(&guard)).await;
    assert!(matches!(stopped, Err(VfsError::Stopped(_))));
    assert!(get(&*disk.root, "f").await.is_err(), "it was captured");
    disk.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
    let after = disk.cut().await;
    let staging = after.folder.path().join("disk/.flotilla").join(ACCOUNT.to_string());
    assert_eq!(names_in(&staging), Vec::<String>::new(), "the fence is durable");
    drop(after);
    // On ext4 any sync commits everything before it, so the fence's own is enough here; elsewhere it is the scan's `syncfs`.
    let usage = disk.storage.scan("home", ACCOUNT, &free()).await.unwrap();
    let after = disk.cut().await;
    let stored = after.storage.scan("home", ACCOUNT, &free()).await.unwrap();
    assert_eq!((usage.bytes, stored.bytes), (0, 0), "what the scan did not count does not come back");
}
