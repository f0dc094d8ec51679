//! Addresses that cannot be listened on are named by their key before anything is started.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, bail};

use crate::config::Config;

/// Binds each configured address once and gives it back.
pub fn check(config: &Config) -> Result<()> {
    let one = |key: &str, address: SocketAddr| (key.to_owned(), address);
    let mut addresses = vec![one("peers.listen", config.peers.listen), one("admin.listen", config.admin.listen)];
    addresses.extend(config.health.listen.map(|address| one("health.listen", address)));
    let sftp = config.sftp.listen.iter().enumerate();
    addresses.extend(sftp.map(|(n, listen)| (format!("sftp.listen[{n}].address"), listen.address)));
    // Held until all are bound, so that one address given twice is found too.
    let mut held = Vec::new();
    for (key, address) in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => held.push(listener),
            Err(error) => bail!("{key} = {address}: {error}; {}", advice(&error)),
        }
    }
    Ok(())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, or another key of this file, has it: stop that, or change the key"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "change the key",
    }
}
