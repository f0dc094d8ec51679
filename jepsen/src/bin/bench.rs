//! Figures beside OpenSSH in the same run: transfers, small files, logins, commits, failover, memory. Bounded, ends by itself.
//!
//! Arguments name the parts to run (`transfers`, `small`, `logins`, `commits`, `failover`, `memory`); none = all.
//! `FLOTILLA_BENCH_MIB` is the size of the large transfer (default 1024), `FLOTILLA_LAB_DIR` where files live.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flotilla_jepsen::client::{Sftp, openssh_sftp};
use flotilla_jepsen::lab::Lab;
use futures::stream::{self, StreamExt};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let binary = flotilla_jepsen::lab::binary()?;
    println!("binary: {} ({:.1} MB)", binary.display(), std::fs::metadata(&binary)?.len() as f64 / 1e6);
    for durability in ["close", "none"] {
        let started = Instant::now();
        let mut lab = Lab::start_with(3, &["--durability", durability, "--log-level", "warn"]).await?;
        println!(
            "\n== three nodes, durability {durability}; from dev to ready: {:.2} s",
            started.elapsed().as_secs_f64()
        );
        let sshd = Sshd::start(&lab)?;
        if wants("small") {
            small_files(&lab, &sshd).await?;
        }
        if durability == "none" {
            continue;
        }
        if wants("transfers") {
            transfers(&lab, &sshd).await?;
        }
        if wants("logins") {
            logins(&lab).await?;
        }
        if wants("commits") {
            commits(&lab).await?;
        }
        if wants("memory") {
            memory(&lab).await?;
        }
        if wants("failover") {
            failover(&mut lab).await?;
        }
    }
    Ok(())
}

/// OpenSSH's server on loopback, with the demo key, on the same file system.
struct Sshd {
    process: Child,
    port: u16,
    user: String,
    files: PathBuf,
}

