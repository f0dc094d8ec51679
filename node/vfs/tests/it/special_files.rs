//! Pipes, sockets and devices neither block nor act; other mounts are not entered.

use flotilla_vfs::{Durability, FileKind, SetStat, VfsError};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::assert_fails;
use crate::fixtures::*;

#[tokio::test]
async fn special_files_are_seen_and_removed_but_not_opened() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    mknodat(CWD, fixture.inside("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(fixture.inside("socket")).unwrap();
    let mut names = vec!["pipe", "socket"];
    if rustix::process::geteuid().is_root() {
        mknodat(CWD, fixture.inside("device"), FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 7))
            .unwrap();
        names.push("device");
    } else {
        lacks("making a device needs root");
    }
    for name in names {
        assert_eq!(root.stat(name.as_bytes(), true, &free()).await.unwrap().kind, FileKind::Other);
        assert_fails!(open(root, name, READ).await, VfsError::SpecialFile);
        assert_fails!(open(root, name, WRITE).await, VfsError::SpecialFile);
        let only_write = flotilla_vfs::OpenHow { write: true, ..Default::default() };
        assert_fails!(open(root, name, only_write).await, VfsError::SpecialFile);
        assert_fails!(stage(root, name, b"").await, VfsError::SpecialFile);
        let size = SetStat { size: Some(0), ..SetStat::default() };
        assert_fails!(root.set_stat(name.as_bytes(), size, &free()).await, VfsError::SpecialFile);
        // It was never counted, so it is not credited.
        assert_eq!(remove(root, name).await.unwrap(), None);
    }
    drop(socket);
    assert_eq!(list(root, "").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn another_mount_inside_a_root_is_not_entered() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    root.make_dir(b"m", 0o755, Durability::Close, &free()).await.unwrap();
    let Some(_mount) = crate::full_disk::mount_tmpfs(&fixture.inside("m"), "1m") else { return };
    std::fs::write(fixture.inside("m/f"), "elsewhere").unwrap();
    assert_fails!(get(root, "m/f").await, VfsError::CrossDevice);
    assert_fails!(stage(root, "m/g", b"").await, VfsError::CrossDevice);
    assert_fails!(list(root, "m").await, VfsError::CrossDevice);
    assert_eq!(fixture.storage.scan("home", ACCOUNT, &free()).await.unwrap().files, 0);
    assert_fails!(fixture.storage.open_root("home/m", 9).await, VfsError::StorageRefused(_));
}
