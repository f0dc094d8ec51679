//! russh's client: for what OpenSSH's cannot be made to do.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh_sftp::client::SftpSession;
use tokio::net::TcpStream;

use crate::world::{PASSWORD, USER, World};

#[derive(Default)]
pub struct Trusting {
    /// Keeps the text of a disconnect.
    farewell: Option<tokio::sync::oneshot::Sender<String>>,
}

impl client::Handler for Trusting {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        match (reason, self.farewell.take()) {
            (client::DisconnectReason::ReceivedDisconnect(info), Some(farewell)) => _ = farewell.send(info.message),
            (client::DisconnectReason::Error(error), _) => return Err(error),
            _ => {}
        }
        Ok(())
    }
}

pub async fn connect(world: &World) -> Handle<Trusting> {
    let stream = TcpStream::connect(world.address()).await.unwrap();
    over(stream).await
}

pub async fn over(stream: TcpStream) -> Handle<Trusting> {
    client::connect_stream(config(), stream, Trusting::default()).await.unwrap()
}

fn config() -> Arc<client::Config> {
    Arc::new(client::Config { inactivity_timeout: Some(Duration::from_secs(60)), ..Default::default() })
}

/// Asks with the password and nothing before it; returns the text with which the server disconnects.
pub async fn refused_with(world: &World) -> String {
    let (farewell, text) = tokio::sync::oneshot::channel();
    let stream = TcpStream::connect(world.address()).await.unwrap();
    let trusting = Trusting { farewell: Some(farewell) };
    let mut handle = client::connect_stream(config(), stream, trusting).await.unwrap();
    let answer = handle.authenticate_password(USER, PASSWORD).await;
    assert!(!matches!(answer, Ok(AuthResult::Success)), "{answer:?}");
    let text = tokio::time::timeout(Duration::from_secs(10), text).await.expect("it disconnects");
    text.expect("with a reason")
}

pub async fn logged_in(world: &World) -> Handle<Trusting> {
    let mut handle = connect(world).await;
    assert_eq!(handle.authenticate_password(USER, PASSWORD).await.unwrap(), AuthResult::Success);
    handle
}

/// An SFTP session on a channel of its own.
pub async fn sftp(handle: &Handle<Trusting>) -> SftpSession {
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    SftpSession::new(channel.into_stream()).await.unwrap()
}
