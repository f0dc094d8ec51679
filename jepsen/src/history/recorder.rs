//! Writes a history while a run goes on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Kind, Record};

/// Shared by all processes of a run. A record's time is taken under the lock, so times never go back.
#[derive(Clone)]
pub struct Recorder {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    file: BufWriter<File>,
    records: Vec<Record>,
    next_process: u64,
    /// The first write that failed: the history is then incomplete and the run's outcome unknown.
    broken: Option<String>,
}

/// An operation that was asked and not answered yet. Dropped without an answer it stays open to the end.
#[must_use = "an operation is closed by ok, fail or info"]
pub struct Open {
    recorder: Recorder,
    f: String,
    process: u64,
    pub invoked_ns: u64,
}

impl Recorder {
    /// Writes into a new file.
    pub fn create(file: &Path) -> Result<Recorder> {
        let file = File::create(file).with_context(|| format!("making the history {}", file.display()))?;
        let inner = Inner { file: BufWriter::new(file), records: Vec::new(), next_process: 0, broken: None };
        Ok(Recorder { began: Instant::now(), inner: Arc::new(Mutex::new(inner)) })
    }

    /// A number for a new client process.
    pub fn process(&self) -> u64 {
        let mut inner = self.lock();
        inner.next_process += 1;
        inner.next_process
    }

    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    pub fn invoke(&self, process: u64, f: &str, value: Value) -> Open {
        let invoked_ns = self.push(Kind::Invoke, f, process, value);
        Open { recorder: self.clone(), f: f.to_owned(), process, invoked_ns }
    }

    /// A record that is no operation of a client: an observation of the cluster or of the storage.
    pub fn observe(&self, f: &str, value: Value) {
        self.push(Kind::Ok, f, 0, value);
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.clone()
    }

    /// Flushes; an error if any record was not written.
    pub fn finish(&self) -> Result<()> {
        let mut inner = self.lock();
        inner.file.flush().context("writing the history")?;
        match inner.broken.clone() {
            Some(error) => anyhow::bail!("the history is incomplete: {error}"),
            None => Ok(()),
        }
    }

    fn push(&self, kind: Kind, f: &str, process: u64, value: Value) -> u64 {
        let mut inner = self.lock();
        let time = self.now_ns();
        let record = Record { index: inner.records.len() as u64, kind, f: f.to_owned(), process, time, value };
        let written = serde_json::to_string(&record)
            .map_err(|error| error.to_string())
            .and_then(|line| writeln!(inner.file, "{line}").map_err(|error| error.to_string()));
        if let Err(error) = written {
            inner.broken.get_or_insert(error);
        }
        inner.records.push(record);
        time
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Returns the record's time, in nanoseconds since the run began.
    pub fn ok(self, value: Value) -> u64 {
        self.recorder.push(Kind::Ok, &self.f, self.process, value)
    }
    pub fn fail(self, why: impl Into<Value>) -> u64 {
        self.recorder.push(Kind::Fail, &self.f, self.process, why.into())
    }
    pub fn info(self, why: impl Into<Value>) -> u64 {
        self.recorder.push(Kind::Info, &self.f, self.process, why.into())
    }
}
