//! P2, quota: what is stored never exceeds it, what is counted is never less than what is stored, and nothing leaks.

use serde::{Deserialize, Serialize};

use super::{Findings, JUDGED_AT_REST};

/// A walk over an account's storage between two instants at which everything in it certainly existed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub at_ns: u64,
    /// Published and staged files that were there at one instant: a lower bound of what was stored then.
    pub bytes: u64,
    pub files: u64,
}

/// The ledger and the storage when nothing was running any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    pub at_ns: u64,
    pub stored_bytes: u64,
    pub stored_files: u64,
    pub used_bytes: u64,
    pub used_files: u64,
    /// What was left of the quota could be uploaded to the last byte, and one byte more was refused.
    pub filled: Option<bool>,
}

/// An upload that was refused for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub at_ns: u64,
    pub size: u64,
    /// The most that may have been used, or held by others, at any instant of the attempt.
    pub possibly_used: u64,
    /// Part of that are uploads of which nobody knows what became.
    pub excused: bool,
    /// After the last fault, when all nodes were ready again.
    pub at_rest: bool,
}

/// A quota; 0 = unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub bytes: u64,
    pub files: u64,
}

/// Q-bytes: no sample exceeds the quota.
pub fn samples(user: &str, quota: Quota, samples: &[Sample], findings: &mut Findings) {
    findings.checked += samples.len() as u64;
    findings.count("samples", samples.len() as u64);
    for sample in samples {
        let bytes = quota.bytes != 0 && sample.bytes > quota.bytes;
        let files = quota.files != 0 && sample.files > quota.files;
        if bytes || files {
            let text = format!(
                "{user}: {} bytes in {} files stored at once, quota {} and {}",
                sample.bytes, sample.files, quota.bytes, quota.files
            );
            findings.violated("Q-bytes", sample.at_ns, text);
        }
        let near = quota.bytes != 0 && sample.bytes * 10 >= quota.bytes * 9;
        findings.count("samples within a tenth of the quota", u64::from(near));
    }
}

/// What is counted as used and what nodes were granted, read while all of a sample was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub sample: Sample,
    pub bytes: u64,
    pub files: u64,
}

/// Q-counted: no instant at which less is counted and granted than is stored.
pub fn counted(user: &str, all: &[Counted], findings: &mut Findings) {
    findings.count("times that the ledger was read beside the storage", all.len() as u64);
    for Counted { sample, bytes, files } in all {
        if *bytes < sample.bytes || *files < sample.files {
            let (stored, of) = (sample.bytes, sample.files);
            let text =
                format!("{user}: {bytes} bytes, {files} files counted or granted, {stored} in {of} files stored");
            findings.violated("Q-counted", sample.at_ns, text);
        }
    }
}

/// Q-ack: at rest the ledger says what is stored, exactly; all of the quota can be had.
pub fn at_rest(user: &str, quota: Quota, rest: &Rest, findings: &mut Findings) {
    findings.checked += 1;
    let counted = (rest.used_bytes, rest.used_files);
    let stored = (rest.stored_bytes, rest.stored_files);
    if counted != stored {
        let rule = if counted.0 < stored.0 || counted.1 < stored.1 { "Q-under" } else { "Q-leak" };
        findings.violated(rule, rest.at_ns, format!("{user}: counted {counted:?} (bytes, files), stored {stored:?}"));
    }
    if (quota.bytes != 0 && stored.0 > quota.bytes) || (quota.files != 0 && stored.1 > quota.files) {
        findings.violated("Q-bytes", rest.at_ns, format!("{user}: {stored:?} stored at rest, quota {quota:?}"));
    }
    match rest.filled {
        Some(true) => findings.count("quotas filled to the last byte", 1),
        Some(false) => {
            findings.violated("Q-live", rest.at_ns, format!("{user}: what is left cannot be had, or more can"))
        }
        None => findings.unknown.push(format!("{user}: nobody tried to fill the quota at the end")),
    }
}

/// Q-refuse: a refusal needs that the upload may not have fitted.
pub fn refusals(user: &str, quota: Quota, refusals: &[Refusal], findings: &mut Findings) {
    findings.count("refusals", refusals.len() as u64);
    for refusal in refusals {
        findings.count("refusals judged", u64::from(!refusal.excused));
        findings.count(JUDGED_AT_REST, u64::from(!refusal.excused && refusal.at_rest));
        if refusal.possibly_used + refusal.size <= quota.bytes {
            let text = format!(
                "{user}: {} bytes refused although at most {} of {} can have been taken",
                refusal.size, refusal.possibly_used, quota.bytes
            );
            findings.violated("Q-refuse", refusal.at_ns, text);
        }
    }
}
