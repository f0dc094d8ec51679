//! OpenSSH's own clients.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::world::{PASSWORD, USER, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a client said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.ok, "client failed: {}\n{}", self.err, self.out);
        self
    }
}

fn options(world: &World, command: &mut Command) {
    let known = world.scratch("known_hosts");
    let address = world.address();
    std::fs::write(&known, world.keys.known_hosts("127.0.0.1", address.port()).join("\n") + "\n").unwrap();
    command.args(["-F", "none", "-o", "GlobalKnownHostsFile=none"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    command.args(["-o", "NumberOfPasswordPrompts=1", "-o", "BatchMode=no", "-o", "IdentityAgent=none"]);
}

const STRICT: [&str; 2] = ["-o", "StrictHostKeyChecking=yes"];

/// `sftp` with the password, or another one; extra arguments go before the host.
pub fn sftp(world: &World, password: &str, extra: &[&str]) -> Command {
    let mut command = Command::new("sshpass");
    command.args(["-p", password, "sftp"]);
    options(world, &mut command);
    command.args(STRICT);
    command.args(["-o", "PubkeyAuthentication=no", "-P", &world.address().port().to_string()]);
    command.args(extra);
    command.args(["-b", "-", &format!("{USER}@127.0.0.1")]);
    piped(command)
}

/// Through a relay on another port.
pub fn sftp_at(world: &World, port: u16) -> Command {
    let mut command = Command::new("sshpass");
    command.args(["-p", PASSWORD, "sftp"]);
    options(world, &mut command);
    command.args(["-o", "PubkeyAuthentication=no", "-o", "StrictHostKeyChecking=no"]);
    command.args(["-P", &port.to_string(), "-b", "-", &format!("{USER}@127.0.0.1")]);
    piped(command)
}

pub fn sftp_with_key(world: &World, key: &std::path::Path) -> Command {
    sftp_with_key_and(world, key, &[])
}

/// Extra arguments go before the host.
pub fn sftp_with_key_and(world: &World, key: &std::path::Path, extra: &[&str]) -> Command {
    let mut command = Command::new("sftp");
    options(world, &mut command);
    command.args(STRICT);
    command.args(["-o", "PasswordAuthentication=no", "-o", "IdentitiesOnly=yes", "-i"]).arg(key);
    command.args(extra);
    command.args(["-P", &world.address().port().to_string(), "-b", "-", &format!("{USER}@127.0.0.1")]);
    piped(command)
}

/// `ssh`, for what is no sftp.
pub fn ssh(world: &World, extra: &[&str]) -> Command {
    let mut command = Command::new("sshpass");
    command.args(["-p", PASSWORD, "ssh"]);
    options(world, &mut command);
    command.args(STRICT);
    command.args(["-o", "PubkeyAuthentication=no", "-p", &world.address().port().to_string()]);
    command.arg(format!("{USER}@127.0.0.1"));
    command.args(extra);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it with these commands to the end.
pub async fn run(mut command: Command, batch: &str) -> Said {
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let _ = input.write_all(batch.as_bytes()).await;
    drop(input);
    ended(child).await
}

pub async fn ended(child: Child) -> Said {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the client ends").unwrap();
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub async fn batch(world: &World, commands: &str) -> Said {
    run(sftp(world, PASSWORD, &[]), commands).await
}
