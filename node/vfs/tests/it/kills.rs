//! A process that uploads, removes and renames is killed at random moments: each name holds a whole file, and the fence leaves nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use flotilla_vfs::{Durability, LocalOptions};

use crate::fixtures::*;

const FOLDER: &str = "FLOTILLA_TEST_KILLED_FOLDER";
const CHUNK: usize = 40_000;

/// Not a test of its own: what the killed process does, without end.
#[tokio::test]
async fn the_child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let storage = storage_at(folder.as_ref(), LocalOptions::default()).await;
    let root = storage.open_root("home", ACCOUNT).await.unwrap();
    for round in 0u64.. {
        let byte = (round % 251) as u8;
        let name = format!("f{}", round % 3);
        settle(publish(&*root, &name, byte).await).await.unwrap();
        settle(publish(&*root, "source", byte).await).await.unwrap();
        settle(root.rename_over(b"source", b"f0", EPOCH, Durability::Close, &free()).await.unwrap()).await.unwrap();
        remove(&*root, "f0").await.unwrap();
    }
}

async fn publish(root: &dyn flotilla_vfs::Root, name: &str, byte: u8) -> Option<Box<dyn flotilla_vfs::Caught>> {
    let staged = stage(root, name, &[byte; CHUNK]).await.unwrap();
    staged.write(CHUNK as u64, vec![byte; CHUNK].into(), &free()).await.unwrap();
    staged.publish(Durability::Close, &free()).await.unwrap()
}

#[tokio::test]
async fn a_killed_process_leaves_whole_files_and_nothing_after_its_fence() {
    let fixture = Fixture::new().await;
    let mut seen = 0;
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::the_child_that_is_killed", "--nocapture"])
            .env(FOLDER, fixture.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment of the kill is the test's variable, not a wait for something.
        std::thread::sleep(Duration::from_millis(60 + 7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        fixture.storage.fence(ACCOUNT, EPOCH, &free()).await.unwrap();
        assert!(!fixture.staging_folder(EPOCH).exists());
        for name in list(&*fixture.root, "").await.unwrap() {
            let content = get(&*fixture.root, &name).await.unwrap();
            assert_eq!(content.len(), 2 * CHUNK, "{name} is not whole");
            assert!(content.iter().all(|&byte| byte == content[0]), "{name} is mixed");
            seen += 1;
        }
    }
    assert!(seen > 10, "the children did something: {seen}");
}
