//! Disks that can be filled: each node's data folder, and the storage, on a file system of its own in memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use rand::rngs::StdRng;

use super::Fleet;
use crate::disk::Lost;
use crate::net::Place;

/// Room of a node's data folder, in MiB; more than a run without the fault needs.
pub(super) const NODE_ROOM: u32 = 384;
/// The same of the storage, which keeps each upload of W10: some 400 MiB in five minutes.
pub(super) const STORAGE_ROOM: u32 = 3_072;
const BALLAST: &str = ".ballast";

/// What is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Node(Place),
    Storage,
}

/// Puts a file system in memory at the folder, with what is in it. Only inside the mount namespace of the run.
pub(super) fn mount(folder: &Path, room: u32) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let script = "set -e\ncopy=$(mktemp -d)\ncp -a \"$1/.\" \"$copy\"\nmount -t tmpfs -o size=\"$2\"m none \"$1\"\n\
                  chmod --reference=\"$copy\" \"$1\"\ncp -a \"$copy/.\" \"$1\"\nrm -r \"$copy\"";
    let output =
        std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(room.to_string()).output()?;
    ensure!(output.status.success(), "mounting {}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A node's data folder on a disk of ours. Unmounted when dropped.
pub(super) struct FaultDisk {
    pub disk: Arc<crate::disk::Disk>,
    _session: fuser::BackgroundSession,
}

impl FaultDisk {
    pub fn over(folder: &Path) -> Result<FaultDisk> {
        let disk = Arc::new(crate::disk::Disk::of(folder)?);
        let session = crate::disk::mount::mount(Arc::clone(&disk), folder);
        let session = session.with_context(|| format!("mounting over {}", folder.display()))?;
        Ok(FaultDisk { disk, _session: session })
    }
}

impl Fleet {
    fn disk(&self, disk: Disk) -> PathBuf {
        match disk {
            Disk::Node(place) => self.folder.join(format!("node{place}/data")),
            Disk::Storage => self.files(),
        }
    }

    /// A disk that can fail has room without end, but while it is full.
    fn can_fail(&self, disk: Disk) -> Option<&crate::disk::Disk> {
        match disk {
            Disk::Node(place) => self.fault_disk(place).ok(),
            Disk::Storage => self.storage.as_ref().map(|found| &*found.disk),
        }
    }

    /// The node's disk, if it is one that can fail.
    pub fn fault_disk(&self, place: Place) -> Result<&crate::disk::Disk> {
        let found = self.disks.get(place - 1).context("this run's nodes have no disks that can fail")?;
        Ok(&found.disk)
    }

    /// The machine loses power: its process ends, and what was not synced is as chance leaves it.
    pub async fn cut_power(&self, place: Place, random: &mut StdRng) -> Result<Lost> {
        self.kill(place).await?;
        Ok(self.fault_disk(place)?.cut_power(random))
    }

    /// The storage loses power, if it is on a disk that can. Nobody may have anything open.
    pub fn cut_storage(&self, random: &mut StdRng) -> Result<Lost> {
        Ok(self.storage.as_ref().context("this run's storage has no power to cut")?.disk.cut_power(random))
    }

    /// Takes all room that is left; how many bytes that was, where there is an end to them.
    pub fn fill(&self, disk: Disk) -> Result<Option<u64>> {
        if let Some(disk) = self.can_fail(disk) {
            disk.be_full(true);
            return Ok(None);
        }
        let room = rustix::fs::statvfs(self.disk(disk))?;
        ensure!(
            room.f_blocks * room.f_frsize <= u64::from(STORAGE_ROOM) << 20,
            "{disk:?} is no small disk of this run"
        );
        let file = self.disk(disk).join(BALLAST);
        let mut ballast = std::fs::File::create(&file).with_context(|| format!("making {}", file.display()))?;
        let mut filled = 0;
        // Ever smaller pieces: others write and remove meanwhile.
        for piece in [1 << 20, 64 << 10, 4 << 10] {
            let zeros = vec![0; piece];
            while ballast.write_all(&zeros).is_ok() {
                filled += piece as u64;
            }
        }
        Ok(Some(filled))
    }

    /// Gives the room back; nothing if it was not taken.
    pub fn empty(&self, disk: Disk) -> Result<()> {
        if let Some(disk) = self.can_fail(disk) {
            disk.be_full(false);
            return Ok(());
        }
        match std::fs::remove_file(self.disk(disk).join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
