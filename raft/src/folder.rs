//! The data folder: one process by lock, one cluster and node by file, a start counter that never repeats (`DESIGN.md` 6).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flotilla_model::NodeId;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The layout this program writes. A folder with a higher number is refused.
const DATA_VERSION: u32 = 1;
/// `statfs` magic of NFS: locks and renames there do not promise what leases need.
const NFS_MAGIC: i64 = 0x6969;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("data folder {0} is in use by another process")]
    Locked(PathBuf),
    #[error("data folder {0} lies on NFS: put it on a local file system")]
    OnNfs(PathBuf),
    #[error(
        "data folder belongs to node {found_node} of cluster {found_cluster}, not to node {node} of cluster {cluster}"
    )]
    OtherCluster { found_cluster: String, found_node: u64, cluster: String, node: u64 },
    #[error("data folder has version {0}, newer than this program knows ({DATA_VERSION}): start a newer program on it")]
    NewerVersion(u32),
    #[error("data folder file {0} is damaged: {1}")]
    Damaged(PathBuf, String),
    #[error("data folder {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// Who this store is and which start of it runs. Synced before the node speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Random, made with the folder.
    pub identity: u128,
    /// Counts the starts of processes on this folder.
    pub counter: u64,
    /// Random, made at each start: two starts with one counter differ in it.
    pub nonce: u128,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Owner {
    cluster: String,
    node: u64,
}

/// A locked folder. The lock ends with the value, or the process.
pub struct Folder {
    path: PathBuf,
    start: Start,
    _lock: File,
}

impl Folder {
    /// Locks the folder, checks that it is ours and takes the next start number.
    pub fn open(path: &Path, cluster: &str, node: NodeId) -> Result<Self, FolderError> {
        let io = |error| FolderError::Io(path.to_owned(), error);
        fs::create_dir_all(path).map_err(io)?;
        refuse_nfs(path)?;
        let lock = lock(path)?;
        check_version(path)?;
        check_owner(path, &Owner { cluster: cluster.to_owned(), node: node.0 })?;
        let start = next_start(path)?;
        Ok(Folder { path: path.to_owned(), start, _lock: lock })
    }

    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Where the log engine lives.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn snapshot_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The members of the cluster with their keys.
    pub fn roster_file(&self) -> PathBuf {
        self.path.join("ROSTER")
    }

    /// What is remembered of the peers' stores.
    pub fn peers_file(&self) -> PathBuf {
        self.path.join("PEERS")
    }
}

fn refuse_nfs(path: &Path) -> Result<(), FolderError> {
    let stat = rustix::fs::statfs(path).map_err(|error| FolderError::Io(path.to_owned(), error.into()))?;
    if stat.f_type == NFS_MAGIC { Err(FolderError::OnNfs(path.to_owned())) } else { Ok(()) }
}

fn lock(path: &Path) -> Result<File, FolderError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("LOCK"))
        .map_err(|error| FolderError::Io(path.join("LOCK"), error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Locked(path.to_owned())),
        Err(error) => Err(FolderError::Io(path.join("LOCK"), error.into())),
    }
}

fn check_version(path: &Path) -> Result<(), FolderError> {
    match read_value::<u32>(&path.join("VERSION"))? {
        Some(version) if version > DATA_VERSION => Err(FolderError::NewerVersion(version)),
        Some(_) => Ok(()),
        None => write_value(&path.join("VERSION"), &DATA_VERSION),
    }
}

fn check_owner(path: &Path, owner: &Owner) -> Result<(), FolderError> {
    match read_value::<Owner>(&path.join("CLUSTER"))? {
        Some(found) if found == *owner => Ok(()),
        Some(found) => Err(FolderError::OtherCluster {
            found_cluster: found.cluster,
            found_node: found.node,
            cluster: owner.cluster.clone(),
            node: owner.node,
        }),
        None => write_value(&path.join("CLUSTER"), owner),
    }
}

fn next_start(path: &Path) -> Result<Start, FolderError> {
    let file = path.join("START");
    let start = match read_value::<Start>(&file)? {
        Some(last) => Start { identity: last.identity, counter: last.counter + 1, nonce: random() },
        None if path.join("log").exists() => {
            return Err(FolderError::Damaged(file, "it is missing, but there is a log".to_owned()));
        }
        None => Start { identity: random(), counter: 1, nonce: random() },
    };
    write_value(&file, &start)?;
    Ok(start)
}

/// A random number from the kernel.
pub fn random() -> u128 {
    let mut bytes = [0u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => unreachable!("getrandom of 16 bytes cannot fail otherwise: {error}"),
        }
    }
    u128::from_le_bytes(bytes)
}

/// Small values are postcard behind a CRC32.
pub fn read_value<T: serde::de::DeserializeOwned>(file: &Path) -> Result<Option<T>, FolderError> {
    let damaged = |why: &str| FolderError::Damaged(file.to_owned(), why.to_owned());
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::Io(file.to_owned(), error)),
    };
    let (sum, body) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(damaged("its checksum is wrong"));
    }
    postcard::from_bytes(body).map(Some).map_err(|error| damaged(&error.to_string()))
}

/// Writes a small value so that after a power cut either the old or the new one is there, whole.
pub fn write_value<T: Serialize>(file: &Path, value: &T) -> Result<(), FolderError> {
    let body = postcard::to_stdvec(value).expect("records hold no type that postcard cannot encode");
    let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    replace_file(file, &bytes).map_err(|error| FolderError::Io(file.to_owned(), error))
}

fn replace_file(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut handle = File::create(&temporary)?;
    handle.write_all(bytes)?;
    handle.sync_all()?;
    fs::rename(&temporary, file)?;
    sync_dir(file.parent().unwrap_or(Path::new("/")))
}

pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
