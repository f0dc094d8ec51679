//! Which requests may run at the same time: on one handle by what they touch, against paths by name.
//!
//! draft-ietf-secsh-filexfer-02 section 4.1: requests on one file behave as if done in order.

use std::ops::Range;

/// What a request on a handle touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read(Range<u64>),
    Write(Range<u64>),
    /// The end of the file, wherever that is.
    Append,
    /// Everything: CLOSE, FSYNC, FSTAT, FSETSTAT, READDIR.
    Alone,
}

impl Access {
    /// Whether later requests on the file's path can see what it did.
    pub fn is_change(&self) -> bool {
        !matches!(self, Access::Read(_))
    }

    pub fn conflicts(&self, other: &Access) -> bool {
        match (self, other) {
            (Access::Read(_), Access::Read(_)) => false,
            (Access::Read(one) | Access::Write(one), Access::Read(two) | Access::Write(two)) => {
                one.start < two.end && two.start < one.end
            }
            _ => true,
        }
    }
}

/// A client path without `.`, `..` and empty components, for comparing only. Symlinks are not followed, so two names of one file differ.
pub(super) fn canonical(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Whether a change at `inner` matters to an operation on `outer`: the same, or below it.
pub(super) fn is_within(inner: &[u8], outer: &[u8]) -> bool {
    outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_share_and_writes_share_when_they_do_not_overlap() {
        let (read, write) = (|range| Access::Read(range), |range| Access::Write(range));
        assert!(!read(0..10).conflicts(&read(0..10)));
        assert!(!write(0..10).conflicts(&write(10..20)));
        assert!(write(0..11).conflicts(&write(10..20)));
        assert!(!read(0..10).conflicts(&write(10..20)));
        assert!(read(0..11).conflicts(&write(10..20)));
        assert!(Access::Append.conflicts(&Access::Append));
        assert!(Access::Append.conflicts(&read(0..1)));
        assert!(read(0..0).conflicts(&Access::Alone));
    }

    #[test]
    fn paths_compare_by_what_they_mean() {
        assert_eq!(canonical(b"/a//./b/../c/"), b"a/c");
        assert_eq!(canonical(b"../.."), b"");
        assert!(is_within(b"a/b", b"a"));
        assert!(is_within(b"a", b"a"));
        assert!(is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a"));
        assert!(!is_within(b"a", b"a/b"));
    }
}
