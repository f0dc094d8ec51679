//! SFTP clients: a scripted one on russh for control over each request, and OpenSSH's own.

mod tap;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use russh::client::{self, AuthResult, Handle};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio::process::Command;
use tokio::sync::watch;

use self::tap::Tap;
pub use self::tap::{Connections, Valve};
use crate::lab::password_of;

/// Accepts any host key and keeps the reason of a disconnect.
pub struct Trusting {
    farewell: watch::Sender<Option<String>>,
}

impl client::Handler for Trusting {
    type Error = anyhow::Error;

    async fn check_server_key(&mut self, _key: &russh::keys::PublicKeyOrCertificate) -> Result<bool> {
        Ok(true)
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<anyhow::Error>) -> Result<()> {
        let text = match reason {
            client::DisconnectReason::ReceivedDisconnect(info) => info.message,
            client::DisconnectReason::Error(error) => error.to_string(),
        };
        self.farewell.send_replace(Some(text));
        Ok(())
    }
}

/// Why a login did not lead to a session.
#[derive(Debug)]
pub enum NoLogin {
    /// The server said so: a wrong credential.
    Denied,
    /// The connection ended, with the reason if one was given.
    Disconnected(String),
}

/// A connection that has logged in, without a channel yet.
pub struct LoggedIn {
    pub ssh: Handle<Trusting>,
    pub valve: Valve,
    farewell: watch::Receiver<Option<String>>,
}

/// A logged-in SFTP session.
pub struct Sftp {
    pub ssh: Handle<Trusting>,
    pub raw: Arc<RawSftpSession>,
    pub valve: Valve,
    farewell: watch::Receiver<Option<String>>,
}

/// What an upload ended with.
#[derive(Debug)]
pub enum Upload {
    Stored,
    /// A status other than OK, with its text, at OPEN, WRITE or CLOSE.
    Refused(String),
    /// No answer: the connection broke.
    Lost(String),
}

enum Credential {
    Password(String),
    Key(Arc<russh::keys::PrivateKey>),
}

/// What one login may take; the server's own waits are shorter.
const LOGIN: Duration = Duration::from_secs(30);

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl LoggedIn {
    /// Logs in by password (as `Lab::user` gave it), and opens nothing.
    pub async fn login(port: u16, username: &str) -> Result<Result<LoggedIn, NoLogin>> {
        let connect = LoggedIn::connect(local(port), username, Credential::Password(password_of(username)));
        tokio::time::timeout(LOGIN, connect).await.context("login took over 30 s")?
    }

    /// Logs in by a private key without a passphrase.
    pub async fn login_with_key(port: u16, username: &str, key: &Path) -> Result<Result<LoggedIn, NoLogin>> {
        let key = Arc::new(russh::keys::load_secret_key(key, None)?);
        let connect = LoggedIn::connect(local(port), username, Credential::Key(key));
        tokio::time::timeout(LOGIN, connect).await.context("login took over 30 s")?
    }

    async fn connect(address: SocketAddr, username: &str, credential: Credential) -> Result<Result<LoggedIn, NoLogin>> {
        let (sender, farewell) = watch::channel(None);
        let config = client::Config { window_size: 16 << 20, ..client::Config::default() };
        let connected = match Tap::connect(address).await {
            Ok((tap, valve)) => client::connect_stream(Arc::new(config), tap, Trusting { farewell: sender })
                .await
                .map(|ssh| LoggedIn { ssh, valve, farewell }),
            Err(error) => Err(error.into()),
        };
        let mut own = match connected {
            Ok(own) => own,
            Err(error) => return Ok(Err(NoLogin::Disconnected(error.to_string()))),
        };
        let answered = match credential {
            Credential::Password(password) => own.ssh.authenticate_password(username, password).await,
            Credential::Key(key) => {
                let key = russh::keys::PrivateKeyWithHashAlg::new(key, None);
                own.ssh.authenticate_publickey(username, key).await
            }
        };
        match answered {
            Ok(AuthResult::Success) => Ok(Ok(own)),
            // The library's client says "failure" of a connection that ended, too, but then names no methods to go on with.
            Ok(AuthResult::Failure { remaining_methods, .. }) if !remaining_methods.is_empty() => {
                Ok(Err(NoLogin::Denied))
            }
            Ok(AuthResult::Failure { .. }) => Ok(Err(own.gone("closed during the login".into()).await)),
            Err(error) => Ok(Err(own.gone(error.to_string()).await)),
        }
    }

    /// Opens the subsystem.
    pub async fn sftp(mut self) -> Result<Sftp, NoLogin> {
        match open_sftp(&self.ssh).await {
            Ok(raw) => Ok(Sftp { ssh: self.ssh, raw: Arc::new(raw), valve: self.valve, farewell: self.farewell }),
            Err(error) => Err(self.gone(error.to_string()).await),
        }
    }

    /// Ends the connection as a well-behaved client does, and waits until the socket is closed.
    pub async fn leave(self) {
        leave(self.ssh).await;
    }

    /// The reason that the server gave, else the client's own.
    async fn gone(&mut self, otherwise: String) -> NoLogin {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.farewell.wait_for(Option::is_some)).await;
        NoLogin::Disconnected(self.farewell.borrow().clone().unwrap_or(otherwise))
    }
}

