//! From a packet to an answer on the spot or a job.

use flotilla_session::Failure;
use flotilla_vfs::VfsError;

use super::{
    CloseReason, Engine, InlineOut,
    handles::Handle,
    inline::Inline,
    schedule::Payload,
    shared::{Next, State},
    work::{HandleWork, PathWork, Target, read_cached},
};
use crate::{
    codec::{
        Extended, Frame, MAX_TRANSFER, Malformed, Request,
        numbers::code,
        parse,
        reply::{self, DATA_HEAD},
    },
    status,
};

/// `PATH_MAX`: no storage takes longer ones.
const MAX_PATH: usize = 4096;
/// Files cannot reach beyond `off_t`.
const MAX_OFFSET: u64 = i64::MAX as u64;

type Taken = Result<(), CloseReason>;

impl Engine {
    pub(super) async fn take(&mut self, mut bytes: &[u8], out: &mut dyn InlineOut) -> Taken {
        let mut inline = Inline::new(out, self.shared.config.inline_bytes);
        loop {
            self.shared.check_outstanding()?;
            let frame = self.assembler.next(&mut bytes).map_err(|error| CloseReason::Protocol(error.to_string()))?;
            match frame {
                Some(frame) => self.packet(&frame, &mut inline).await?,
                None => return Ok(()),
            }
        }
    }

    async fn packet(&mut self, frame: &Frame<'_>, inline: &mut Inline<'_>) -> Taken {
        match parse(frame.bytes()) {
            Ok(Request::Init { version }) => self.init(version, inline),
            Ok(_) if !self.initialized => Err(CloseReason::Protocol("request before INIT".to_owned())),
            Ok(request) => self.request(request, frame, inline).await,
            Err(malformed) => Err(refuse(malformed, inline)),
        }
    }

    /// Both sides go by the lower version; older clients than 3 are told 3 and leave if they cannot, as with OpenSSH.
    fn init(&mut self, version: u32, inline: &mut Inline<'_>) -> Taken {
        if self.initialized || version == 0 {
            return Err(CloseReason::Protocol("unexpected INIT".to_owned()));
        }
        self.initialized = true;
        inline.answer(&self.shared, reply::version());
        Ok(())
    }

    async fn request(&mut self, request: Request<'_>, frame: &Frame<'_>, inline: &mut Inline<'_>) -> Taken {
        match request {
            Request::Read { id, handle, offset, length } => self.read(id, handle, offset, length, inline).await,
            Request::Write { id, handle, offset, data } => self.write(id, handle, offset, data, frame, inline).await,
            Request::Close { id, handle } => self.on_handle(id, handle, HandleWork::Close, inline).await,
            Request::HandleStat { id, handle } => self.on_handle(id, handle, HandleWork::Stat, inline).await,
            Request::HandleSetStat { id, handle, attributes } => {
                self.on_handle(id, handle, HandleWork::SetStat(attributes), inline).await
            }
            Request::ReadDir { id, handle } => self.on_handle(id, handle, HandleWork::ReadDir, inline).await,
            Request::Open { id, path, flags, attributes } => {
                self.on_path(id, PathWork::Open { path: path.into(), flags, attributes }, inline).await
            }
            Request::OpenDir { id, path } => self.on_path(id, PathWork::OpenDir { path: path.into() }, inline).await,
            Request::Stat { id, path } => self.on_path(id, PathWork::Stat { path: path.into() }, inline).await,
            Request::LinkStat { id, path } => self.on_path(id, PathWork::LinkStat { path: path.into() }, inline).await,
            Request::SetStat { id, path, attributes: wanted } => {
                self.on_path(id, PathWork::SetStat { path: path.into(), wanted }, inline).await
            }
            Request::Remove { id, path } => self.on_path(id, PathWork::Remove { path: path.into() }, inline).await,
            Request::MakeDir { id, path, attributes } => {
                self.on_path(id, PathWork::MakeDir { path: path.into(), attributes }, inline).await
            }
            Request::RemoveDir { id, path } => {
                self.on_path(id, PathWork::RemoveDir { path: path.into() }, inline).await
            }
            Request::RealPath { id, path } => self.on_path(id, PathWork::RealPath { path: path.into() }, inline).await,
            Request::Rename { id, from, to } => {
                self.on_path(id, PathWork::Rename { from: from.into(), to: to.into() }, inline).await
            }
            Request::ReadLink { id, path } => self.on_path(id, PathWork::ReadLink { path: path.into() }, inline).await,
            Request::Symlink { id, target, link } => {
                self.on_path(id, PathWork::Symlink { target: target.into(), link: link.into() }, inline).await
            }
            Request::Extended { id, request } => self.extended(id, request, inline).await,
            Request::Init { .. } | Request::Unknown { .. } => self.unsupported(request, inline),
        }
    }

    async fn extended(&mut self, id: u32, request: Extended<'_>, inline: &mut Inline<'_>) -> Taken {
        match request {
            Extended::PosixRename { from, to } => {
                self.on_path(id, PathWork::PosixRename { from: from.into(), to: to.into() }, inline).await
            }
            Extended::Space { path } => self.on_path(id, PathWork::Space { path: path.into() }, inline).await,
            Extended::HandleSpace { handle } => self.on_handle(id, handle, HandleWork::Space, inline).await,
            Extended::Sync { handle } => self.on_handle(id, handle, HandleWork::Sync, inline).await,
            Extended::Limits => {
                inline.answer(&self.shared, reply::limits(id, self.shared.config.open_handles));
                Ok(())
            }
            Extended::Unknown { .. } => self.fail(id, Failure::Unsupported("unknown extension"), inline),
        }
    }

