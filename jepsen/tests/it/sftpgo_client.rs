//! SFTPGo's client from PyPI drives two nodes, unchanged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flotilla_jepsen::lab::Lab;
use serde_json::json;
use tokio::process::Command;

const PACKAGE: &str = "sftpgo-client==0.3.1";

/// A Python with a package, made once, by the test that needs it. Without a registry the test fails and says so.
pub async fn python(package: &str, module: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(module.replace('_', "-"));
    let python = folder.join("bin/python");
    let has = async || Command::new(&python).args(["-c", &format!("import {module}")]).output().await;
    if has().await.is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    let mut venv = Command::new("python3");
    run("python3 -m venv (package python3-venv)", venv.args(["-m", "venv"]).arg(&folder)).await?;
    let mut pip = Command::new(folder.join("bin/pip"));
    run(&format!("pip install {package}: is PyPI reachable?"), pip.args(["install", "--quiet", package])).await?;
    Ok(python)
}

pub async fn run(what: &str, command: &mut Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await.with_context(|| what.to_owned())?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{what}: {out}\n{errors}");
    Ok(out.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sftpgo_s_own_client_administers_through_any_node() {
    let python = python(PACKAGE, "sftpgo_client").await.unwrap();
    let lab = Lab::start(3).await.unwrap();
    let admin = json!({"username": "boss", "password": "correct horse", "permissions": ["*"]});
    let (status, body) = lab.rest(1).unwrap().post("/api/v2/admins", &admin).await.unwrap();
    assert_eq!(status, 201, "{body}");
    let base = |node| format!("http://127.0.0.1:{}/api/v2", lab.admin_port(node));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sftpgo_client/drive.py");
    let mut drive = Command::new(python);
    drive.arg(script).args(["boss", "correct horse", &base(1), &base(2)]);
    let told = run("sftpgo-client", &mut drive).await.unwrap_or_else(|error| panic!("{error:#}\n{}", lab.log_tails()));
    assert!(told.contains("ok logout"), "{told}");
}
