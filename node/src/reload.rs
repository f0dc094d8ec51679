//! SIGHUP: reads the configuration again, applies what can be applied to a running node and names what cannot.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::signal::unix::Signal;

use crate::config::{Config, ConfigArgs, flat};
use crate::telemetry::Logs;
use crate::{admin_tls, notify};

/// Keys that a running node takes over; everything under them, too. The rest needs a restart.
pub const RELOADABLE: [&str; 5] =
    ["log.level", "log.file", "sftp.trusted_proxies", "sftp.login_grace_seconds", "sftp.max_connections"];
/// Their values are taken over while TLS was on at the start; the files are read again even if their names stay.
const TLS: &str = "admin.tls.";

/// The configuration that holds now.
pub struct Running {
    config: Mutex<Config>,
    /// Held by who applies a part of the configuration, files read and all: a reload comes before or after.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Running {
    pub fn new(config: Config) -> Running {
        Running { config: Mutex::new(config), turn: Arc::default() }
    }

    pub fn now(&self) -> Config {
        self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn replace(&self, config: Config) {
        *self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
    }

    /// Does what reads files, on a thread that may wait for them, while nobody else applies anything.
    pub async fn apply<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.context("the thread that applied it ended")?
    }
}

/// What a running node's parts are told.
pub struct Reloader {
    pub arguments: ConfigArgs,
    pub running: Arc<Running>,
    pub logs: Logs,
    pub ssh: flotilla_ssh::Handle,
    pub tls: Option<Arc<flotilla_api::Tls>>,
}

/// What a reload did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    applied: Vec<String>,
    needs_restart: Vec<String>,
}

impl Reloader {
    /// Until the process ends. An error leaves everything as it was.
    pub async fn run(self, mut hangup: Signal) {
        let this = Arc::new(self);
        while hangup.recv().await.is_some() {
            notify::reloading();
            let own = Arc::clone(&this);
            match this.running.apply(move || own.reload()).await {
                Ok(Changes { applied, needs_restart }) => tracing::info!(
                    sender = "config",
                    applied = applied.join(", "),
                    needs_restart = needs_restart.join(", "),
                    "reloaded"
                ),
                Err(error) => {
                    tracing::error!(
                        sender = "config",
                        error = format!("{error:#}"),
                        "not reloaded, nothing was changed"
                    );
                }
            }
            notify::ready();
        }
    }

    fn reload(&self) -> Result<Changes> {
        let next = self.arguments.load()?.config;
        let config = self.running.now();
        let changes = compare(&config, &next, self.tls.is_some())?;
        let applied = self.merged(&config, &next);
        // All that can fail comes first.
        let trusted: Result<Vec<flotilla_ssh::Cidr>, _> =
            applied.sftp.trusted_proxies.iter().map(|text| text.parse()).collect();
        let trusted_proxies = trusted.context("sftp.trusted_proxies")?;
        let material = admin_tls::load(&applied)?;
        let log = self.logs.prepare(&applied.log)?;
        // The last step that can fail.
        if let (Some(tls), Some(material)) = (&self.tls, &material) {
            tls.replace(material).context("admin.tls")?;
        }
        self.logs.replace(log);
        self.ssh.reload(flotilla_ssh::Reloadable {
            trusted_proxies,
            login_grace: std::time::Duration::from_secs(applied.sftp.login_grace_seconds),
            connections: applied.sftp.max_connections,
        });
        self.running.replace(applied);
        Ok(changes)
    }

    /// The running configuration with the reloadable keys of the new one.
    fn merged(&self, running: &Config, next: &Config) -> Config {
        let mut config = running.clone();
        config.log = next.log.clone();
        config.sftp.trusted_proxies = next.sftp.trusted_proxies.clone();
        config.sftp.login_grace_seconds = next.sftp.login_grace_seconds;
        config.sftp.max_connections = next.sftp.max_connections;
        if self.tls.is_some() && next.admin.tls.is_some() {
            config.admin.tls = next.admin.tls.clone();
        }
        config
    }
}

fn compare(old: &Config, new: &Config, tls: bool) -> Result<Changes> {
    let (before, after) = (flat(old)?, flat(new)?);
    let tls = tls && new.admin.tls.is_some();
    let mut changes = Changes::default();
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys.into_iter().filter(|key| before.get(*key) != after.get(*key)) {
        let reloadable = RELOADABLE.contains(&key.as_str()) || (tls && key.starts_with(TLS));
        if reloadable { &mut changes.applied } else { &mut changes.needs_restart }.push(key.clone());
    }
    Ok(changes)
}
