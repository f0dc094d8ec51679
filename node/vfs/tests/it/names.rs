//! The table of strange names: each is stored as the bytes it is, or refused; none means another file.

use flotilla_vfs::{Durability, VfsError};

use crate::assert_fails;
use crate::fixtures::*;

async fn round_trip(fixture: &Fixture, name: &[u8]) {
    let root = &*fixture.root;
    let content = [b"content of ", name].concat();
    let staged = root.stage(name, 0o644, EPOCH, &free()).await.unwrap();
    staged.write(0, content.clone().into(), &free()).await.unwrap();
    staged.publish(Durability::None, &free()).await.unwrap();
    let mut dir = root.open_dir(b"", &free()).await.unwrap();
    let names: Vec<_> = dir.next(10, &free()).await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [name], "{name:?}");
    assert_eq!(root.real_path(name, &free()).await.unwrap(), name);
    let file = root.open(name, READ, &free()).await.unwrap();
    assert_eq!(file.read(0, 4096, &free()).await.unwrap(), content);
    root.rename(name, b"plain", Durability::None, &free()).await.unwrap();
    let caught = root.remove(b"plain", EPOCH, Durability::None, &free()).await.unwrap();
    assert_eq!(settle(Some(caught)).await.unwrap().unwrap().bytes, content.len() as u64);
}

#[tokio::test]
async fn names_are_bytes() {
    let fixture = Fixture::new().await;
    let long = [b'x'; 255];
    let names: [&[u8]; 22] = [
        b"...",
        b" ",
        b"a\\b",
        b"a\nb",
        b"\x1b]0;title\x07",
        b"\xff\xfe",
        b"\xc0\xaf",
        "\u{202e}cod.exe".as_bytes(),
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"trailing ",
        b"trailing.",
        b"CON",
        b"-rf",
        b"%2e%2e",
        b"*",
        b"~",
        b"$HOME",
        b".flotilla",
        b"u-0000000000000000-0",
        "\u{200b}".as_bytes(),
        &long,
    ];
    for name in names {
        round_trip(&fixture, name).await;
    }
}

#[tokio::test]
async fn names_that_look_alike_are_different_files() {
    let fixture = Fixture::new().await;
    for (left, right) in [("\u{e9}", "e\u{301}"), ("Name", "name"), ("a", "a ")] {
        put(&*fixture.root, left, b"left").await.unwrap();
        put(&*fixture.root, right, b"right").await.unwrap();
        assert_eq!(get(&*fixture.root, left).await.unwrap(), b"left");
    }
}

#[tokio::test]
async fn what_is_no_canonical_path_is_refused_by_every_operation() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    let close = Durability::Close;
    std::fs::write(fixture.folder.path().join("outside"), "secret").unwrap();
    let bad: [&[u8]; 10] = [
        b"..",
        b".",
        b"../outside",
        b"a//b",
        b"/../../etc",
        b"/etc/passwd",
        b"a/",
        b"x\0y",
        b"a/./b",
        b"a/../../outside",
    ];
    for path in bad {
        assert_fails!(root.stat(path, true, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.stat(path, false, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.open(path, READ, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.open(path, EXCLUSIVE, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.stage(path, 0o644, EPOCH, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.open_dir(path, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.make_dir(path, 0o755, close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.remove_dir(path, close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.remove(path, EPOCH, close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.symlink(path, b"x", close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.read_link(path, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.real_path(path, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.rename(path, b"x", close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.rename_over(path, b"x", EPOCH, close, &free()).await, VfsError::Invalid(_));
        assert_fails!(root.set_stat(path, flotilla_vfs::SetStat::default(), &free()).await, VfsError::Invalid(_));
    }
    put(root, "f", b"x").await.unwrap();
    assert_fails!(root.rename(b"f", b"../f", close, &free()).await, VfsError::Invalid(_));
    assert_fails!(root.rename_over(b"f", b"..", EPOCH, close, &free()).await, VfsError::Invalid(_));
    assert_fails!(root.hard_link(b"f", b"../f", close, &free()).await, VfsError::Invalid(_));
    assert_eq!(names_in(fixture.folder.path()), [".flotilla", "home", "outside"]);
}

#[tokio::test]
async fn lengths_have_their_bounds() {
    let fixture = Fixture::new().await;
    let root = &*fixture.root;
    for length in [256, 4095, 4096, 65_535] {
        assert_fails!(stage(root, &"x".repeat(length), b"").await, VfsError::NameTooLong);
    }
    let deep = vec!["d"; 2048].join("/");
    assert_eq!(deep.len(), 4095);
    assert_fails!(root.stat(deep.as_bytes(), true, &free()).await, VfsError::NotFound);
    assert_eq!(root.real_path(deep.as_bytes(), &free()).await.unwrap(), deep.as_bytes());
    let deeper = vec!["d"; 10_000].join("/");
    assert_fails!(root.stat(deeper.as_bytes(), true, &free()).await, VfsError::NameTooLong);
}
