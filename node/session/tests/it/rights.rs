//! Permissions (`reference/sftpgo.md` 2.1): which right each verb needs, on which folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flotilla_model::Permission;
use flotilla_session::*;

use crate::house::*;

use Permission::*;

fn rules(entries: &[(&str, &[Permission])]) -> BTreeMap<String, Vec<Permission>> {
    entries.iter().map(|(folder, rights)| ((*folder).to_owned(), rights.to_vec())).collect()
}

async fn with_rights(entries: &[(&str, &[Permission])]) -> (House, Admitted) {
    let house = House::build().await;
    house.create("demo", |user| user.permissions = rules(entries));
    std::fs::create_dir_all(house.path("demo/open")).unwrap();
    std::fs::create_dir_all(house.path("demo/shut")).unwrap();
    std::fs::write(house.path("demo/open/file"), "o").unwrap();
    std::fs::write(house.path("demo/shut/file"), "s").unwrap();
    let admitted = house.session("demo").await;
    (house, admitted)
}

fn denied<T>(result: Result<T, Failure>, right: &str) -> bool {
    matches!(result, Err(Failure::NotAllowed(missing)) if missing == right)
}

#[tokio::test]
async fn each_verb_needs_its_right() {
    let (_house, admitted) = with_rights(&[("/", &[])]).await;
    let session = admitted.session();
    let attributes = SetStat::default();
    assert!(denied(session.open(b"/open/file", READ, attributes).await, "download"));
    assert!(denied(session.open(b"/open/file", WRITE, attributes).await, "overwrite"));
    assert!(denied(session.open(b"/open/new", WRITE, attributes).await, "upload"));
    let exclusive = OpenFlags { exclusive: true, truncate: false, ..WRITE };
    assert!(denied(session.open(b"/open/new", exclusive, attributes).await, "upload"));
    assert!(denied(session.open_dir(b"/open").await, "list"));
    assert!(denied(session.stat(b"/open/file").await, "list"));
    assert!(denied(session.lstat(b"/open/file").await, "list"));
    assert!(denied(session.read_link(b"/open/file").await, "list"));
    assert!(denied(session.remove(b"/open/file").await, "delete_files"));
    assert!(denied(session.remove_dir(b"/open").await, "delete_dirs"));
    assert!(denied(session.make_dir(b"/new", attributes).await, "create_dirs"));
    assert!(denied(session.rename(b"/open/file", b"/open/x").await, "rename_files"));
    assert!(denied(session.posix_rename(b"/open/file", b"/open/x").await, "rename_files"));
    assert!(denied(session.symlink(b"file", b"/open/link").await, "create_symlinks"));
    assert!(denied(session.space(b"/").await, "list"));
    for (wanted, right) in [
        (SetStat { mode: Some(0o600), ..attributes }, "chmod"),
        (SetStat { owner: Some((1, 1)), ..attributes }, "chown"),
        (SetStat { times: Some((1, 1)), ..attributes }, "chtimes"),
        (SetStat { size: Some(0), ..attributes }, "overwrite"),
    ] {
        assert!(denied(session.set_stat(b"/open/file", wanted).await, right), "{right}");
    }
    assert_eq!(session.real_path(b"/open/../x").await.unwrap(), b"/x", "canonical text needs no right");
}

#[tokio::test]
async fn the_nearest_entry_decides_and_only_it() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/shut", &[List]), ("/shut/deep", &[Upload])]).await;
    std::fs::create_dir(house.path("demo/shut/deep")).unwrap();
    let session = admitted.session();
    put(session, "/open/new", b"x").await.unwrap();
    assert!(denied(put(session, "/shut/new", b"x").await, "upload"));
    assert_eq!(list(session, "/shut").await.unwrap(), ["deep", "file"]);
    put(session, "/shut/deep/new", b"x").await.unwrap();
    assert!(denied(list(session, "/shut/deep").await, "list"));
    assert!(denied(get(session, "/shut/file").await, "download"));
}

#[tokio::test]
async fn delete_and_rename_are_split_by_kind() {
    let (_house, admitted) = with_rights(&[("/", &[List, DeleteFiles, RenameDirs])]).await;
    let session = admitted.session();
    session.remove(b"/open/file").await.unwrap();
    assert!(denied(session.remove_dir(b"/open").await, "delete_dirs"));
    session.rename(b"/open", b"/moved").await.unwrap();
    assert!(denied(session.rename(b"/shut/file", b"/shut/x").await, "rename_files"));
}

