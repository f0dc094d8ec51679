//! A folder in small: names, inodes with links, numbers that are used again at once.

use std::collections::BTreeMap;

/// What the file system can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Two names are exchanged in one step.
    Exchanges,
    /// The old file gets a second link, then it is renamed over.
    Links,
    /// As `Links`; a node that made a link does not see those that another one made since (attribute caches).
    LinksSeenLate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    pub size: i64,
    /// Its inode's number, and when it was born.
    pub inode: u64,
    pub birth: i64,
    /// Links under clients' names.
    pub names: u8,
    /// Links in the staging folders of each node.
    pub staged: [u8; 2],
    /// Those of them that were made beside the name, not moved from it.
    pub linked: [u8; 2],
}

/// Files by a name of their own that is never used again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub files: BTreeMap<u64, File>,
    pub names: BTreeMap<u8, u64>,
    next: u64,
}

impl Disk {
    pub fn stored(&self) -> i64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// A new file in a node's staging folder; it gets the smallest inode number that is free.
    pub fn stage(&mut self, node: usize, size: i64) -> u64 {
        self.next += 1;
        let inode = (1..).find(|inode| self.files.values().all(|file| file.inode != *inode)).expect("a free number");
        let mut staged = [0; 2];
        staged[node] = 1;
        self.files.insert(self.next, File { size, inode, birth: self.next as i64, names: 0, staged, linked: [0; 2] });
        self.next
    }

    pub fn link_name(&mut self, name: u8, file: u64) {
        self.names.insert(name, file);
        self.change(file, |file| file.names += 1);
    }

    pub fn at(&self, name: u8) -> Option<u64> {
        self.names.get(&name).copied()
    }

    /// Takes a name's file into staging.
    pub fn capture(&mut self, node: usize, name: u8) -> Option<u64> {
        let file = self.names.remove(&name)?;
        self.change(file, |file| {
            file.names -= 1;
            file.staged[node] += 1;
        });
        Some(file)
    }

    /// A staged file and a name's change places, or the staged file takes a free name.
    pub fn exchange(&mut self, node: usize, name: u8, file: u64) -> Option<u64> {
        let caught = self.capture(node, name);
        self.names.insert(name, file);
        self.change(file, |file| {
            file.names += 1;
            file.staged[node] -= 1;
        });
        caught
    }

    pub fn link_into_staging(&mut self, node: usize, name: u8) -> Option<u64> {
        let file = self.at(name)?;
        self.change(file, |file| {
            file.staged[node] += 1;
            file.linked[node] += 1;
        });
        Some(file)
    }

    /// A staged file is renamed over a name; whatever was there loses that link.
    pub fn rename_over(&mut self, node: usize, name: u8, file: u64) {
        if let Some(old) = self.names.insert(name, file) {
            self.change(old, |old| old.names -= 1);
        }
        self.change(file, |file| {
            file.names += 1;
            file.staged[node] -= 1;
        });
    }

    pub fn unlink_staged(&mut self, node: usize, file: u64) {
        self.change(file, |file| {
            file.staged[node] -= 1;
            file.linked[node] = file.linked[node].min(file.staged[node]);
        });
    }

    /// The links that a node sees.
    pub fn links(&self, storage: Storage, node: usize, file: u64) -> u8 {
        let Some(file) = self.files.get(&file) else { return 0 };
        let unseen = if storage == Storage::LinksSeenLate { file.linked[1 - node] } else { 0 };
        let others = file.staged[1 - node] - unseen;
        file.names + file.staged[node] + others
    }

    fn change(&mut self, file: u64, change: impl FnOnce(&mut File)) {
        let Some(row) = self.files.get_mut(&file) else { return };
        change(row);
        if row.names == 0 && row.staged == [0; 2] {
            self.files.remove(&file);
        }
    }
}
