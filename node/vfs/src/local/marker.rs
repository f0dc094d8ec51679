//! The marker: a small text file that tells whose storage a folder is. Written once, durably.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::backend::{GuardRef, Marker, NoGuard, VfsError, VfsResult};

use super::ours::{OURS, enter, enter_or_make};
use super::system::{attempt, fact, guarded, identity, stat_of};
use super::{Shared, open_storage_folder, place, refused};

pub(super) const MARKER: &str = "marker";
/// A marker is two short lines; whatever is longer is none.
const MARKER_MAX: usize = 4096;
const TRIES: usize = 16;

/// Looks for the marker anew, by path: an unmounted or swapped share is found out.
pub(super) fn read(shared: &Shared) -> VfsResult<Option<Marker>> {
    let guard = NoGuard::shared();
    require_same_folder(shared, &guard)?;
    let Some(ours) = enter(&guard, &shared.folder, OURS)? else {
        shared.remember_ours(None);
        return Ok(None);
    };
    let Some(text) = read_text(&guard, &ours)? else {
        shared.remember_ours(None);
        return Ok(None);
    };
    shared.remember_ours(Some(Arc::new(ours)));
    parse(&text).map(Some).ok_or_else(|| refused(&shared.path, "its marker is damaged"))
}

fn require_same_folder(shared: &Shared, guard: &GuardRef) -> VfsResult<()> {
    let now = open_storage_folder(&shared.path)?;
    let stat = stat_of(guard, &now)?;
    if identity(&stat) != shared.folder_identity || stat.stx_mnt_id != shared.mount {
        return Err(refused(&shared.path, "another folder or mount is there now than when it was opened"));
    }
    Ok(())
}

fn read_text(guard: &GuardRef, ours: impl AsFd) -> VfsResult<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match attempt(guard, || rustix::fs::openat(&ours, MARKER, flags, Mode::empty()))? {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(fact(errno)),
    };
    let mut text = Vec::with_capacity(MARKER_MAX);
    while text.len() < MARKER_MAX {
        let offset = text.len() as u64;
        let count = guarded(guard, || rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut text), offset))?;
        if count == 0 {
            break;
        }
    }
    Ok(Some(text))
}

/// Writes the marker; `Exists` if there is one.
pub(super) fn write(shared: &Shared, marker: &Marker) -> VfsResult<()> {
    let text = print(marker)?;
    let guard = NoGuard::shared();
    require_same_folder(shared, &guard)?;
    for _ in 0..TRIES {
        let (ours, _) = enter_or_make(&guard, &shared.folder, OURS)?;
        match write_into(shared, &ours, text.as_bytes(), &guard) {
            // A node that probes the new storage removed the empty folder under us.
            Err(VfsError::NotFound) => continue,
            other => other?,
        }
        guarded(&guard, || rustix::fs::fsync(&ours))?;
        guarded(&guard, || rustix::fs::fsync(&shared.folder))?;
        shared.remember_ours(Some(Arc::new(ours)));
        return Ok(());
    }
    Err(VfsError::Io(std::io::Error::other("the folder for the marker vanishes as often as it is made")))
}

fn write_into(shared: &Shared, ours: &OwnedFd, text: &[u8], guard: &GuardRef) -> VfsResult<()> {
    if !shared.capability.no_replace && !shared.capability.hard_links {
        // Not atomic, but exclusive: killed in between it leaves a marker that is refused as damaged.
        return write_draft(guard, ours, MARKER, text);
    }
    let draft = format!("{MARKER}-{:016x}", rand::random::<u64>());
    let (from, to) = ((ours, draft.as_bytes()), (ours, MARKER.as_bytes()));
    let placed =
        write_draft(guard, ours, &draft, text).and_then(|()| place::place_new(guard, &shared.capability, from, to));
    if placed.is_err() {
        let _ = rustix::fs::unlinkat(ours, &draft, AtFlags::empty());
    }
    placed
}

fn write_draft(guard: &GuardRef, ours: &OwnedFd, draft: &str, text: &[u8]) -> VfsResult<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = guarded(guard, || rustix::fs::openat(ours, draft, flags, Mode::RUSR | Mode::WUSR))?;
    let mut done = 0;
    while done < text.len() {
        done += guarded(guard, || rustix::io::pwrite(&file, &text[done..], done as u64))?;
    }
    guarded(guard, || rustix::fs::fsync(&file))
}

fn print(marker: &Marker) -> VfsResult<String> {
    let is_plain = |id: &str| {
        !id.is_empty()
            && id.len() <= 256
            && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if !is_plain(&marker.storage_id) || !is_plain(&marker.cluster_id) {
        return Err(VfsError::Invalid("an id in a marker is 1 to 256 plain characters"));
    }
    Ok(format!("storage_id = \"{}\"\ncluster_id = \"{}\"\n", marker.storage_id, marker.cluster_id))
}

fn parse(text: &[u8]) -> Option<Marker> {
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.strip_prefix(" = \"")?.strip_suffix('"').filter(|id| !id.is_empty()).map(str::to_owned)
    };
    Some(Marker { storage_id: value("storage_id")?, cluster_id: value("cluster_id")? })
}
