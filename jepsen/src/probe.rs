//! Which faults this machine can make. What it cannot is named in every run, with the reason.

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

/// Something that a fault needs, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    pub name: &'static str,
    /// What it is for.
    pub gives: &'static str,
    /// `Err`: why it is not there.
    pub found: Result<(), String>,
}

/// What the machine can do. Probing changes nothing: all it makes lives in namespaces that end with the probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub capabilities: Vec<Capability>,
}

/// Each probe: name, what it gives, a shell command that succeeds where it is there.
const PROBES: [(&str, &str, &str); 8] = [
    ("namespaces", "nodes with addresses of their own", "unshare --net --mount --pid --fork --mount-proc true"),
    (
        "bridge",
        "one network between the nodes",
        "unshare --net sh -c 'ip link add lab0 type bridge && ip link add veth0 type veth peer name veth1 && ip link set veth0 master lab0'",
    ),
    (
        "nft",
        "partitions of single planes and directions, loss",
        "unshare --net nft add table bridge t '{ chain c { type filter hook forward priority 0; ip saddr 10.0.0.1 drop; }; }'",
    ),
    (
        "netem",
        "delay, reordering, duplication in the kernel",
        "unshare --net sh -c 'ip link set lo up && tc qdisc add dev lo root netem delay 1ms'",
    ),
    ("resets", "connections reset in the kernel", "unshare --net ss -H -t -K 'sport = :1'"),
    ("fuse", "disk faults, power cuts", "test -r /dev/fuse -a -w /dev/fuse && unshare --mount true"),
    ("tmpfs", "full disks", "unshare --mount sh -c 'mount -t tmpfs -o size=1m none /mnt'"),
    ("faketime", "wall clocks that jump", "ls /usr/lib/*/faketime/libfaketimeMT.so.1"),
];

impl Machine {
    pub fn probe() -> Machine {
        let capability = |(name, gives, command): (&'static str, &'static str, &str)| Capability {
            name,
            gives,
            found: succeeds(command),
        };
        Machine { capabilities: PROBES.into_iter().map(capability).collect() }
    }

    /// The first of the named capabilities that is missing, as a reason.
    pub fn lacks(&self, names: &[&str]) -> Option<String> {
        self.capabilities.iter().filter(|one| names.contains(&one.name)).find_map(|one| {
            let why = one.found.as_ref().err()?;
            Some(format!("{} missing: {why}", one.name))
        })
    }

    /// Nodes get network namespaces of their own; otherwise they share loopback, with switches between them.
    pub fn has_namespaces(&self) -> bool {
        self.lacks(&["namespaces", "bridge", "nft"]).is_none()
    }
}

/// The library that turns a process's wall clock, where it is installed.
pub fn faketime() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    found.map(|one| one.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

fn succeeds(command: &str) -> Result<(), String> {
    match Command::new("sh").args(["-c", command]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(text.lines().next().unwrap_or("the probe failed").trim().to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for one in &self.capabilities {
            let found = one.found.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".to_owned());
            writeln!(f, "{:<12} {:<48} {found}", one.name, one.gives)?;
        }
        Ok(())
    }
}
