//! Files, large and small, by OpenSSH's client against both servers in turn.

use std::path::Path;

use anyhow::{Result, ensure};
use flotilla_jepsen::lab::Lab;
use serde_json::json;

use crate::sshd::{Sshd, timed};
use crate::{Size, beside};

pub async fn large(lab: &Lab, sshd: &Sshd, size: &Size) -> Result<()> {
    let source = lab.folder().join("large.bin");
    std::fs::write(&source, vec![42u8; (size.large_mib << 20) as usize])?;
    let theirs = sshd.files.join("large.bin");
    let (mut up, mut up_peer, mut down, mut down_peer) = (vec![], vec![], vec![], vec![]);
    let put_peer = format!("put {} {}\n", source.display(), theirs.display());
    for _ in 0..size.rounds {
        up.push(timed(lab.sftp_port(1), "demo", lab, &format!("put {} large.bin\n", source.display())).await?);
        up_peer.push(timed(sshd.port, &sshd.user, lab, &put_peer).await?);
        down.push(timed(lab.sftp_port(1), "demo", lab, "get large.bin /dev/null\n").await?);
        down_peer.push(timed(sshd.port, &sshd.user, lab, &format!("get {} /dev/null\n", theirs.display())).await?);
    }
    beside(&format!("{} MiB up", size.large_mib), up, up_peer);
    beside(&format!("{} MiB down", size.large_mib), down, down_peer);
    std::fs::remove_file(&theirs)?;
    timed(lab.sftp_port(1), "demo", lab, "rm large.bin\n").await?;
    Ok(())
}

/// Files of 1 KiB by a user with a quota, against OpenSSH without one.
pub async fn small(lab: &Lab, sshd: &Sshd, size: &Size) -> Result<()> {
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
    for n in 0..size.small_files {
        std::fs::write(source.join(format!("f{n:04}")), vec![n as u8; 1024])?;
    }
    let (mut ours, mut peer) = (vec![], vec![]);
    for round in 0..size.rounds {
        ours.push(timed(lab.sftp_port(round % 3 + 1), "demo", lab, &put_all(&source, &format!("s{round}"))).await?);
        let folder = sshd.files.join(format!("s{round}"));
        peer.push(timed(sshd.port, &sshd.user, lab, &put_all(&source, &folder.display().to_string())).await?);
    }
    beside(&format!("{} files of 1 KiB up, with a quota", size.small_files), ours, peer);
    Ok(())
}

fn put_all(source: &Path, target: &str) -> String {
    format!("mkdir {target}\nput {}/* {target}/\n", source.display())
}
