//! Two nodes on one folder that upload to, remove and rename one name at once: nothing acknowledged is lost, and what is credited is what
//! is gone.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_vfs::{
    Caught, CreditClaim, Durability, InodeName, LocalOptions, NoGuard, Root, VfsError, VfsResult, local::Without,
};
use tempfile::TempDir;

use crate::fixtures::{ACCOUNT, free, get, list, storage_at};

const ROUNDS: u64 = 60;

/// What a node charged, was credited for, and had acknowledged.
#[derive(Default)]
struct Ledger {
    charged: u64,
    files: u64,
    claims: Vec<CreditClaim>,
    uploads: Vec<InodeName>,
}

impl Ledger {
    async fn settle(&mut self, caught: Option<Box<dyn Caught>>) {
        if let Some(caught) = caught {
            self.claims.extend(caught.measure_and_unlink(&free()).await.unwrap());
        }
    }

    async fn upload(&mut self, root: &dyn Root, name: &str, epoch: u64, size: u64) -> VfsResult<()> {
        let guard = NoGuard::shared();
        let staged = root.stage(name.as_bytes(), 0o644, epoch, &guard).await?;
        staged.write(0, Bytes::from(vec![b'x'; size as usize]), &guard).await?;
        (self.charged, self.files) = (self.charged + size, self.files + 1);
        let inode = staged.stat(&guard).await?.inode;
        let caught = staged.publish(Durability::None, &guard).await?;
        self.uploads.push(inode);
        self.settle(caught).await;
        Ok(())
    }

    async fn remove(&mut self, root: &dyn Root, name: &str, epoch: u64) {
        match root.remove(name.as_bytes(), epoch, Durability::None, &free()).await {
            Ok(caught) => self.settle(Some(caught)).await,
            Err(VfsError::NotFound) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn rename_over(&mut self, root: &dyn Root, from: &str, to: &str, epoch: u64) {
        match root.rename_over(from.as_bytes(), to.as_bytes(), epoch, Durability::None, &free()).await {
            Ok(caught) => self.settle(caught).await,
            Err(VfsError::NotFound) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[derive(Clone, Copy)]
struct Mix {
    removes: bool,
    renames: bool,
}

/// One session of a node; each size occurs once, so that sums tell.
async fn session(root: Arc<dyn Root>, epoch: u64, number: u64, mix: Mix) -> Ledger {
    let mut ledger = Ledger::default();
    for round in 0..ROUNDS {
        let size = 1 + number * ROUNDS + round;
        match round % 4 {
            1 if mix.removes => ledger.remove(&*root, "f", epoch).await,
            2 if mix.renames => {
                ledger.upload(&*root, "g", epoch, size).await.unwrap();
                ledger.rename_over(&*root, "g", "f", epoch).await;
            }
            _ => ledger.upload(&*root, "f", epoch, size).await.unwrap(),
        }
    }
    ledger
}

struct Outcome {
    ledger: Ledger,
    stored: u64,
    files: u64,
    left: HashSet<InodeName>,
}

/// Two nodes with two sessions each.
async fn race(without: Without, mix: Mix) -> Outcome {
    let folder = TempDir::new().unwrap();
    let mut sessions = Vec::new();
    for node in 0..2 {
        let storage = storage_at(folder.path(), LocalOptions { without }).await;
        let root = storage.open_root("home", ACCOUNT).await.unwrap();
        for number in 0..2 {
            sessions.push(tokio::spawn(session(root.clone(), 10 + node, node * 2 + number, mix)));
        }
    }
    let mut all = Ledger::default();
    for done in sessions {
        let ledger = done.await.unwrap();
        all.charged += ledger.charged;
        all.files += ledger.files;
        all.claims.extend(ledger.claims);
        all.uploads.extend(ledger.uploads);
    }
    let storage = storage_at(folder.path(), LocalOptions { without }).await;
    let root = storage.open_root("home", ACCOUNT).await.unwrap();
    let usage = storage.scan("home", ACCOUNT, &free()).await.unwrap();
    let mut left = HashSet::new();
    for name in list(&*root, "").await.unwrap() {
        left.insert(root.stat(name.as_bytes(), false, &free()).await.unwrap().inode);
        assert!(get(&*root, &name).await.unwrap().iter().all(|&byte| byte == b'x'), "whole");
    }
    Outcome { ledger: all, stored: usage.bytes, files: usage.files, left }
}

impl Outcome {
    fn used(&self) -> (u64, u64) {
        let credited: u64 = self.ledger.claims.iter().map(|claim| claim.bytes).sum();
        let files: u64 = self.ledger.claims.iter().map(|claim| claim.files).sum();
        (self.ledger.charged - credited, self.ledger.files - files)
    }

    fn assert_each_claim_is_of_another_file(&self) {
        let distinct: HashSet<_> = self.ledger.claims.iter().map(|claim| claim.inode).collect();
        assert_eq!(distinct.len(), self.ledger.claims.len(), "a file was credited twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_and_removes_of_one_name_on_two_nodes_are_counted_exactly() {
    for removes in [false, true] {
        let outcome = race(Without::default(), Mix { removes, renames: false }).await;
        outcome.assert_each_claim_is_of_another_file();
        assert_eq!(outcome.used(), (outcome.stored, outcome.files));
        let credited: HashSet<_> = outcome.ledger.claims.iter().map(|claim| claim.inode).collect();
        for upload in &outcome.ledger.uploads {
            assert!(credited.contains(upload) || outcome.left.contains(upload), "an acknowledged upload was lost");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_posix_renames_in_between_nothing_is_counted_short() {
    let outcome = race(Without::default(), Mix { removes: true, renames: true }).await;
    outcome.assert_each_claim_is_of_another_file();
    let (bytes, files) = outcome.used();
    assert!(bytes >= outcome.stored && files >= outcome.files, "{bytes} {files} < stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_rename_flags_nothing_is_counted_short() {
    let without = Without { exchange: true, no_replace: true, hard_links: false };
    let outcome = race(without, Mix { removes: true, renames: true }).await;
    outcome.assert_each_claim_is_of_another_file();
    let (bytes, files) = outcome.used();
    assert!(bytes >= outcome.stored && files >= outcome.files, "{bytes} {files} < stored");
}
