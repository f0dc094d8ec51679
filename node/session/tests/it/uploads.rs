//! What a client's files look like while, and after, it writes them (`PROTOCOL.md` 8.2 to 8.4, P5).

use flotilla_session::*;
use flotilla_vfs::FileKind;

use crate::house::*;

#[tokio::test]
async fn a_user_logs_in_uploads_lists_downloads_renames_and_removes() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/hello.txt", b"hello").await.unwrap();
    assert_eq!(house.read("demo/hello.txt"), "hello");
    assert_eq!(get(session, "hello.txt").await.unwrap(), b"hello");
    session.make_dir(b"/sub", SetStat::default()).await.unwrap();
    session.rename(b"/hello.txt", b"/sub/there.txt").await.unwrap();
    assert_eq!(list(session, "/").await.unwrap(), ["sub"]);
    assert_eq!(list(session, "/sub").await.unwrap(), ["there.txt"]);
    session.remove(b"/sub/there.txt").await.unwrap();
    session.remove_dir(b"/sub").await.unwrap();
    assert!(list(session, "/").await.unwrap().is_empty());
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::ZERO);
    assert_eq!(house.staged("demo"), 0);
}

#[tokio::test]
async fn an_upload_cut_before_its_close_leaves_the_old_file_whole_and_nothing_else() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 1 << 20);
    let admitted = house.session("demo").await;
    put(admitted.session(), "/file", b"good old content").await.unwrap();
    let file = admitted.session().open(b"/file", WRITE, SetStat::default()).await.unwrap();
    file.write(0, b"half of the new".to_vec().into()).await.unwrap();
    assert_eq!(house.read("demo/file"), "good old content", "it stays visible meanwhile");
    house.leave(admitted).await;
    assert_eq!(house.read("demo/file"), "good old content");
    assert_eq!(house.staged("demo"), 0);
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(16, 1));
}

#[tokio::test]
async fn an_upload_is_not_listed_before_it_is_closed_but_its_own_session_finds_it() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let other = house.session("demo").await;
    let session = admitted.session();
    let file = session.open(b"/new", WRITE, SetStat::default()).await.unwrap();
    file.write(0, b"12345".to_vec().into()).await.unwrap();
    assert!(list(session, "/").await.unwrap().is_empty());
    assert_eq!(session.stat(b"/new").await.unwrap().size, 5);
    assert_eq!(session.lstat(b"/new").await.unwrap().kind, FileKind::File);
    assert!(matches!(other.session().stat(b"/new").await, Err(Failure::NotFound)));
    let times = SetStat { times: Some((1000, 2000)), ..SetStat::default() };
    session.set_stat(b"/new", times).await.unwrap();
    session.rename(b"/new", b"/renamed").await.unwrap();
    assert!(matches!(session.stat(b"/new").await, Err(Failure::NotFound)));
    file.close().await.unwrap();
    assert_eq!(house.read("demo/renamed"), "12345");
    assert_eq!(session.stat(b"/renamed").await.unwrap().mtime.0, 2000);
    assert_eq!(list(session, "/").await.unwrap(), ["renamed"]);
}

#[tokio::test]
async fn a_second_open_of_an_own_upload_writes_into_the_same_file_and_the_first_close_publishes() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 1 << 20);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    let first = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    first.write(0, b"aaaa".to_vec().into()).await.unwrap();
    let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    let second = session.open(b"/f", flags, SetStat::default()).await.unwrap();
    assert_eq!(&second.read(0, 10).await.unwrap()[..], b"aaaa");
    second.write(2, b"bb".to_vec().into()).await.unwrap();
    first.close().await.unwrap();
    assert_eq!(house.read("demo/f"), "aabb");
    second.write(4, b"cc".to_vec().into()).await.unwrap();
    second.close().await.unwrap();
    assert_eq!(house.read("demo/f"), "aabbcc");
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(6, 1));
}

#[tokio::test]
async fn exclusive_makes_the_file_at_its_name_at_once_and_only_once() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    let flags = OpenFlags { exclusive: true, truncate: false, ..WRITE };
    let lock = session.open(b"/lock", flags, SetStat::default()).await.unwrap();
    assert_eq!(list(session, "/").await.unwrap(), ["lock"]);
    assert!(matches!(session.open(b"/lock", flags, SetStat::default()).await, Err(Failure::Exists)));
    lock.write(0, b"me".to_vec().into()).await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.read("demo/lock"), "me", "cut, it leaves what was written");
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(2, 1));
}

#[tokio::test]
async fn open_without_truncate_writes_an_existing_file_in_place_and_a_missing_one_is_not_found() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 1 << 20);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/f", b"0123456789").await.unwrap();
    let flags = OpenFlags { write: true, ..OpenFlags::default() };
    let file = session.open(b"/f", flags, SetStat::default()).await.unwrap();
    file.write(3, b"xyz".to_vec().into()).await.unwrap();
    assert_eq!(house.read("demo/f"), "012xyz6789", "before its close");
    file.close().await.unwrap();
    let missing = [flags, OpenFlags { truncate: true, ..flags }];
    for flags in missing {
        assert!(matches!(session.open(b"/none", flags, SetStat::default()).await, Err(Failure::NotFound)));
    }
    assert!(matches!(session.open(b"/none", READ, SetStat::default()).await, Err(Failure::NotFound)));
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(10, 1));
}

