//! russh's callbacks of one connection. Each is a single call into the file of its group.
//!
//! All run inside russh's session loop: what waits carries a deadline and ends with the connection's gate.

mod channels;
mod data;
mod login;
mod outlet;
mod peer;
mod refuse;
mod subsystem;

use flotilla_auth::Secret;
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Pty};

use channels::Channels;
use login::Login;
pub(crate) use peer::{Peer, Tried};

use std::sync::Arc;

/// Why a connection ended, as far as russh or a callback knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("client left")]
    ClientLeft,
    #[error("{0}")]
    Unavailable(String),
    #[error("too many login attempts")]
    TooManyAttempts,
    #[error("user name changed between login attempts")]
    UserChanged,
    #[error("{0}")]
    Cut(String),
    #[error("session panicked")]
    Panicked,
    #[error("session did not end")]
    Stuck,
    #[error(transparent)]
    Ssh(russh::Error),
}

impl From<russh::Error> for Ended {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::Join(_) => Ended::Panicked,
            other => Ended::Ssh(other),
        }
    }
}

pub(crate) struct Handler {
    peer: Arc<Peer>,
    login: Login,
    channels: Channels,
}

impl Handler {
    pub(crate) fn new(peer: Arc<Peer>) -> Self {
        Handler { peer, login: Login::default(), channels: Channels::default() }
    }
}

impl russh::server::Handler for Handler {
    type Error = Ended;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Ended> {
        self.say_if_unavailable().await;
        let banner = &self.peer.shared.config.login_banner;
        Ok((!banner.is_empty()).then(|| banner.clone()))
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Ended> {
        self.login_none(user)
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Ended> {
        self.login_password(user, Secret::from(password)).await
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Ended> {
        self.login_key_offered(user, offer).await
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Ended> {
        self.login_key(user, key).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Ended> {
        self.login_succeeded(session)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Ended> {
        // Only its id: with the object held, the loop would wait for whoever reads it.
        let id = channel.id();
        drop(channel);
        self.open_channel(id, reply).await
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Ended> {
        self.channel_closed(channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Ended> {
        self.channel_ended(channel, session)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Ended> {
        self.take_data(channel, data, session).await
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), Ended> {
        self.start_subsystem(channel, name, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Ended> {
        self.refuse_command(channel, session)
    }

    async fn exec_request(&mut self, channel: ChannelId, _: &[u8], session: &mut Session) -> Result<(), Ended> {
        self.refuse_command(channel, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Ended> {
        refuse::silently(channel, session)
    }

    async fn env_request(&mut self, channel: ChannelId, _: &str, _: &str, session: &mut Session) -> Result<(), Ended> {
        refuse::silently(channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Ended> {
        refuse::silently(channel, session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Ended> {
        refuse::silently(channel, session)
    }

    async fn signal(&mut self, channel: ChannelId, _: russh::Sig, session: &mut Session) -> Result<(), Ended> {
        refuse::silently(channel, session)
    }
}
