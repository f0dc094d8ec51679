//! russh's client: for what OpenSSH's cannot be made to do.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh_sftp::client::SftpSession;
use tokio::net::TcpStream;

use crate::world::{PASSWORD, USER, World};

pub struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

pub async fn connect(world: &World) -> Handle<Trusting> {
    let stream = TcpStream::connect(world.address()).await.unwrap();
    over(stream).await
}

pub async fn over(stream: TcpStream) -> Handle<Trusting> {
    let config = client::Config { inactivity_timeout: Some(Duration::from_secs(60)), ..Default::default() };
    client::connect_stream(Arc::new(config), stream, Trusting).await.unwrap()
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
