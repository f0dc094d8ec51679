//! OpenSSH's server on loopback, with the demo key, on the same file system.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flotilla_jepsen::client::openssh_sftp;
use flotilla_jepsen::lab::Lab;

pub struct Sshd {
    process: Child,
    pub port: u16,
    pub user: String,
    pub files: PathBuf,
}

impl Sshd {
    pub fn start(lab: &Lab) -> Result<Sshd> {
        let folder = lab.folder().join("sshd");
        let files = folder.join("files");
        std::fs::create_dir_all(&files)?;
        let _ = std::fs::create_dir_all("/run/sshd");
        let host_key = folder.join("host_key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key))?;
        let public = Command::new("ssh-keygen").arg("-y").arg("-f").arg(lab.folder().join("demo.key")).output()?;
        std::fs::write(folder.join("authorized_keys"), public.stdout)?;
        let port = lab.sftp_port(9);
        let config = folder.join("sshd_config");
        std::fs::write(
            &config,
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                 PermitRootLogin yes\nPidFile none\nMaxStartups 1000\nMaxSessions 100\nSubsystem sftp internal-sftp\n",
                host_key.display(),
                folder.join("authorized_keys").display()
            ),
        )?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .context("OpenSSH's server is the peer: apt-get install openssh-server")?;
        let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?.trim().to_owned();
        let end = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < end, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Sshd { process, port, user, files })
    }

    /// The server's processes, those of its sessions included.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut all = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = all.get(next) {
            let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        Ok(all)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// One timed batch of OpenSSH's client with the demo key; seconds.
pub async fn timed(port: u16, user: &str, lab: &Lab, batch: &str) -> Result<f64> {
    let started = Instant::now();
    let (ok, _, errors) = openssh_sftp(port, user, &lab.folder().join("demo.key"), batch).await?;
    ensure!(ok, "{errors}");
    Ok(started.elapsed().as_secs_f64())
}
