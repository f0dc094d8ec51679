//! Memory of password hashing, kept for the next one: 19 MiB that each thread frees stay with that thread's arena in glibc, and a
//! node's blocking threads together then hold a gigabyte (seen after 600 logins).

use std::sync::{Mutex, PoisonError};

use argon2::{Block, Params};

/// Arrays kept: as many computations as a small machine runs at one time.
const KEPT: usize = 4;

static BLOCKS: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// Lends the memory that the parameters ask for. More than the default's 19 MiB is freed afterwards.
pub(crate) fn with_blocks<R>(params: &Params, compute: impl FnOnce(&mut [Block]) -> R) -> R {
    let count = params.block_count();
    let mut blocks = lock().pop().unwrap_or_default();
    if blocks.len() < count {
        blocks.resize(count, Block::new());
    }
    let result = compute(&mut blocks[..count]);
    if blocks.len() <= Params::default().block_count() {
        let mut kept = lock();
        if kept.len() < KEPT {
            kept.push(blocks);
        }
    }
    result
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Vec<Block>>> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}
