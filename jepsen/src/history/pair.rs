//! Operations out of records: each invocation with its answer.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{Kind, Record};

/// An operation with its answer, if there was one.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Index of the `invoke` record.
    pub index: u64,
    pub f: String,
    pub process: u64,
    pub asked: Value,
    /// Nanoseconds since the run began.
    pub invoked: u64,
    /// `Kind::Info` for an operation that was never answered.
    pub outcome: Kind,
    /// When the answer came; `u64::MAX` for `info`: the effect may still be to come.
    pub returned: u64,
    /// When the client gave up or was answered, whatever the outcome; `u64::MAX` if it never was.
    pub answered: u64,
    pub answer: Value,
}

impl Operation {
    pub fn is_ok(&self) -> bool {
        self.outcome == Kind::Ok
    }

    /// The process that logged in: a session that asks ahead has further processes, one for each question under way, which name it.
    pub fn session(&self) -> u64 {
        self.asked["session"].as_u64().unwrap_or(self.process)
    }
}

/// Pairs invocations with answers, in the order of invocation. Observations (process 0) are left out.
///
/// Fails where a history could not have been made by processes that do one thing at a time.
pub fn pair(records: &[Record]) -> Result<Vec<Operation>> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for record in records.iter().filter(|record| record.process != 0) {
        if record.kind == Kind::Invoke {
            let before = open.insert(record.process, operations.len());
            ensure!(before.is_none(), "record {}: process {} asks twice", record.index, record.process);
            operations.push(Operation {
                index: record.index,
                f: record.f.clone(),
                process: record.process,
                asked: record.value.clone(),
                invoked: record.time,
                outcome: Kind::Info,
                returned: u64::MAX,
                answered: u64::MAX,
                answer: Value::Null,
            });
            continue;
        }
        let Some(at) = open.remove(&record.process) else {
            bail!("record {}: process {} is answered without asking", record.index, record.process);
        };
        let operation = &mut operations[at];
        ensure!(operation.f == record.f, "record {}: {} answers {}", record.index, record.f, operation.f);
        operation.outcome = record.kind;
        operation.answer = record.value.clone();
        operation.answered = record.time;
        if record.kind != Kind::Info {
            operation.returned = record.time;
        }
    }
    Ok(operations)
}
