//! An operation that is cut before each of its system calls in turn: what was there is whole and visible or the new one is, a fence leaves
//! nothing behind, and the client's repetition succeeds.

use flotilla_vfs::{Durability, GuardRef, LocalOptions, Root, VfsResult, local::Without};

use crate::fixtures::*;
use crate::guards::*;

const OLD: &[u8] = b"the old file, whole";
const NEW: &[u8] = b"the new one";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Upload,
    Remove,
    PosixRename,
}

async fn run(
    operation: Operation,
    root: &dyn Root,
    epoch: u64,
    durability: Durability,
    guard: &GuardRef,
) -> VfsResult<()> {
    let caught = match operation {
        Operation::Upload => {
            let staged = root.stage(b"f", 0o644, epoch, guard).await?;
            staged.write(0, bytes::Bytes::from_static(NEW), guard).await?;
            staged.publish(durability, guard).await?
        }
        Operation::Remove => Some(root.remove(b"f", epoch, durability, guard).await?),
        Operation::PosixRename => root.rename_over(b"source", b"f", epoch, durability, guard).await?,
    };
    match caught {
        Some(caught) => caught.measure_and_unlink(guard).await.map(drop),
        None => Ok(()),
    }
}

async fn prepare(operation: Operation, root: &dyn Root, is_there: bool) {
    if is_there {
        put(root, "f", OLD).await.unwrap();
    }
    if operation == Operation::PosixRename {
        put(root, "source", NEW).await.unwrap();
    }
}

/// Cut at the n-th call, fenced, looked at, repeated. `false` when the operation has fewer calls.
async fn cut_at(calls: usize, operation: Operation, is_there: bool, durability: Durability, without: Without) -> bool {
    let context = format!("{operation:?} there={is_there} {durability:?} {without:?} cut before call {calls}");
    let fixture = Fixture::with(LocalOptions { without }).await;
    let root = &*fixture.root;
    prepare(operation, root, is_there).await;
    let guard = StopAfter::new(calls);
    let result = run(operation, root, 100, durability, &as_guard(&guard)).await;
    assert_eq!(result.is_err(), guard.has_stopped(), "{context}: {result:?}");

    fixture.storage.fence(ACCOUNT, 100, &free()).await.unwrap();
    assert!(!fixture.staging_folder(100).exists(), "{context}");
    let content = get(root, "f").await.ok();
    let source = get(root, "source").await.ok();
    let old = is_there.then(|| OLD.to_vec());
    let new = (operation != Operation::Remove).then(|| NEW.to_vec());
    assert!(content == old || content == new, "{context}: holds {content:?}");
    if operation == Operation::PosixRename {
        assert!(source.as_deref() == Some(NEW) || content.as_deref() == Some(NEW), "{context}: the new file is gone");
    }

    if guard.has_stopped() {
        let is_done = operation != Operation::Upload && content == new && source.is_none();
        if !is_done {
            run(operation, root, 101, durability, &free()).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        assert_eq!(get(root, "f").await.ok(), new, "{context}");
        assert_eq!(get(root, "source").await.ok(), None, "{context}");
    }
    guard.has_stopped()
}

async fn cut_everywhere(operation: Operation, is_there: bool, without: Without) {
    for durability in [Durability::Close, Durability::None] {
        let mut calls = 0;
        while cut_at(calls, operation, is_there, durability, without).await {
            calls += 1;
            assert!(calls < 100);
        }
        assert!(calls > 3, "{operation:?} makes guarded calls");
    }
}

const ALL: Without = Without { exchange: false, no_replace: false, hard_links: false };
const NO_FLAGS: Without = Without { exchange: true, no_replace: true, hard_links: false };

#[tokio::test]
async fn an_upload_that_replaces_is_whole_at_every_cut() {
    cut_everywhere(Operation::Upload, true, ALL).await;
}

#[tokio::test]
async fn a_first_upload_is_whole_or_absent_at_every_cut() {
    cut_everywhere(Operation::Upload, false, ALL).await;
}

#[tokio::test]
async fn a_remove_is_done_or_not_at_every_cut() {
    cut_everywhere(Operation::Remove, true, ALL).await;
}

#[tokio::test]
async fn a_posix_rename_never_loses_the_new_file_at_any_cut() {
    cut_everywhere(Operation::PosixRename, true, ALL).await;
    cut_everywhere(Operation::PosixRename, false, ALL).await;
}

#[tokio::test]
async fn the_same_holds_without_rename_flags() {
    cut_everywhere(Operation::Upload, true, NO_FLAGS).await;
    cut_everywhere(Operation::Upload, false, NO_FLAGS).await;
    cut_everywhere(Operation::Remove, true, NO_FLAGS).await;
    cut_everywhere(Operation::PosixRename, true, NO_FLAGS).await;
}

#[tokio::test]
async fn publishing_a_new_file_makes_no_needless_call() {
    let fixture = Fixture::new().await;
    let staged = stage(&*fixture.root, "f", NEW).await.unwrap();
    let guard = StopAfter::new(usize::MAX);
    staged.publish(Durability::Close, &as_guard(&guard)).await.unwrap();
    // Look at the name, sync the file, rename, sync the folder.
    assert_eq!(guard.asked(), 4);
    let staged = stage(&*fixture.root, "g", NEW).await.unwrap();
    let guard = StopAfter::new(usize::MAX);
    staged.publish(Durability::None, &as_guard(&guard)).await.unwrap();
    assert_eq!(guard.asked(), 2);
}