#[tokio::test]
async fn rename_needs_the_right_on_both_sides_and_overwrite_to_replace() {
    let (house, admitted) = with_rights(&[("/", &[Rename, List]), ("/shut", &[List])]).await;
    let session = admitted.session();
    assert!(denied(session.rename(b"/open/file", b"/shut/x").await, "rename_files"));
    assert!(denied(session.rename(b"/shut/file", b"/open/x").await, "rename_files"));
    std::fs::write(house.path("demo/open/other"), "x").unwrap();
    assert!(denied(session.posix_rename(b"/open/file", b"/open/other").await, "overwrite"));
    session.rename(b"/open/file", b"/moved").await.unwrap();
}

#[tokio::test]
async fn a_symlink_needs_the_right_where_it_is_made_and_where_it_leads() {
    for (link_side, target_side, allowed) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
    {
        let rights = |held| if held { &[CreateSymlinks, List][..] } else { &[List][..] };
        let entries = [("/", &[List][..]), ("/open", rights(link_side)), ("/shut", rights(target_side))];
        let (_house, admitted) = with_rights(&entries).await;
        let made = admitted.session().symlink(b"../shut/file", b"/open/link").await;
        assert_eq!(made.is_ok(), allowed, "link side {link_side}, target side {target_side}: {made:?}");
        assert!(allowed || denied(made, "create_symlinks"));
    }
}

#[tokio::test]
async fn a_symlink_does_not_carry_rights_from_one_folder_into_another() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/shut", &[List])]).await;
    std::os::unix::fs::symlink("../shut/file", house.path("demo/open/link")).unwrap();
    std::os::unix::fs::symlink("shut", house.path("demo/way")).unwrap();
    let session = admitted.session();
    for path in ["/open/link", "/way/file"] {
        assert!(denied(get(session, path).await, "download"), "{path}");
        assert!(put(session, path, b"x").await.is_err(), "{path}");
    }
    assert!(denied(put(session, "/way/new", b"x").await, "upload"));
    assert!(denied(session.remove(b"/way/file").await, "delete_files"));
    assert!(denied(session.rename(b"/way/file", b"/open/x").await, "rename_files"));
    assert_eq!(house.read("demo/shut/file"), "s");
}

/// An attacker who owns a folder exchanges it with a link into one that is shut, as fast as the kernel does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_symlink_steps_around_no_right() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/shut", &[])]).await;
    let (d, evil, shut) = (house.path("demo/d"), house.path("demo/evil"), house.path("demo/shut"));
    std::fs::create_dir(&d).unwrap();
    std::os::unix::fs::symlink("shut", &evil).unwrap();
    for name in ["file", "victim"] {
        std::fs::write(d.join(name), "mine").unwrap();
        std::fs::write(shut.join(name), "secret").unwrap();
    }
    std::os::unix::fs::symlink("d/file", house.path("demo/through")).unwrap();
    let before = std::fs::metadata(shut.join("file")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let attacker = std::thread::spawn(move || {
        let mut exchanges = 0u64;
        while !stop.load(Ordering::Relaxed) {
            rustix::fs::renameat_with(rustix::fs::CWD, &d, rustix::fs::CWD, &evil, rustix::fs::RenameFlags::EXCHANGE)
                .unwrap();
            exchanges += 1;
        }
        exchanges
    });
    let session = admitted.session();
    let (begun, mut done, mut refused, mut round) = (std::time::Instant::now(), 0u64, 0u64, 0u64);
    let is_short = |done, refused| done <= 50 || refused <= 50;
    while begun.elapsed() < Duration::from_secs(2)
        || (is_short(done, refused) && begun.elapsed() < Duration::from_secs(60))
    {
        for outcome in everything_through_d(session, round).await {
            match outcome {
                Ok(()) => done += 1,
                Err(_) => refused += 1,
            }
        }
        round += 1;
    }
    over.store(true, Ordering::Relaxed);
    let exchanges = attacker.join().unwrap();
    assert!(done > 50 && refused > 50 && exchanges > 500, "the race was no race: {done} {refused} {exchanges}");
    let mut names: Vec<_> =
        std::fs::read_dir(&shut).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["file", "victim"], "nothing was made, moved or removed where nothing may be");
    for name in names {
        assert_eq!(house.read(&format!("demo/shut/{name}")), "secret");
    }
    let after = std::fs::metadata(shut.join("file")).unwrap();
    assert_eq!((after.permissions(), after.modified().unwrap()), (before.permissions(), before.modified().unwrap()));
}

