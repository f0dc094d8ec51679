//! Looks at a storage while clients change it: what was certainly there at one instant.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::check::quota::Sample;

/// A file as one walk saw it. Two walks that saw the same inode with the same change time saw the same file all along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    size: u64,
    changed: (i64, i64),
    /// Inode numbers are reused at once.
    born: Option<SystemTime>,
    staged: bool,
}

/// Files by inode.
pub type Walk = BTreeMap<u64, Seen>;

/// Where an account's files lie: the published ones and its staging folders.
pub struct Account {
    pub root: PathBuf,
    pub staging: PathBuf,
}

impl Account {
    /// Finds the staging folder by a file of a size that nothing else has, while its upload is under way.
    pub fn find(storage: &Path, root: PathBuf, size: u64) -> Option<Account> {
        let accounts = std::fs::read_dir(storage.join(".flotilla")).ok()?;
        accounts.flatten().map(|entry| entry.path()).find_map(|staging| {
            let mut found = BTreeMap::new();
            walk(&staging, true, &mut found);
            found.values().any(|seen| seen.size == size).then(|| Account { root: root.clone(), staging })
        })
    }

    /// A lower bound of what was stored at the instant between two walks: files that both saw. A staged file only grows, so its
    /// earlier size counts; one published in place may have shrunk and grown, so it counts only if it did not change.
    pub fn sample(&self, now_ns: impl Fn() -> u64) -> Sample {
        let first = self.walk();
        self.since(&first, now_ns())
    }

    /// What was there at a walk and still is: a lower bound of what was stored at `at_ns`, an instant after that walk.
    pub fn since(&self, first: &Walk, at_ns: u64) -> Sample {
        Account::both(first, &self.walk(), at_ns)
    }

    /// What two walks both saw.
    pub fn both(first: &Walk, second: &Walk, at_ns: u64) -> Sample {
        let mut sample = Sample { at_ns, bytes: 0, files: 0 };
        for (inode, before) in first {
            if let Some(after) = second.get(inode).filter(|after| after.born == before.born) {
                let same = before.changed == after.changed;
                sample.files += 1;
                sample.bytes += if same || before.staged { before.size.min(after.size) } else { 0 };
            }
        }
        sample
    }

    /// Bytes and files, when nothing changes.
    pub fn stored(&self) -> (u64, u64) {
        let files = self.walk();
        (files.values().map(|seen| seen.size).sum(), files.len() as u64)
    }

    pub fn walk(&self) -> Walk {
        let mut found = BTreeMap::new();
        // Staging first: what is published meanwhile is seen twice under one inode, not missed.
        walk(&self.staging, true, &mut found);
        walk(&self.root, false, &mut found);
        found
    }
}

/// Files that vanish during the walk are not there.
fn walk(folder: &Path, staged: bool, found: &mut BTreeMap<u64, Seen>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if meta.is_dir() {
            walk(&entry.path(), staged, found);
        } else {
            let seen = Seen {
                size: meta.size(),
                changed: (meta.ctime(), meta.ctime_nsec()),
                born: meta.created().ok(),
                staged,
            };
            found.entry(meta.ino()).or_insert(seen);
        }
    }
}
