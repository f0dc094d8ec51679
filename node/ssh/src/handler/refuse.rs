//! What we do not offer: shells, commands, terminals, forwarding. Forwarded channels and global requests are refused by russh's defaults.

use russh::ChannelId;
use russh::server::Session;

use super::channels::Stage;
use super::{Ended, Handler};

const TEXT: &str = "This service allows sftp connections only.\r\n";

pub(super) fn silently(channel: ChannelId, session: &mut Session) -> Result<(), Ended> {
    Ok(session.channel_failure(channel)?)
}

impl Handler {
    /// A shell or a command: says what there is instead, as a command that failed. OpenSSH's client shows no text behind a plain
    /// failure (measured: "exec request failed on channel 0").
    pub(super) fn refuse_command(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Ended> {
        if !matches!(self.channels.stages.get(&id), Some(Stage::Open)) {
            return silently(id, session);
        }
        self.channels.stages.remove(&id);
        session.channel_success(id)?;
        session.extended_data(id, 1, TEXT.as_bytes())?;
        session.exit_status_request(id, 1)?;
        session.eof(id)?;
        Ok(session.close(id)?)
    }
}
