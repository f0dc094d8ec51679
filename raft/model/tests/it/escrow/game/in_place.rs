//! Files that are renamed, written and shortened in place, and removed while they are open. Each has a step in which it is on the disk
//! and not over yet.

use std::collections::BTreeMap;

use flotilla_model::*;

use super::super::process::*;
use super::Game;
use super::live::Broken;
use crate::world::*;

impl Game {
    pub(super) fn in_place(&mut self, process: &mut Process) {
        // Scans alone are played in five kinds of games, so that what disturbs them in one does not hide another.
        let ways: &[u64] = match self.seed % 5 {
            _ if !self.rules.scans_only => &[0, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 6, 6, 7, 7],
            0 => &[8],
            1 => &[5, 6, 6, 8, 8],
            2 => &[0, 0, 0, 1, 2, 2, 2, 2, 3, 4, 6, 6, 6],
            3 => &[0, 0, 0, 1, 1, 3, 4, 6, 6, 6, 7],
            _ => &[0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 7],
        };
        match ways[self.roll(ways.len() as u64) as usize] {
            0 => self.open_file(process),
            1 => self.close_file(process),
            2 => self.begin_write(process),
            3 => self.land_writes(process),
            4 => self.shorten(process),
            5 => self.rename(process),
            6 => self.end_moves(process),
            7 => self.remove(process),
            _ => {}
        }
    }

    fn open_file(&mut self, process: &mut Process) {
        let Some((inode, size)) = self.any_file() else { return };
        if process.open.len() < 3 {
            process.open.entry(inode).or_insert(OpenFile { charged: size, stale: false });
        }
    }

    fn any_file(&mut self) -> Option<(u64, i64)> {
        let at = self.roll(self.files.len().max(1) as u64) as usize;
        self.files.iter().nth(at).map(|(inode, size)| (*inode, *size))
    }

    fn any_open(&mut self, process: &Process) -> Option<u64> {
        let at = self.roll(process.open.len().max(1) as u64) as usize;
        process.open.keys().nth(at).copied()
    }

    /// The size of a file that is open here, wherever it lies.
    fn size_of<'a>(&'a mut self, process: &'a mut Process, inode: u64) -> Option<&'a mut i64> {
        if let Some(size) = self.files.get_mut(&inode) {
            return Some(size);
        }
        let own = process.held.iter_mut().chain(&mut process.caught).find(|file| file.inode == inode);
        own.map(|file| &mut file.size)
    }

    fn begin_write(&mut self, process: &mut Process) {
        let Some(inode) = self.any_open(process) else { return };
        let Some(size) = self.size_of(process, inode).copied() else { return };
        if process.writing.len() >= 2 {
            return;
        }
        let to = size + 1 + self.roll(4) as i64;
        let file = process.open.get_mut(&inode).unwrap();
        if std::mem::take(&mut file.stale) {
            file.charged = size;
        }
        let more = (to - file.charged).max(0);
        let limits = process.view.user(&name("demo")).unwrap().limits();
        let number = process.next_upload;
        process.next_upload += 1;
        let stage = UploadStage::Running;
        let charge = Upload { number, size: 0, written: 0, chunk: 0, held: BTreeMap::new(), order: None, stage };
        process.uploads.push(charge);
        let at = process.uploads.len() - 1;
        let charged = more == 0 || process.spend(at, limits, Amount::new(more, 0));
        let charge = process.uploads.pop().unwrap();
        if charged {
            let file = process.open.get_mut(&inode).unwrap();
            file.charged = file.charged.max(to);
            process.writing.push(Writing { inode, to, charge, begun_before: process.scan_confirmed });
            self.seen.grown += 1;
        } else {
            process.free(&charge);
        }
    }

    fn land_writes(&mut self, process: &mut Process) {
        let Some(writing) = process.writing.pop() else { return };
        match self.size_of(process, writing.inode) {
            Some(size) => *size = (*size).max(writing.to),
            // Somebody removed it meanwhile: what was charged is stored nowhere.
            None => process.shrunk = true,
        }
        if writing.begun_before < process.scan_confirmed && self.rules.broken != Some(Broken::SilentOldWrite) {
            process.moved = true;
        }
        process.publish(&writing.charge);
    }

    fn shorten(&mut self, process: &mut Process) {
        let Some(inode) = self.any_open(process) else { return };
        let cut = self.roll(8) as i64;
        let Some(size) = self.size_of(process, inode) else { return };
        *size = (*size).min(cut);
        process.shrinking += 1;
        self.seen.shrunk += 1;
    }

    fn rename(&mut self, process: &mut Process) {
        let Some((inode, _)) = self.any_file() else { return };
        self.folders.entry(inode).and_modify(|folder| *folder = 1 - *folder);
        process.moving += 1;
        self.seen.renamed += 1;
    }

    fn end_moves(&mut self, process: &mut Process) {
        let renamed = std::mem::take(&mut process.moving) > 0;
        let shrunk = std::mem::take(&mut process.shrinking) > 0;
        process.moved |= renamed && self.rules.broken != Some(Broken::SilentRename);
        process.shrunk |= shrunk && self.rules.broken != Some(Broken::SilentShrink);
    }

    fn close_file(&mut self, process: &mut Process) {
        let Some(inode) = self.any_open(process) else { return };
        if process.writing.iter().any(|writing| writing.inode == inode) {
            return;
        }
        let file = process.open.remove(&inode).unwrap();
        let Some(at) = process.held.iter().position(|held| held.inode == inode) else { return };
        let held = process.held.swap_remove(at);
        let mut size = held.size.min(held.found);
        // All that it was charged for since it was measured.
        if !file.stale || self.rules.broken == Some(Broken::StaleCredit) {
            size = size.max(file.charged);
        }
        if held.measured >= process.row().scan_committed {
            let measured = held.measured.max(process.view.applied_index());
            process.credits.push(credit_of(inode, size, measured));
        }
    }

    /// Everything in place comes to its end.
    pub(super) fn end_in_place(&mut self, process: &mut Process) {
        while !process.writing.is_empty() {
            self.land_writes(process);
        }
        self.end_moves(process);
        while !process.open.is_empty() {
            self.close_file(process);
        }
    }
}