/// Every verb once, with names that also exist in the folder that is shut. Panics when one shows what lies there.
async fn everything_through_d(session: &Session, round: u64) -> Vec<Result<(), Failure>> {
    let attributes = SetStat::default();
    let mut outcomes = Vec::new();
    for path in ["/d/file", "/through"] {
        let read = get(session, path).await;
        assert!(!read.as_ref().is_ok_and(|content| content == b"secret"), "{path} was read");
        outcomes.push(read.map(drop));
    }
    let seen = session.stat(b"/d/file").await;
    assert!(!seen.as_ref().is_ok_and(|stat| stat.size == 6), "a file in the shut folder was shown");
    outcomes.push(seen.map(drop));
    outcomes.push(list(session, "/d").await.map(drop));
    let fresh = format!("/d/new-{round}");
    outcomes.push(put(session, &fresh, b"x").await);
    outcomes.push(put(session, "/d/victim", b"mine").await);
    outcomes.push(put(session, "/through", b"mine").await);
    outcomes.push(session.set_stat(b"/d/file", SetStat { mode: Some(0o600), times: Some((1, 1)), ..attributes }).await);
    outcomes.push(session.set_stat(b"/d/file", SetStat { size: Some(4), ..attributes }).await);
    outcomes.push(session.rename(b"/d/victim", b"/d/moved").await);
    outcomes.push(session.posix_rename(b"/d/moved", b"/d/victim").await);
    outcomes.push(session.posix_rename(fresh.as_bytes(), b"/d/victim").await);
    outcomes.push(session.remove(b"/d/moved").await);
    let folder = format!("/d/folder-{round}");
    outcomes.push(session.make_dir(folder.as_bytes(), attributes).await);
    outcomes.push(session.remove_dir(folder.as_bytes()).await);
    let link = format!("/d/link-{round}");
    outcomes.push(session.symlink(b"nowhere", link.as_bytes()).await);
    outcomes.push(session.remove(link.as_bytes()).await);
    outcomes.push(put(session, "/d/victim", b"mine").await);
    outcomes
}

#[tokio::test]
async fn a_handle_stays_bound_to_the_rights_of_the_folder_where_it_was_opened() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/shut", &[Download, List])]).await;
    std::os::unix::fs::symlink("shut", house.path("demo/way")).unwrap();
    let session = admitted.session();
    let file = session.open(b"/way/file", READ, SetStat::default()).await.unwrap();
    std::fs::remove_file(house.path("demo/way")).unwrap();
    std::fs::rename(house.path("demo/open"), house.path("demo/way")).unwrap();
    let wanted = SetStat { mode: Some(0o600), ..SetStat::default() };
    assert!(denied(file.set_stat(wanted).await, "chmod"), "its path leads elsewhere now, the file is the same");
    file.close().await.unwrap();
}

#[tokio::test]
async fn a_second_handle_on_an_own_upload_has_the_rights_of_the_folder_where_the_upload_is() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/shut", &[Upload, Overwrite])]).await;
    std::os::unix::fs::symlink("shut", house.path("demo/way")).unwrap();
    std::os::unix::fs::symlink("../shut/file", house.path("demo/open/link")).unwrap();
    let session = admitted.session();
    let wanted = SetStat { mode: Some(0o600), times: Some((1, 1)), ..SetStat::default() };
    for (own, again) in [("/way/new", "/way/new"), ("/shut/file", "/open/link")] {
        let first = session.open(own.as_bytes(), WRITE, SetStat::default()).await.unwrap();
        let second = session.open(again.as_bytes(), WRITE, SetStat::default()).await.unwrap();
        assert!(denied(first.set_stat(wanted).await, "chmod"), "{own}");
        assert!(denied(second.set_stat(wanted).await, "chmod"), "{again}");
        assert!(denied(session.stat(again.as_bytes()).await, "list"), "{again}");
        let reading = OpenFlags { read: true, truncate: false, ..WRITE };
        assert!(denied(session.open(again.as_bytes(), reading, SetStat::default()).await, "download"), "{again}");
        second.write(0, b"mine".to_vec().into()).await.unwrap();
        second.close().await.unwrap();
        first.close().await.unwrap();
    }
    assert_eq!((house.read("demo/shut/new"), house.read("demo/shut/file")), ("mine".into(), "mine".into()));
}

#[tokio::test]
async fn a_file_that_came_to_the_name_after_open_is_replaced_only_by_who_may_overwrite() {
    let (house, admitted) = with_rights(&[("/", &[Upload, List])]).await;
    let session = admitted.session();
    let file = session.open(b"/new", WRITE, SetStat::default()).await.unwrap();
    file.write(0, b"late".to_vec().into()).await.unwrap();
    std::fs::write(house.path("demo/new"), "first").unwrap();
    assert!(denied(file.close().await, "overwrite"));
    assert_eq!(house.read("demo/new"), "first");
    assert_eq!(house.staged("demo"), 0);
}

#[tokio::test]
async fn a_folder_is_not_moved_away_from_the_rules_inside_it() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/open/deep", &[List]), ("/to/deep", &[List])]).await;
    std::fs::create_dir(house.path("demo/open/deep")).unwrap();
    std::os::unix::fs::symlink(".", house.path("demo/here")).unwrap();
    let session = admitted.session();
    for (from, to) in [("/open", "/x"), ("/here/open", "/x"), ("/shut", "/to"), ("/shut", "/here/to")] {
        assert!(denied(session.rename(from.as_bytes(), to.as_bytes()).await, "rename_dirs"), "{from} {to}");
        assert!(denied(session.posix_rename(from.as_bytes(), to.as_bytes()).await, "rename_dirs"), "{from} {to}");
    }
    session.rename(b"/shut", b"/x").await.unwrap();
}

