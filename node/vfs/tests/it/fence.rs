//! Fencing: an ended epoch publishes and catches nothing any more, and nobody's directory is lost by it.

use bytes::Bytes;
use flotilla_vfs::{Durability, LocalOptions, VfsError};

use crate::assert_fails;
use crate::fixtures::*;

const CLOSE: Durability = Durability::Close;

#[tokio::test]
async fn a_fence_by_another_node_makes_a_late_publish_fail() {
    let dead = Fixture::new().await;
    let live = storage_at(dead.folder.path(), LocalOptions::default()).await;
    put(&*dead.root, "f", b"good").await.unwrap();
    let over = stage(&*dead.root, "f", b"late").await.unwrap();
    let fresh = stage(&*dead.root, "g", b"late").await.unwrap();
    let caught = dead.root.remove(b"f", EPOCH, CLOSE, &free()).await.unwrap();
    live.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
    live.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
    assert!(!dead.staging_folder(EPOCH).exists());

    assert_fails!(over.publish(CLOSE, &free()).await, VfsError::Fenced);
    assert_fails!(fresh.publish(CLOSE, &free()).await, VfsError::Fenced);
    assert!(!over.is_published() && !fresh.is_published());
    assert_eq!(settle(Some(caught)).await.unwrap(), None);
    assert_fails!(stage(&*dead.root, "h", b"").await, VfsError::Fenced);
    put_other(&dead, "f").await;
    assert_fails!(dead.root.remove(b"f", EPOCH, CLOSE, &free()).await, VfsError::Fenced);
    put_other(&dead, "g").await;
    assert_fails!(dead.root.rename_over(b"g", b"f", EPOCH, CLOSE, &free()).await, VfsError::Fenced);
    assert_eq!(get(&*dead.root, "f").await.unwrap(), b"other");
    over.discard().await.unwrap();
}

