//! Client paths, made canonical by their text alone: bytes, relative to the session's root, without `.`, `..` or empty components.

use crate::files::Failure;

const MAX_PATH_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 255;

/// A canonical path under the root: components joined by `/`; empty is the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VPath(Vec<u8>);

impl VPath {
    /// Reads a path as a client sent it. Relative ones start at the root; `..` of the root is the root.
    pub fn parse(sent: &[u8]) -> Result<Self, Failure> {
        Self::parse_from(&VPath(Vec::new()), sent)
    }

    /// Reads a path that is relative to a folder, as a symlink's target is.
    pub fn parse_from(folder: &VPath, sent: &[u8]) -> Result<Self, Failure> {
        if sent.len() > MAX_PATH_BYTES {
            return Err(Failure::Invalid(format!("path is longer than {MAX_PATH_BYTES} bytes")));
        }
        if sent.contains(&0) {
            return Err(Failure::Invalid("path contains NUL".into()));
        }
        let mut parts: Vec<&[u8]> = if sent.starts_with(b"/") { Vec::new() } else { folder.components().collect() };
        for part in sent.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => _ = parts.pop(),
                _ if part.len() > MAX_NAME_BYTES => {
                    return Err(Failure::Invalid(format!("name is longer than {MAX_NAME_BYTES} bytes")));
                }
                _ => parts.push(part),
            }
        }
        let joined = parts.join(&b'/');
        if joined.len() > MAX_PATH_BYTES {
            return Err(Failure::Invalid(format!("path is longer than {MAX_PATH_BYTES} bytes")));
        }
        Ok(VPath(joined))
    }

    /// From a path that the storage made canonical.
    pub(crate) fn from_storage(path: Vec<u8>) -> Self {
        VPath(path)
    }

    pub(crate) fn root() -> Self {
        VPath(Vec::new())
    }

    /// A name in this folder; without a name the folder itself.
    pub(crate) fn join(&self, name: &[u8]) -> VPath {
        match (self.is_root(), name.is_empty()) {
            (true, _) => VPath(name.to_vec()),
            (_, true) => self.clone(),
            _ => VPath([&self.0, &b"/"[..], name].concat()),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The folder that it lies in; the root's is the root.
    pub fn parent(&self) -> VPath {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        VPath(self.0[..end].to_vec())
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// As clients see it: absolute.
    pub fn absolute(&self) -> Vec<u8> {
        [b"/", self.0.as_slice()].concat()
    }

    /// For logs: absolute, at most 256 bytes, readable.
    pub fn shown(&self) -> String {
        let absolute = self.absolute();
        String::from_utf8_lossy(&absolute[..absolute.len().min(256)]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sent: &[u8]) -> String {
        VPath::parse(sent).map_or_else(|error| error.to_string(), |path| path.shown())
    }

    #[test]
    fn paths_are_made_canonical_by_their_text() {
        let table: [(&[u8], &str); 12] = [
            (b"", "/"),
            (b".", "/"),
            (b"/", "/"),
            (b"a//b/", "/a/b"),
            (b"/../../etc", "/etc"),
            (b"a/../../b", "/b"),
            (b"...", "/..."),
            (b"a\\b", "/a\\b"),
            (b"%2e%2e/x", "/%2e%2e/x"),
            (b"/a/./b/../c", "/a/c"),
            (b"-rf", "/-rf"),
            (b"x\ny", "/x\ny"),
        ];
        for (sent, wanted) in table {
            assert_eq!(shown(sent), wanted);
        }
    }

    #[test]
    fn nul_and_absurd_lengths_are_refused() {
        assert_eq!(shown(b"a\0b"), "path contains NUL");
        assert!(VPath::parse(&[b'a'; 255]).is_ok());
        assert!(VPath::parse(&[b'a'; 256]).is_err());
        assert!(VPath::parse(&b"ab/".repeat(1365)).is_ok());
        assert!(VPath::parse(&b"ab/".repeat(1366)).is_err());
    }

    #[test]
    fn names_that_are_not_text_stay_as_they_are() {
        let path = VPath::parse(b"/\xff\xfe/\x80").expect("bytes are names");
        assert_eq!(path.as_bytes(), b"\xff\xfe/\x80");
        assert_eq!(path.name(), b"\x80");
        assert_eq!(path.parent().as_bytes(), b"\xff\xfe");
        assert!(path.parent().parent().is_root());
    }
}