impl Sshd {
    fn start(lab: &Lab) -> Result<Sshd> {
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

/// One timed batch of OpenSSH's client; seconds.
async fn timed(port: u16, user: &str, lab: &Lab, batch: &str) -> Result<f64> {
    let started = Instant::now();
    let (ok, _, errors) = openssh_sftp(port, user, &lab.folder().join("demo.key"), batch).await?;
    ensure!(ok, "{errors}");
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn show(what: &str, ours: Vec<f64>, theirs: Vec<f64>) {
    let (ours, theirs) = (median(ours), median(theirs));
    println!("{what}: {ours:.2} s, OpenSSH {theirs:.2} s, ratio {:.2} (over 1: we are faster)", theirs / ours);
}

async fn transfers(lab: &Lab, sshd: &Sshd) -> Result<()> {
    let mib: u64 = std::env::var("FLOTILLA_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let source = lab.folder().join("large.bin");
    std::fs::write(&source, vec![42u8; (mib << 20) as usize])?;
    let theirs = sshd.files.join("large.bin");
    let (mut up, mut up_peer, mut down, mut down_peer) = (vec![], vec![], vec![], vec![]);
    for _ in 0..3 {
        up.push(timed(lab.sftp_port(1), "demo", lab, &format!("put {} large.bin\n", source.display())).await?);
        up_peer.push(
            timed(sshd.port, &sshd.user, lab, &format!("put {} {}\n", source.display(), theirs.display())).await?,
        );
        down.push(timed(lab.sftp_port(1), "demo", lab, "get large.bin /dev/null\n").await?);
        down_peer.push(timed(sshd.port, &sshd.user, lab, &format!("get {} /dev/null\n", theirs.display())).await?);
    }
    show(&format!("{mib} MiB up"), up, up_peer);
    show(&format!("{mib} MiB down"), down, down_peer);
    std::fs::remove_file(&theirs)?;
    timed(lab.sftp_port(1), "demo", lab, "rm large.bin\n").await?;
    Ok(())
}

/// 2,000 files of 1 KiB by a user with a quota, against OpenSSH without one.
async fn small_files(lab: &Lab, sshd: &Sshd) -> Result<()> {
    let (status, answer) = {
        let rest = lab.rest(1)?;
        let (_, mut demo) = rest.get("/api/v2/users/demo").await?;
        demo["quota_size"] = json!(4u64 << 30);
        demo["quota_files"] = json!(1_000_000);
        rest.put("/api/v2/users/demo", &demo).await?
    };
    ensure!(status == 200, "giving demo a quota: {answer}");
    let source = lab.folder().join("small");
    std::fs::create_dir_all(&source)?;
    for n in 0..2000 {
        std::fs::write(source.join(format!("f{n:04}")), vec![n as u8; 1024])?;
    }
    let (mut ours, mut peer) = (vec![], vec![]);
    for round in 0..3 {
        ours.push(timed(lab.sftp_port(round % 3 + 1), "demo", lab, &put_all(&source, &format!("s{round}"))).await?);
        let folder = sshd.files.join(format!("s{round}"));
        peer.push(timed(sshd.port, &sshd.user, lab, &put_all(&source, &folder.display().to_string())).await?);
    }
    show("2,000 files of 1 KiB up, with a quota", ours, peer);
    Ok(())
}

fn put_all(source: &Path, target: &str) -> String {
    format!("mkdir {target}\nput {}/* {target}/\n", source.display())
}

/// Logins per second by password, one at a time and eight at once.
async fn logins(lab: &Lab) -> Result<()> {
    lab.user("logins", 0, 0, 0).await?;
    for (parallel, total) in [(1usize, 100usize), (8, 400)] {
        let started = Instant::now();
        let mut times: Vec<f64> = stream::iter(0..total)
            .map(|n| async move {
                let before = Instant::now();
                let sftp = Sftp::login(lab.sftp_port(n % 3 + 1), "logins").await;
                let took = before.elapsed().as_secs_f64() * 1e3;
                if let Ok(Ok(sftp)) = sftp {
                    sftp.leave().await;
                    took
                } else {
                    f64::INFINITY
                }
            })
            .buffer_unordered(parallel)
            .collect()
            .await;
        show_rate(&format!("logins by password, {parallel} at once"), &mut times, started);
    }
    Ok(())
}

/// Acknowledged changes per second through REST, from 1, 16 and 256 clients over three nodes.
async fn commits(lab: &Lab) -> Result<()> {
    lab.user("commits", 0, 0, 0).await?;
    for clients in [1usize, 16, 256] {
        let started = Instant::now();
        let per_client = (if clients == 1 { 200 } else { 3000 }) / clients;
        let loops = (0..clients).map(|client| async move {
            let mut times = Vec::new();
            let Ok(rest) = lab.rest(client % 3 + 1) else { return times };
            for n in 0..per_client {
                let before = Instant::now();
                let name = format!("c{clients}-{client}-{n}");
                let body = json!({"username": name, "status": 1, "permissions": {"/": ["*"]}, "public_keys": []});
                let ok = rest.post("/api/v2/users", &body).await.is_ok_and(|(status, _)| status == 201);
                times.push(if ok { before.elapsed().as_secs_f64() * 1e3 } else { f64::INFINITY });
            }
            times
        });
        let mut times: Vec<f64> = futures::future::join_all(loops).await.concat();
        show_rate(&format!("commits (users made by REST), {clients} clients"), &mut times, started);
    }
    Ok(())
}

fn show_rate(what: &str, times: &mut [f64], started: Instant) {
    times.sort_by(f64::total_cmp);
    let failed = times.iter().filter(|time| time.is_infinite()).count();
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len() - 1)).copied();
    println!(
        "{what}: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {failed} failed of {}",
        (times.len() - failed) as f64 / started.elapsed().as_secs_f64(),
        at(0.5).unwrap_or(f64::NAN),
        at(0.99).unwrap_or(f64::NAN),
        times.len()
    );
}

/// From kill -9 of the leader to the next login through another node; five times.
async fn failover(lab: &mut Lab) -> Result<()> {
    lab.user("failover", 0, 0, 0).await?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let leader = lab.leader().await?;
        lab.kill(leader)?;
        let killed = Instant::now();
        let login = Sftp::login(lab.sftp_port(leader % 3 + 1), "failover").await?;
        ensure!(login.is_ok(), "no login after the leader was killed");
        times.push(killed.elapsed().as_secs_f64());
        lab.restart(leader).await?;
        lab.until_ready(Duration::from_secs(30)).await?;
    }
    println!("kill -9 of the leader to the next login: {times:.2?} s");
    Ok(())
}

/// Memory per idle session on one node: RSS before and after 500 sessions.
async fn memory(lab: &Lab) -> Result<()> {
    let rss = |pid: i32| -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).context("VmRSS")
    };
    lab.user("idle", 0, 0, 0).await?;
    drop(Sftp::login(lab.sftp_port(1), "idle").await?);
    let before = rss(lab.pid(1))?;
    let sessions: Vec<_> = stream::iter(0..500)
        .map(|_| Sftp::login(lab.sftp_port(1), "idle"))
        .buffer_unordered(8)
        .filter_map(|login| async { login.ok()?.ok() })
        .collect()
        .await;
    let after = rss(lab.pid(1))?;
    println!(
        "memory per idle session: {} KiB ({} sessions)",
        (after.saturating_sub(before)) / sessions.len().max(1) as u64,
        sessions.len()
    );
    Ok(())
}