/// Whatever is there: what is a file when it is looked at may be a folder when it is moved.
#[tokio::test]
async fn nothing_is_moved_from_or_to_a_name_with_rules_below() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/open/file/deep", &[List]), ("/to/deep", &[List])]).await;
    let session = admitted.session();
    for (from, to) in [("/open/file", "/x"), ("/shut/file", "/to")] {
        assert!(denied(session.rename(from.as_bytes(), to.as_bytes()).await, "rename_files"), "{from} {to}");
        assert!(denied(session.posix_rename(from.as_bytes(), to.as_bytes()).await, "rename_files"), "{from} {to}");
    }
    assert_eq!((house.read("demo/open/file"), house.read("demo/shut/file")), ("o".into(), "s".into()));
}

#[tokio::test]
async fn a_rename_needs_the_right_for_its_kind_also_in_the_folder_that_was_named() {
    let (house, admitted) = with_rights(&[("/", &[Any]), ("/way", &[RenameFiles])]).await;
    std::os::unix::fs::symlink("open", house.path("demo/way")).unwrap();
    std::fs::create_dir(house.path("demo/open/folder")).unwrap();
    let session = admitted.session();
    assert!(denied(session.rename(b"/way/folder", b"/x").await, "rename_dirs"));
    assert!(denied(session.posix_rename(b"/shut", b"/way/x").await, "rename_dirs"));
    session.rename(b"/way/file", b"/x").await.unwrap();
}

/// A link is turned from a folder with a file to one with a folder of the same name, as fast as the kernel does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_symlink_does_not_let_a_folder_be_renamed_as_a_file() {
    for entries in [
        &[("/", &[RenameFiles][..])][..],
        &[("/", &[RenameFiles]), ("/elsewhere", &[])],
        &[("/", &[Rename]), ("/dirs/x/rules", &[])],
    ] {
        let (house, admitted) = with_rights(entries).await;
        let path = |below: &str| house.path(&format!("demo/{below}"));
        std::fs::create_dir_all(path("dirs/x/rules")).unwrap();
        for folder in ["files", "out"] {
            std::fs::create_dir(path(folder)).unwrap();
        }
        std::fs::write(path("files/x"), "mine").unwrap();
        std::os::unix::fs::symlink("files", path("way")).unwrap();
        std::os::unix::fs::symlink("dirs", path("other")).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, way, other) = (Arc::clone(&over), path("way"), path("other"));
        let attacker = std::thread::spawn(move || {
            let cwd = rustix::fs::CWD;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, &way, cwd, &other, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        let session = admitted.session();
        let (begun, mut done, mut refused) = (std::time::Instant::now(), 0u64, 0u64);
        while path("dirs/x/rules").exists()
            && (begun.elapsed() < Duration::from_secs(1)
                || ((done <= 50 || refused <= 50) && begun.elapsed() < Duration::from_secs(60)))
        {
            let renamed = match (done + refused) % 2 {
                0 => session.rename(b"/way/x", b"/out/x").await,
                _ => session.posix_rename(b"/way/x", b"/out/x").await,
            };
            match renamed {
                Ok(()) if path("out/x").is_file() => {
                    std::fs::rename(path("out/x"), path("files/x")).unwrap();
                    done += 1;
                }
                Ok(()) => break,
                Err(_) => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
        attacker.join().unwrap();
        assert!(path("dirs/x/rules").exists(), "a folder was moved, after {done} files and {refused} refusals");
        assert!(done > 50 && refused > 50, "the race was no race: {done} {refused}");
    }
}

#[tokio::test]
async fn the_staging_folder_is_hidden_where_the_root_is_the_storage() {
    let house = House::build().await;
    house.create("demo", |user| {
        user.home = flotilla_model::Root::new(flotilla_model::StorageName::parse("files").unwrap(), "").unwrap();
    });
    let admitted = house.session("demo").await;
    let session = admitted.session();
    put(session, "/f", b"x").await.unwrap();
    assert_eq!(list(session, "/").await.unwrap(), ["f"]);
    for path in ["/.flotilla", "/.FLOTILLA", "/x/../.flotilla"] {
        assert!(session.stat(path.as_bytes()).await.is_err(), "{path}");
        assert!(session.open_dir(path.as_bytes()).await.is_err(), "{path}");
        assert!(put(session, &format!("{path}/evil"), b"x").await.is_err(), "{path}");
    }
    session.symlink(b".flotilla", b"/way").await.ok();
    assert!(session.open_dir(b"/way").await.is_err());
}
