//! P5, closed means stored: content ids per path, in the order in which they were written.

use super::Findings;

/// An upload, or a removal (`content` = `None`), of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Unique in a run; `None`: the path was removed.
    pub content: Option<u64>,
    pub invoked: u64,
    /// `u64::MAX`: not known whether it happened.
    pub returned: u64,
    /// Proof that it had no effect.
    pub failed: bool,
    /// Writes of one exclusive session cannot overlap those of another: an older one that was not acknowledged before a newer
    /// one began must not appear after it.
    pub exclusive: bool,
}

/// What a reader saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub saw: Seen,
    pub invoked: u64,
    pub returned: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// The whole content of one upload.
    Whole(u64),
    /// Anything else, described.
    Broken(String),
}

/// Each read must be explained by a write that may be the last one at some instant of the read.
pub fn check(path: &str, writes: &[Write], reads: &[Read], findings: &mut Findings) {
    findings.checked += (writes.len() + reads.len()) as u64;
    for read in reads {
        match &read.saw {
            Seen::Broken(what) => findings.violated("F-whole", read.invoked, format!("{path}: read {what}")),
            Seen::Whole(content) => {
                let write = writes.iter().find(|write| write.content == Some(*content));
                explain(path, write, Some(*content), writes, read, findings);
            }
            Seen::Absent => absent(path, writes, read, findings),
        }
    }
    orders(path, writes, reads, findings);
}

/// Nothing there: fine as long as some removal, or the beginning, may be the last write.
fn absent(path: &str, writes: &[Write], read: &Read, findings: &mut Findings) {
    let may_be_last = writes.iter().any(|write| write.content.is_none() && covered_by(write, writes, read).is_none());
    let acknowledged = writes.iter().find(|write| !write.failed && write.returned < read.invoked);
    if !may_be_last && let Some(newer) = acknowledged {
        let text = format!("{path}: absent, although {} was acknowledged before and not removed", name(newer));
        findings.violated("F-lost", read.invoked, text);
    }
}

fn explain(
    path: &str,
    write: Option<&Write>,
    content: Option<u64>,
    writes: &[Write],
    read: &Read,
    findings: &mut Findings,
) {
    let shown = content.map_or("nothing".to_owned(), |content| format!("content {content}"));
    let Some(write) = write else {
        return findings.violated("F-phantom", read.invoked, format!("{path}: read {shown}, which nobody wrote"));
    };
    if write.failed {
        findings.violated("F-aborted", read.invoked, format!("{path}: read {shown}, whose upload failed for certain"));
    }
    if write.invoked > read.returned {
        findings.violated("F-future", read.invoked, format!("{path}: read {shown} before it was written"));
    }
    if let Some(newer) = covered_by(write, writes, read) {
        let text =
            format!("{path}: read {shown}, although {} was acknowledged after it and before the read", name(newer));
        findings.violated("F-stale", read.invoked, text);
    }
}

/// A write that certainly came after `write` and was acknowledged before the read began.
fn covered_by<'a>(write: &Write, writes: &'a [Write], read: &Read) -> Option<&'a Write> {
    writes.iter().find(|newer| {
        let after = if write.exclusive && newer.exclusive {
            newer.invoked > write.invoked
        } else {
            write.returned < newer.invoked
        };
        after && !newer.failed && newer.returned < read.invoked
    })
}

fn name(write: &Write) -> String {
    write.content.map_or("a removal".to_owned(), |content| format!("content {content}"))
}

/// Once a newer content has been seen, an older one is not seen again.
fn orders(path: &str, writes: &[Write], reads: &[Read], findings: &mut Findings) {
    let write_of = |read: &Read| match read.saw {
        Seen::Whole(content) => writes.iter().find(|write| write.content == Some(content)),
        _ => None,
    };
    let mut in_order: Vec<(&Read, &Write)> =
        reads.iter().filter_map(|read| write_of(read).map(|write| (read, write))).collect();
    in_order.sort_by_key(|(read, _)| read.invoked);
    for (at, (later, older)) in in_order.iter().enumerate() {
        let newer = in_order[..at].iter().find(|(earlier, newer)| {
            let ordered = if older.exclusive && newer.exclusive {
                older.invoked < newer.invoked
            } else {
                older.returned < newer.invoked
            };
            earlier.returned < later.invoked && ordered
        });
        if let Some((_, newer)) = newer {
            let text = format!("{path}: read {} again after {} had been read", name(older), name(newer));
            findings.violated("F-order", later.invoked, text);
        }
    }
}