async fn put_other(fixture: &Fixture, path: &str) {
    let staged = fixture.root.stage(path.as_bytes(), 0o644, EPOCH + 1, &free()).await.unwrap();
    staged.write(0, Bytes::from_static(b"other"), &free()).await.unwrap();
    settle(staged.publish(CLOSE, &free()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_node_closes_its_own_handles_before_it_fences_them() {
    let fixture = Fixture::new().await;
    let staged = stage(&*fixture.root, "f", b"x").await.unwrap();
    let published = stage(&*fixture.root, "g", b"in place").await.unwrap();
    published.publish(CLOSE, &free()).await.unwrap();
    fixture.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
    assert_fails!(staged.write(0, Bytes::from_static(b"y"), &free()).await, VfsError::Fenced);
    assert_fails!(staged.publish(CLOSE, &free()).await, VfsError::Fenced);
    assert_fails!(staged.retarget(b"h", &free()).await, VfsError::Fenced);
    staged.discard().await.unwrap();
    assert_fails!(stage(&*fixture.root, "f", b"x").await, VfsError::Fenced);
    // What is published is in place, not in the folder.
    published.write(0, Bytes::from_static(b"IN"), &free()).await.unwrap();
    assert_eq!(get(&*fixture.root, "g").await.unwrap(), b"IN place");
}

#[tokio::test]
async fn an_epoch_or_account_that_never_staged_is_fenced_at_once() {
    let fixture = Fixture::new().await;
    fixture.storage.fence(ACCOUNT, 55, &free()).await.unwrap();
    fixture.storage.fence(99, 55, &free()).await.unwrap();
    assert_fails!(fixture.root.stage(b"f", 0o644, 55, &free()).await, VfsError::Fenced);
}

#[tokio::test]
async fn other_epochs_and_accounts_are_not_touched() {
    let fixture = Fixture::new().await;
    let mine = fixture.root.stage(b"f", 0o644, 1, &free()).await.unwrap();
    let other = fixture.storage.open_root("other", 8).await.unwrap();
    let others = other.stage(b"f", 0o644, 2, &free()).await.unwrap();
    fixture.storage.fence(ACCOUNT, 2, &free()).await.unwrap();
    fixture.storage.fence(8, 1, &free()).await.unwrap();
    mine.publish(CLOSE, &free()).await.unwrap();
    others.publish(CLOSE, &free()).await.unwrap();
}

#[tokio::test]
async fn a_directory_in_a_fenced_folder_is_kept_aside() {
    let fixture = Fixture::new().await;
    stage(&*fixture.root, "f", b"x").await.unwrap();
    let stray = fixture.staging_folder(EPOCH).join("stray");
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("thesis"), "years of work").unwrap();
    fixture.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
    assert!(!fixture.staging_folder(EPOCH).exists());
    let kept = fixture.folder.path().join(".flotilla/kept");
    let names = names_in(&kept);
    assert_eq!(names.len(), 1);
    let text = std::fs::read_to_string(kept.join(&names[0]).join("stray/thesis")).unwrap();
    assert_eq!(text, "years of work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_that_race_a_fence_succeed_whole_or_fail_fenced() {
    for round in 0..20u64 {
        let dead = Fixture::new().await;
        let live = storage_at(dead.folder.path(), LocalOptions::default()).await;
        let uploads = futures::future::join_all((0..16).map(|number| {
            let root = dead.root.clone();
            async move {
                let staged = stage(&*root, &format!("f{}", number % 4), &[number; 100]).await.unwrap();
                (number, staged)
            }
        }))
        .await;
        let publishing = uploads.into_iter().map(|(number, staged)| {
            tokio::spawn(async move { (number, staged.publish(CLOSE, &free()).await.map(drop)) })
        });
        let publishing: Vec<_> = publishing.collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        live.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
        let mut acknowledged = Vec::new();
        for done in publishing {
            match done.await.unwrap() {
                (number, Ok(())) => acknowledged.push(number),
                (_, Err(VfsError::Fenced)) => {}
                (_, Err(error)) => panic!("{error:?}"),
            }
        }
        assert!(!dead.staging_folder(EPOCH).exists());
        for name in list(&*dead.root, "").await.unwrap() {
            let content = get(&*dead.root, &name).await.unwrap();
            assert!(content.len() == 100 && content.iter().all(|&byte| byte == content[0]), "whole");
        }
        for name in acknowledged.iter().map(|number| format!("f{}", number % 4)) {
            get(&*dead.root, &name).await.expect("an acknowledged upload left a file at its name");
        }
    }
}

/// A power cut brings back what was unlinked and not synced.
#[tokio::test]
async fn folders_of_ended_epochs_are_swept_with_what_came_back_into_them_and_no_others() {
    let fixture = Fixture::new().await;
    let mut uploads = Vec::new();
    for epoch in [1, 2, 3] {
        uploads.push(fixture.root.stage(b"f", 0o644, epoch, &free()).await.unwrap());
    }
    let account = fixture.staging_folder(1).parent().unwrap().to_owned();
    std::fs::write(account.join("2/c-back"), b"unlinked before").unwrap();
    for other in ["02", "4x", "-5"] {
        std::fs::create_dir(account.join(other)).unwrap();
    }
    std::fs::create_dir(account.join("2/a-folder")).unwrap();
    let sweep = async || fixture.storage.sweep(ACCOUNT, Box::new(|epoch| epoch <= 2), &free()).await.unwrap();
    assert!(sweep().await, "something lay there");
    assert!(!sweep().await, "and is gone");
    let mut left: Vec<_> = std::fs::read_dir(&account).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["-5", "02", "3", "4x"]);
    assert_eq!(fixture.staged_names(3).len(), 1);
    assert!(!fixture.storage.sweep(99, Box::new(|_| true), &free()).await.unwrap());
    assert_fails!(fixture.root.stage(b"g", 0o644, 1, &free()).await, VfsError::Fenced);
}