    fn unsupported(&self, request: Request<'_>, inline: &mut Inline<'_>) -> Taken {
        match request {
            Request::Unknown { id, .. } => self.fail(id, Failure::Unsupported("unknown request"), inline),
            _ => Ok(()),
        }
    }

    async fn read(&self, id: u32, wire: &[u8], offset: u64, length: u32, inline: &mut Inline<'_>) -> Taken {
        let length = (length as usize).min(MAX_TRANSFER);
        let work = HandleWork::Read { offset, length };
        let found = find(&self.shared.lock(), wire, &work);
        let (target, is_idle) = match found {
            Ok(found) => (found.target, found.is_idle),
            Err(failure) => return self.fail(id, failure, inline),
        };
        let at_once = match target {
            // "Weird, but not strictly disallowed" (OpenSSH): no bytes, not the end.
            Target::File { .. } if length == 0 => Some(Ok(reply::data(id, &[]))),
            Target::File { .. } if offset > MAX_OFFSET - length as u64 => Some(Ok(reply::end_of_file(id))),
            Target::File { file, .. } if is_idle && inline.has_room(DATA_HEAD + length) => {
                read_cached(id, file.as_ref(), offset, length)
            }
            _ => None,
        };
        match at_once {
            Some(Ok(bytes)) => {
                inline.answer(&self.shared, bytes);
                Ok(())
            }
            Some(Err(failure)) => self.fail(id, failure, inline),
            None => self.on_handle(id, wire, work, inline).await,
        }
    }

    async fn write(
        &self,
        id: u32,
        wire: &[u8],
        offset: u64,
        data: &[u8],
        frame: &Frame<'_>,
        inline: &mut Inline<'_>,
    ) -> Taken {
        // An offset beyond any file fails there: its CLOSE must fail, too.
        let payload = self.shared.payload(data.len()).await?;
        let work = HandleWork::Write { offset, data: frame.share(data) };
        self.push(id, wire, work, Some(payload), inline).await
    }

    async fn on_handle(&self, id: u32, wire: &[u8], work: HandleWork, inline: &mut Inline<'_>) -> Taken {
        self.push(id, wire, work, None, inline).await
    }

    async fn push(
        &self,
        id: u32,
        wire: &[u8],
        work: HandleWork,
        payload: Option<Payload>,
        inline: &mut Inline<'_>,
    ) -> Taken {
        // Bytes that were not at hand when the READ came are read elsewhere.
        let here = !matches!(work, HandleWork::Read { .. }) && self.shared.may_run_here(work.reply_bytes(), inline);
        let pushed = self.take_up(here, inline, |state, _| match find(state, wire, &work) {
            Ok(found) => {
                state.schedule.push_handle(id, found.handle, work, payload);
                Ok(())
            }
            Err(failure) => {
                state.schedule.release(payload);
                Err(failure)
            }
        });
        pushed.await.or_else(|failure| self.fail(id, failure, inline))
    }

    async fn on_path(&self, id: u32, work: PathWork, inline: &mut Inline<'_>) -> Taken {
        let (one, two) = work.paths();
        let two = two.unwrap_or_default();
        if one.len().max(two.len()) > MAX_PATH {
            return self.fail(id, Failure::Storage(VfsError::NameTooLong), inline);
        }
        let payload = self.shared.payload(one.len() + two.len()).await?;
        let here = self.shared.may_run_here(0, inline);
        self.take_up(here, inline, |state, _| state.schedule.push_path(id, work, payload)).await;
        Ok(())
    }

    /// Changes the state; what starts thereby is run on the spot if it may be, else as a task.
    async fn take_up<T>(
        &self,
        here: bool,
        inline: &mut Inline<'_>,
        change: impl FnOnce(&mut State, &mut Next) -> T,
    ) -> T {
        if !here {
            return self.shared.change(change);
        }
        let (result, started) = self.shared.change_to_run(change);
        if let Some(started) = started {
            self.shared.run_here(started, inline).await;
        }
        result
    }

    fn fail(&self, id: u32, failure: Failure, inline: &mut Inline<'_>) -> Taken {
        let bytes = status::answer(id, &failure).map_err(CloseReason::SessionOver)?;
        inline.answer(&self.shared, bytes);
        Ok(())
    }
}

struct Found {
    handle: Handle,
    target: Target,
    /// Nothing else of the session waits, runs or is unsent.
    is_idle: bool,
}

fn find(state: &State, wire: &[u8], work: &HandleWork) -> Result<Found, Failure> {
    let handle = Handle::parse(wire);
    let (handle, target) = handle
        .and_then(|handle| Some((handle, state.schedule.target(handle)?)))
        .ok_or_else(|| Failure::Invalid("invalid handle".to_owned()))?;
    if !work.fits(target) {
        return Err(Failure::Invalid("handle is of the other kind".to_owned()));
    }
    Ok(Found { handle, target: target.clone(), is_idle: state.is_idle() })
}

/// Tells the client which request was broken, if it can be read, before the channel is closed.
fn refuse(malformed: Malformed, inline: &mut Inline<'_>) -> CloseReason {
    if let Some(id) = malformed.id {
        inline.reply(reply::status(id, code::BAD_MESSAGE, malformed.reason));
    }
    CloseReason::Protocol(malformed.to_string())
}
