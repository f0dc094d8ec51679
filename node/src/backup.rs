//! Backups of the replicated state: a file format of their own, readable without a cluster.

pub mod file;
pub mod restore;
pub mod seal;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, ensure};
use flotilla_model::State;
use flotilla_model::snapshot::Restore;

use self::file::{FileReader, hex};
use crate::cli::progress::Bar;

/// Reads all of a backup, checks it, and that it is the state that its manifest names.
pub fn read_state(reader: &mut FileReader) -> Result<State> {
    let mut restore = Restore::default();
    let (mut bar, size) = (Bar::new("backup"), reader.size());
    while let Some(chunk) = reader.chunk()? {
        bar.bytes("reading", reader.read(), size);
        restore.chunk(&chunk)?;
    }
    let state = restore.finish()?;
    let manifest = &reader.manifest;
    let cluster_id = state.settings().context("it is of a cluster that was never set up")?.cluster_id.clone();
    ensure!(
        manifest.cluster_id == cluster_id
            && manifest.log_index == state.applied_index()
            && manifest.state_hash == hex(&state.hash()),
        "damaged: its content is not what its manifest names"
    );
    Ok(state)
}
