//! Ports for a lab: below 32768, where the kernel takes them for outgoing connections, and no other lab's.

use std::fs::{File, OpenOptions};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// An offset for `flotilla dev` is `10,000 + 1,000 block + 10 slot`. A node's SFTP port is 2021 + n, its admin port
/// 7980 + 100 n, its peer port 7982 + 100 n: with five slots and up to seven nodes no two of them meet.
const BLOCKS: u16 = 14;
const SLOTS: u16 = 5;

/// An offset that is this lab's alone for as long as the value lives, also between processes.
pub struct Ports {
    pub offset: u16,
    _lock: File,
}

impl Ports {
    pub fn claim() -> Result<Ports> {
        let folder = std::env::temp_dir().join("flotilla-lab-ports");
        std::fs::create_dir_all(&folder)?;
        for number in 0..BLOCKS * SLOTS {
            let (block, slot) = (number % BLOCKS, number / BLOCKS);
            let offset = 10_000 + 1_000 * block + 10 * slot;
            let path = folder.join(offset.to_string());
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = file.with_context(|| path.display().to_string())?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && all_free(offset) {
                return Ok(Ports { offset, _lock: file });
            }
        }
        bail!("every offset of ports is taken: {} labs run", BLOCKS * SLOTS)
    }
}

/// Whether nobody else took one of the ports of up to seven nodes.
fn all_free(offset: u16) -> bool {
    let of_node = |node: u16| [2021 + node, 7980 + 100 * node, 7982 + 100 * node];
    (1..=7).flat_map(of_node).all(|port| std::net::TcpListener::bind(("127.0.0.1", port + offset)).is_ok())
}
