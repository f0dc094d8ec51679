//! Jobs on an open file or directory.

use bytes::Bytes;
use flotilla_session::{Failure, Files, OpenFile, SetStat};

use super::{LISTING_REPLY_BYTES, Outcome, Target};
use crate::{
    codec::reply::{self, DATA_HEAD},
    engine::conflict::Access,
};

#[derive(Debug)]
pub(in crate::engine) enum HandleWork {
    Read { offset: u64, length: usize },
    Write { offset: u64, data: Bytes },
    Stat,
    SetStat(SetStat),
    Sync,
    Space,
    ReadDir,
    Close,
}

impl HandleWork {
    pub fn access(&self, target: &Target) -> Access {
        match self {
            Self::Read { offset, length } => Access::Read(*offset..offset.saturating_add(*length as u64)),
            Self::Write { .. } if matches!(target, Target::File { append: true, .. }) => Access::Append,
            Self::Write { offset, data } => Access::Write(*offset..offset.saturating_add(data.len() as u64)),
            _ => Access::Alone,
        }
    }

    /// Room its reply needs; status and the like need none.
    pub fn reply_bytes(&self) -> usize {
        match self {
            Self::Read { length, .. } => DATA_HEAD + length,
            Self::ReadDir => LISTING_REPLY_BYTES,
            _ => 0,
        }
    }

    /// Whether the request makes sense for what the handle stands for.
    pub fn fits(&self, target: &Target) -> bool {
        match self {
            Self::Close | Self::Stat | Self::SetStat(_) | Self::Space => true,
            Self::ReadDir => matches!(target, Target::Directory(_)),
            Self::Read { .. } | Self::Write { .. } | Self::Sync => matches!(target, Target::File { .. }),
        }
    }

    /// `path`: what the handle was opened by.
    pub async fn run(self, id: u32, files: &dyn Files, target: &Target, path: &[u8]) -> Outcome {
        if let Self::Space = self {
            return Outcome::of(files.space(path).await, |left| reply::space(id, &left));
        }
        match target {
            Target::File { file, .. } => self.run_on_file(id, file.as_ref()).await,
            Target::Directory(listing) => match self {
                Self::Close => Outcome::Closed(Ok(())),
                Self::Stat => Outcome::of(files.stat(path).await, |stat| reply::attributes(id, &stat)),
                Self::SetStat(wanted) => Outcome::of(files.set_stat(path, wanted).await, |()| reply::ok(id)),
                _ => Outcome::of(listing.lock().await.next_reply(id).await, |reply| reply),
            },
        }
    }

    async fn run_on_file(self, id: u32, file: &dyn OpenFile) -> Outcome {
        let done = |()| reply::ok(id);
        match self {
            Self::Read { offset, length } => read(id, file, offset, length).await,
            Self::Write { offset, data } => Outcome::of(file.write(offset, data).await, done),
            Self::Stat => Outcome::of(file.stat().await, |stat| reply::attributes(id, &stat)),
            Self::SetStat(wanted) => Outcome::of(file.set_stat(wanted).await, done),
            Self::Sync => Outcome::of(file.sync().await, done),
            Self::Close => Outcome::Closed(file.close().await),
            Self::Space | Self::ReadDir => Outcome::Failed(Failure::Unsupported("a directory's request on a file")),
        }
    }
}

async fn read(id: u32, file: &dyn OpenFile, offset: u64, length: usize) -> Outcome {
    let result = match read_cached(id, file, offset, length) {
        Some(result) => result,
        None => file.read(offset, length).await.map(|bytes| match bytes.len() {
            0 => reply::end_of_file(id),
            _ => reply::data(id, &bytes[..bytes.len().min(length)]),
        }),
    };
    Outcome::of(result, |reply| reply)
}

/// Reads what is in the page cache straight into the reply. `None` when not all of it is there.
pub(in crate::engine) fn read_cached(
    id: u32,
    file: &dyn OpenFile,
    offset: u64,
    length: usize,
) -> Option<Result<Bytes, Failure>> {
    let mut out = reply::begin_data(id, length);
    loop {
        // Short may mean "the rest is not cached" as well as "the file ends": only an empty read tells the end.
        let have = out.len() - DATA_HEAD;
        if have >= length {
            break;
        }
        match file.read_now(offset + have as u64, length - have, &mut out)? {
            Ok(0) => break,
            Ok(_) => {}
            Err(failure) => return Some(Err(failure)),
        }
    }
    Some(Ok(if out.len() == DATA_HEAD { reply::end_of_file(id) } else { reply::finish_data(out) }))
}