impl Sftp {
    /// Logs in by password (as `Lab::user` gave it) and opens the subsystem.
    pub async fn login(port: u16, username: &str) -> Result<Result<Sftp, NoLogin>> {
        Sftp::login_with(port, username, &password_of(username)).await
    }

    pub async fn login_with(port: u16, username: &str, password: &str) -> Result<Result<Sftp, NoLogin>> {
        let connect = Sftp::login_at(local(port), username, password);
        tokio::time::timeout(LOGIN, connect).await.context("login took over 30 s")?
    }

    /// Logs in at any address. No time limit.
    pub async fn login_at(address: SocketAddr, username: &str, password: &str) -> Result<Result<Sftp, NoLogin>> {
        match LoggedIn::connect(address, username, Credential::Password(password.to_owned())).await? {
            Ok(own) => Ok(own.sftp().await),
            Err(no) => Ok(Err(no)),
        }
    }

    /// Uploads `size` bytes in writes of `chunk`, 16 at a time, and closes.
    pub async fn upload(&self, path: &str, size: u64, chunk: usize) -> Upload {
        match self.try_upload(path, size, chunk).await {
            Ok(()) => Upload::Stored,
            Err(russh_sftp::client::error::Error::Status(status)) => {
                Upload::Refused(format!("{:?}: {}", status.status_code, status.error_message))
            }
            Err(error) => Upload::Lost(error.to_string()),
        }
    }

    async fn try_upload(&self, path: &str, size: u64, chunk: usize) -> Result<(), russh_sftp::client::error::Error> {
        use futures::stream::{self, StreamExt, TryStreamExt};
        let handle = self.create(path).await?;
        let offsets = (0..size).step_by(chunk).map(|offset| (offset, chunk.min((size - offset) as usize)));
        let writes = stream::iter(offsets)
            .map(|(offset, length)| self.raw.write(handle.clone(), offset, pattern(offset, length)))
            .buffered(16)
            .try_for_each(|_| async { Ok(()) })
            .await;
        let closed = self.raw.close(handle).await;
        writes?;
        closed.map(|_| ())
    }

    /// Opens for writing with CREAT and TRUNC.
    pub async fn create(&self, path: &str) -> Result<String, russh_sftp::client::error::Error> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        Ok(self.raw.open(path, flags, FileAttributes::empty()).await?.handle)
    }

    /// Reads a whole file.
    pub async fn download(&self, path: &str) -> Result<Vec<u8>> {
        let handle = self.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let mut content = Vec::new();
        loop {
            match self.raw.read(handle.clone(), content.len() as u64, 128 * 1024).await {
                Ok(data) => content.extend_from_slice(&data.data),
                Err(russh_sftp::client::error::Error::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.raw.close(handle).await?;
        Ok(content)
    }

    /// Waits until the connection is over; the reason if the server gave one.
    pub async fn ended(&mut self, limit: Duration) -> Result<String> {
        tokio::time::timeout(limit, self.farewell.wait_for(Option::is_some))
            .await
            .map_err(|_| anyhow!("the connection is still there after {limit:?}"))?
            .map(|text| text.clone().unwrap_or_default())
            .map_err(|_| anyhow!("the client's task is gone"))
    }

    /// Ends the connection as a well-behaved client does, and waits until the socket is closed.
    pub async fn leave(self) {
        let _ = self.raw.close_session();
        leave(self.ssh).await;
    }
}

async fn leave(ssh: Handle<Trusting>) {
    let _ = ssh.disconnect(russh::Disconnect::ByApplication, "", "en").await;
    let _ = tokio::time::timeout(Duration::from_secs(3), ssh).await;
}

async fn open_sftp(ssh: &Handle<Trusting>) -> Result<RawSftpSession> {
    let channel = ssh.channel_open_session().await?;
    channel.request_subsystem(true, "sftp").await?;
    let raw = RawSftpSession::new(channel.into_stream());
    raw.set_timeout(60);
    raw.init().await.map_err(|error| anyhow!("{error}"))?;
    Ok(raw)
}

/// Bytes that depend on their offset, so that a misplaced write shows.
pub fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(|at| ((at >> 3) ^ (at >> 13) ^ at) as u8).collect()
}

/// Runs OpenSSH's `sftp` with a batch of commands and a key; whether it succeeded, stdout, stderr.
pub async fn openssh_sftp(port: u16, user: &str, key: &Path, batch: &str) -> Result<(bool, String, String)> {
    let mut command = Command::new("sftp");
    command.args(["-b", "-", "-i"]).arg(key).args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
    run_sftp(command, port, user, batch).await
}

/// The same with a password, which `sshpass` types.
pub async fn openssh_sftp_by_password(
    port: u16,
    user: &str,
    password: &str,
    batch: &str,
) -> Result<(bool, String, String)> {
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", password).args(["-e", "sftp", "-o", "BatchMode=no", "-b", "-"]);
    command.args(["-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no"]);
    run_sftp(command, port, user, batch).await
}

async fn run_sftp(mut command: Command, port: u16, user: &str, batch: &str) -> Result<(bool, String, String)> {
    let mut child = command
        .args(["-P", &port.to_string(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "LogLevel=ERROR"])
        .arg(format!("{user}@127.0.0.1"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("OpenSSH's sftp and sshpass are needed: make test-needs installs them")?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, batch.as_bytes()).await?;
    drop(stdin);
    let Ok(output) = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await else {
        bail!("sftp took over 120 s");
    };
    let output = output?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.success(), text(output.stdout), text(output.stderr)))
}
