//! A node that froze inside each of its system calls in turn, past its check, while another one fenced it and stored a file: the late call
//! does not replace what was acknowledged.

use std::sync::Arc;

use flotilla_vfs::{Durability, LocalOptions, Root, Storage, local::Without};

use crate::fixtures::*;
use crate::guards::*;

const LATE: u64 = 100;
const OTHER: u64 = 101;

/// What the live node does: fences the frozen one, then stores a file and gets its acknowledgement.
fn fence_and_store(storage: Arc<dyn Storage>, root: Arc<dyn Root>) -> impl FnOnce() + Send + 'static {
    move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            storage.fence(ACCOUNT, LATE, &free()).await.unwrap();
            let staged = root.stage(b"f", 0o644, OTHER, &free()).await.unwrap();
            staged.write(0, bytes::Bytes::from_static(b"acknowledged"), &free()).await.unwrap();
            settle(staged.publish(Durability::Close, &free()).await.unwrap()).await.unwrap();
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Late {
    Publish,
    Remove,
}

async fn freeze_at(call: usize, late: Late, is_there: bool, without: Without) -> bool {
    let frozen = Fixture::with(LocalOptions { without }).await;
    let live = storage_at(frozen.folder.path(), LocalOptions { without }).await;
    let live_root = live.open_root("home", ACCOUNT).await.unwrap();
    if is_there {
        put(&*live_root, "f", b"old").await.unwrap();
    }
    let staged = frozen.root.stage(b"f", 0o644, LATE, &free()).await.unwrap();
    staged.write(0, bytes::Bytes::from_static(b"late"), &free()).await.unwrap();
    let guard = Interrupt::frozen(call, fence_and_store(live, live_root.clone()));
    let failed = match late {
        Late::Publish => staged.publish(Durability::Close, &as_guard(&guard)).await.err(),
        Late::Remove => frozen.root.remove(b"f", LATE, Durability::Close, &as_guard(&guard)).await.err(),
    };
    if !guard.has_acted() {
        return false;
    }
    let context = format!("{late:?} there={is_there} {without:?} frozen in call {call}: {failed:?}");
    assert_eq!(get(&*live_root, "f").await.ok().as_deref(), Some(&b"acknowledged"[..]), "{context}");
    // The last call is the sync of the folder: it may succeed.
    staged.discard().await.unwrap();
    live_root.stat(b"f", true, &free()).await.unwrap();
    true
}

#[tokio::test]
async fn a_late_call_replaces_nothing_that_was_acknowledged() {
    let no_flags = Without { exchange: true, no_replace: true, hard_links: false };
    for without in [Without::default(), no_flags] {
        for (late, is_there) in [(Late::Publish, true), (Late::Publish, false), (Late::Remove, true)] {
            let mut call = 0;
            while freeze_at(call, late, is_there, without).await {
                call += 1;
            }
            assert!(call >= 4, "{late:?} makes guarded calls");
        }
    }
}
