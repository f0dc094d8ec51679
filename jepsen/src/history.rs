//! Histories: what each client process asked and was told, when, in the order of the controller's own clock.
//!
//! One JSON line per record. `invoke` opens an operation of a process; exactly one of `ok`, `fail`, `info` closes it, or
//! nothing does and it stays open to the end, which means the same as `info`.

mod edn;
mod pair;
mod recorder;

pub use edn::write_edn;
pub use pair::{Operation, pair};
pub use recorder::{Open, Recorder};

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a record says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The client is about to ask.
    Invoke,
    /// The server said that it is done.
    Ok,
    /// Proof that it had no effect and will have none.
    Fail,
    /// Anything else. The operation may take effect at any later time, or never.
    Info,
}

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Dense, from 0.
    pub index: u64,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The operation's name: `W1.update`, `nemesis.kill`.
    pub f: String,
    /// Client processes are numbered; a process has at most one open operation. An `info` retires its process.
    pub process: u64,
    /// Nanoseconds on the controller's monotonic clock since the run began.
    pub time: u64,
    /// At `invoke` what was asked, at `ok` what was answered, at `fail` and `info` the error.
    pub value: Value,
}

/// Reads a file of JSON lines and checks its form: dense indices, times that do not go back.
pub fn read(file: &Path) -> Result<Vec<Record>> {
    let reader = std::io::BufReader::new(
        std::fs::File::open(file).with_context(|| format!("reading the history {}", file.display()))?,
    );
    let mut records: Vec<Record> = Vec::new();
    for (number, line) in (1..).zip(reader.lines()) {
        let line = line?;
        let record: Record =
            serde_json::from_str(&line).with_context(|| format!("{}:{number} is no record", file.display()))?;
        ensure!(record.index == records.len() as u64, "{}:{number}: index {}", file.display(), record.index);
        let before = records.last().map_or(0, |last| last.time);
        ensure!(record.time >= before, "{}:{number}: time goes back", file.display());
        records.push(record);
    }
    Ok(records)
}
