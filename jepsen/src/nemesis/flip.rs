//! Flipped bits in the files of one node while it is down: it must refuse to start, be refused by its peers, or not be harmed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::Nemesis;

/// The excuse of a node that ends because of them.
const FLIPPED: &str = "flipped-bits";
/// A node that refuses its files does so within this time; one that takes them is watched for it.
const SHOWS: Duration = Duration::from_secs(8);

impl Nemesis {
    /// The machine is replaced by a new one whatever it did: it may have met its peers before it ended, so that its bits of before would
    /// set back what it told them; and what is damaged may show at any later time.
    pub(super) async fn flipped_bits(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        let node = self.target().await;
        fleet.kill(node).await?;
        let flipped = flip(&fleet.folder.join(format!("node{node}/data")), &mut self.random)?;
        fleet.begin_excused(node, FLIPPED).await?;
        let began = tokio::time::Instant::now();
        let mut every = tokio::time::interval(Duration::from_millis(50));
        while !fleet.has_ended(node).await && began.elapsed() < SHOWS {
            every.tick().await;
        }
        let mut what = json!({"node": node, "flipped": flipped, "refused": fleet.has_ended(node).await});
        if what["refused"] == true {
            what["said"] = json!(fleet.last_words(node).await);
            what["code"] = json!(fleet.exit_code(node).await);
        } else {
            what["ready"] = json!(fleet.is_ready(node).await);
            what["said"] = json!(fleet.why_not_ready(node).await);
        }
        fleet.kill(node).await?;
        fleet.condemn(node).await?;
        what["new"] = self.replace_machine(node).await?;
        Ok(Some(what))
    }
}

/// Flips one to four bits of one file: mostly of the log, which is the largest, else of any other one.
/// The log's file has been written full of zeros in advance: only bytes that are none say something.
fn flip(data: &Path, random: &mut StdRng) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(data, &mut files)?;
    let size = |file: &&PathBuf| file.metadata().map_or(0, |meta| meta.len());
    let log = if random.random_ratio(3, 5) { files.iter().max_by_key(size) } else { None };
    let file = log.or_else(|| files.choose(random)).context("no file to flip a bit of")?;
    let mut bytes = std::fs::read(file)?;
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut flipped = Vec::new();
    for _ in 0..random.random_range(1..=4) {
        let at = *used.choose(random).with_context(|| format!("{} has no bytes", file.display()))?;
        bytes[at] ^= 1 << random.random_range(0..8);
        flipped.push(format!("{} at {at} of {}", file.strip_prefix(data)?.display(), bytes.len()));
    }
    std::fs::write(file, bytes)?;
    Ok(flipped)
}

/// Files that hold something; keys and certificates are an operator's to look after.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != "identity" {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && std::fs::read(entry.path())?.iter().any(|byte| *byte != 0) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(())
}
