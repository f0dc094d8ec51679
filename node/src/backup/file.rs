//! The backup file: a magic line, the manifest as JSON, the state's chunks, an end that counts and sums them.
//!
//! Frames are `kind, length (u32 LE), bytes`. The manifest is always readable; with a key the other frames are sealed one by one
//! (ChaCha20-Poly1305, the frame's number as nonce, manifest and kind authenticated), so that none can be left out, moved or taken
//! from another file.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::seal::{BackupKey, Sealer};

const MAGIC: &[u8] = b"flotilla-backup 1\n";
const MANIFEST: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = 3;
/// Chunks have at most 1 MiB; a larger length is damage, not a reason to reserve memory.
const LARGEST_FRAME: u32 = 4 << 20;

/// What a backup is of. Readable without a key. A field that is not known is damage: another version has another magic line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub cluster_id: String,
    /// The state is that after this log index.
    pub log_index: u64,
    /// Hexadecimal, of the state at that index.
    pub state_hash: String,
    /// Milliseconds since 1970.
    pub saved_at: u64,
    /// Of the node that made the cut.
    pub version: String,
    pub users: u64,
    /// Names of the secrets in it. They are sealed with the cluster key, which is no part of a backup.
    pub secrets: Vec<String>,
    /// Hexadecimal; present: the rest is encrypted, under a key derived from the backup key and this.
    pub salt: Option<String>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct End {
    chunks: u64,
    bytes: u64,
    /// Hexadecimal SHA-256 of the chunks, one behind the other.
    sha256: String,
}

/// Writes a backup, chunk by chunk.
pub struct Writer<W: Write> {
    out: W,
    sealer: Option<Sealer>,
    sum: Sha256,
    chunks: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Sets the manifest's salt if there is a key.
    pub fn new(out: W, mut manifest: Manifest, key: Option<&BackupKey>) -> Result<Self> {
        let mut out = out;
        manifest.salt = key.map(|_| super::seal::new_salt());
        let json = serde_json::to_vec(&manifest)?;
        out.write_all(MAGIC)?;
        write_frame(&mut out, MANIFEST, &json)?;
        let sealer =
            key.map(|key| Sealer::new(key, manifest.salt.as_deref().unwrap_or_default(), &json)).transpose()?;
        Ok(Writer { out, sealer, sum: Sha256::new(), chunks: 0, bytes: 0 })
    }

    pub fn chunk(&mut self, chunk: &[u8]) -> Result<()> {
        self.sum.update(chunk);
        (self.chunks, self.bytes) = (self.chunks + 1, self.bytes + chunk.len() as u64);
        self.frame(CHUNK, chunk.to_vec())
    }

    /// Without it the file is refused as cut off. Returns chunks and bytes.
    pub fn finish(mut self) -> Result<(W, u64, u64)> {
        let end = End { chunks: self.chunks, bytes: self.bytes, sha256: hex(&self.sum.clone().finalize()) };
        self.frame(END, serde_json::to_vec(&end)?)?;
        self.out.flush()?;
        Ok((self.out, self.chunks, self.bytes))
    }

    fn frame(&mut self, kind: u8, mut bytes: Vec<u8>) -> Result<()> {
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(kind, &mut bytes)?;
        }
        write_frame(&mut self.out, kind, &bytes)
    }
}

/// Opens a new file that only its owner reads; refuses one that exists.
pub fn create(file: &Path) -> Result<BufWriter<std::fs::File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    Ok(BufWriter::with_capacity(1 << 20, opened.with_context(|| format!("making {}", file.display()))?))
}

/// Reads a backup and checks all of it as it goes.
pub struct Reader<R: Read> {
    input: R,
    pub manifest: Manifest,
    sealer: Option<Sealer>,
    sum: Sha256,
    chunks: u64,
    bytes: u64,
}

pub type FileReader = Reader<BufReader<std::fs::File>>;

pub fn open(file: &Path, key: Option<&BackupKey>) -> Result<FileReader> {
    let opened = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    Reader::new(BufReader::with_capacity(1 << 20, opened), key).with_context(|| file.display().to_string())
}

impl FileReader {
    /// Bytes of the file; 0 where nobody knows.
    pub fn size(&self) -> u64 {
        self.input.get_ref().metadata().map_or(0, |about| about.len())
    }
}

impl<R: Read> Reader<R> {
    /// Bytes of content that were read.
    pub fn read(&self) -> u64 {
        self.bytes
    }

    /// Reads the manifest; an encrypted backup without a key can only tell that.
    pub fn new(mut input: R, key: Option<&BackupKey>) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let read = input.read_exact(&mut magic);
        ensure!(read.is_ok() && magic == MAGIC, "not a Flotilla backup, or one of a newer program");
        let (kind, json) = read_frame(&mut input)?;
        ensure!(kind == MANIFEST, "damaged: the manifest does not come first");
        let manifest: Manifest = serde_json::from_slice(&json).context("damaged: the manifest cannot be read")?;
        let sealer = match (&manifest.salt, key) {
            (Some(salt), Some(key)) => Some(Sealer::new(key, salt, &json)?),
            (None, Some(_)) => bail!(
                "it is not encrypted, so nothing shows that it was made with the key in --key-file: \
                 was it exchanged? If it is the right one, leave out --key-file"
            ),
            (_, None) => None,
        };
        Ok(Reader { input, manifest, sealer, sum: Sha256::new(), chunks: 0, bytes: 0 })
    }

    /// Whether the content can be read with what was given.
    pub fn is_readable(&self) -> bool {
        self.manifest.salt.is_none() || self.sealer.is_some()
    }

    /// The next chunk; `None` after the end, when counts and sum were right and nothing follows.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        ensure!(self.is_readable(), "it is encrypted: give its key with --key-file");
        let (kind, mut bytes) = read_frame(&mut self.input)?;
        if let Some(sealer) = &mut self.sealer {
            sealer.open(kind, &mut bytes)?;
        }
        match kind {
            CHUNK => {
                self.sum.update(&bytes);
                (self.chunks, self.bytes) = (self.chunks + 1, self.bytes + bytes.len() as u64);
                Ok(Some(bytes))
            }
            END => {
                let end: End = serde_json::from_slice(&bytes).context("damaged: the end cannot be read")?;
                let found = End { chunks: self.chunks, bytes: self.bytes, sha256: hex(&self.sum.clone().finalize()) };
                ensure!(end == found, "damaged: the checksum over its content is wrong");
                ensure!(self.input.read(&mut [0])? == 0, "damaged: something follows its end");
                Ok(None)
            }
            _ => bail!("damaged: a frame of kind {kind}"),
        }
    }
}

fn write_frame(out: &mut impl Write, kind: u8, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LARGEST_FRAME);
    out.write_all(&[kind])?;
    out.write_all(&length.context("a chunk is too large")?.to_le_bytes())?;
    Ok(out.write_all(bytes)?)
}

fn read_frame(input: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    input.read_exact(&mut head).context("damaged: it is cut off")?;
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length);
    ensure!(length <= LARGEST_FRAME, "damaged: a frame of {length} bytes");
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes).context("damaged: it is cut off")?;
    Ok((kind, bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