#[tokio::test]
async fn create_without_truncate_of_a_missing_name_is_an_upload() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let flags = OpenFlags { truncate: false, ..WRITE };
    let file = admitted.session().open(b"/f", flags, SetStat::default()).await.unwrap();
    file.write(0, b"x".to_vec().into()).await.unwrap();
    assert!(!house.path("demo/f").exists());
    file.close().await.unwrap();
    assert_eq!(house.read("demo/f"), "x");
}

#[tokio::test]
async fn appends_go_to_the_end_whatever_their_offset() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 1 << 20);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/log", b"one,").await.unwrap();
    let flags = OpenFlags { write: true, append: true, ..OpenFlags::default() };
    let file = session.open(b"/log", flags, SetStat::default()).await.unwrap();
    file.write(0, b"two,".to_vec().into()).await.unwrap();
    file.write(0, b"three".to_vec().into()).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(house.read("demo/log"), "one,two,three");
    let staged = session.open(b"/new", OpenFlags { append: true, ..WRITE }, SetStat::default()).await.unwrap();
    staged.write(0, b"a".to_vec().into()).await.unwrap();
    staged.write(0, b"b".to_vec().into()).await.unwrap();
    staged.close().await.unwrap();
    assert_eq!(house.read("demo/new"), "ab");
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(15, 2));
}

#[tokio::test]
async fn close_after_a_failed_write_fails_and_nothing_is_stored() {
    let house = House::build().await;
    house.create("demo", |user| user.filters.max_upload_file_size = 10);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/f", b"old").await.unwrap();
    let file = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    file.write(0, b"0123456789".to_vec().into()).await.unwrap();
    let refused = file.write(10, b"x".to_vec().into()).await;
    assert!(matches!(refused, Err(Failure::FileTooLarge { limit: 10 })));
    assert!(matches!(file.write(0, b"y".to_vec().into()).await, Err(Failure::UploadFailed(_))));
    assert!(matches!(file.close().await, Err(Failure::UploadFailed(_))));
    assert_eq!(house.read("demo/f"), "old");
    assert_eq!(house.staged("demo"), 0);
}

#[tokio::test]
async fn removing_an_own_upload_makes_its_close_fail() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    let file = session.open(b"/f", WRITE, SetStat::default()).await.unwrap();
    session.remove(b"/f").await.unwrap();
    assert!(matches!(session.stat(b"/f").await, Err(Failure::NotFound)));
    assert!(matches!(file.close().await, Err(Failure::UploadFailed(_))));
    assert!(!house.path("demo/f").exists());
}

#[tokio::test]
async fn an_upload_through_a_symlink_replaces_the_file_that_it_leads_to() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/target", b"old").await.unwrap();
    session.symlink(b"target", b"/link").await.unwrap();
    put(session, "/link", b"new").await.unwrap();
    assert_eq!(house.read("demo/target"), "new");
    assert_eq!(session.read_link(b"/link").await.unwrap(), b"target");
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(3, 2), "a symlink counts as a file");
}

#[tokio::test]
async fn a_handle_is_closed_once_and_there_are_only_so_many() {
    let house = House::build().await;
    house.create("demo", |_| {});
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/f", b"x").await.unwrap();
    let file = session.open(b"/f", READ, SetStat::default()).await.unwrap();
    file.close().await.unwrap();
    assert!(file.close().await.is_err());
    drop(file);
    let mut files = Vec::new();
    for _ in 0..256 {
        files.push(session.open(b"/f", READ, SetStat::default()).await.unwrap());
    }
    assert!(matches!(session.open(b"/f", READ, SetStat::default()).await, Err(Failure::TooManyHandles)));
    assert!(matches!(session.open_dir(b"/").await, Err(Failure::TooManyHandles)));
    files.pop().unwrap().close().await.unwrap();
    assert!(session.open_dir(b"/").await.is_ok());
}

#[tokio::test]
async fn rename_does_not_replace_and_posix_rename_does() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = 1 << 20);
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/a", b"aaa").await.unwrap();
    put(session, "/b", b"bb").await.unwrap();
    assert!(matches!(session.rename(b"/a", b"/b").await, Err(Failure::Exists)));
    session.posix_rename(b"/a", b"/b").await.unwrap();
    assert_eq!(house.read("demo/b"), "aaa");
    assert!(!house.path("demo/a").exists());
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), flotilla_model::Amount::new(3, 1), "what was replaced is credited");
}

/// As root; another process may not give files away, and stores them all the same.
#[tokio::test]
async fn what_a_session_makes_belongs_to_its_users_uid_and_gid() {
    use std::os::unix::fs::MetadataExt;
    let house = House::build().await;
    house.create("demo", |user| (user.uid, user.gid) = (4242, 4343));
    let admitted = house.session("demo").await;
    let session = admitted.session();
    session.make_dir(b"/folder", SetStat::default()).await.unwrap();
    put(session, "/folder/file", b"x").await.unwrap();
    let own = std::fs::metadata(house.path("")).unwrap();
    let expected = if rustix::process::geteuid().is_root() { (4242, 4343) } else { (own.uid(), own.gid()) };
    for name in ["demo", "demo/folder", "demo/folder/file"] {
        let made = std::fs::metadata(house.path(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), expected, "{name}");
    }
}
