//! Network namespaces on one bridge, inside a namespace of our own: nothing of it is seen outside, all of it ends with us.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Cuts, Place, Plane};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "FLOTILLA_JEPSEN_INSIDE";

/// The bridge, its rules and the nodes' namespaces.
pub struct Bridge {
    nodes: usize,
}

/// Runs this program again, with the same arguments, inside namespaces of its own; returns its exit code. `None`: this is it.
///
/// As first process of its process namespace it takes all that it started with it when it ends, however it ends.
pub fn enter() -> Result<Option<i32>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let status = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("unshare (util-linux) is needed")?;
    Ok(Some(status.code().unwrap_or(2)))
}

fn name(node: Place) -> String {
    format!("f{node}")
}

/// The port of a plane, the same on every node.
pub fn port(plane: Plane) -> u16 {
    match plane {
        Plane::Clients => 2022,
        Plane::Peers => 8082,
        Plane::Admin => 8080,
    }
}

/// The address of a place; the controller has the last one.
pub fn ip(place: Place) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, if place == 0 { 254 } else { place as u8 })
}

fn mac(place: Place) -> String {
    format!("02:00:00:00:00:{place:02x}")
}

impl Bridge {
    /// Makes the network. Only inside `enter`.
    pub async fn build(nodes: usize) -> Result<Bridge> {
        ensure!(std::env::var_os(INSIDE).is_some(), "the bridge is made inside namespaces of our own only");
        let mut script = String::from("set -e\nmkdir -p /run/netns\nmount -t tmpfs none /run/netns\n");
        script += &format!("ip link add lab address {} type bridge stp_state 0\n", mac(0));
        script += &format!("ip addr add {}/24 dev lab\nip link set lab up\n", ip(0));
        for node in 1..=nodes {
            let space = name(node);
            script += &format!(
                "ip netns add {space}\n\
                 ip link add h{node} type veth peer name eth0 address {} netns {space}\n\
                 ip link set h{node} master lab up\nip -n {space} link set lo up\n\
                 ip -n {space} addr add {}/24 dev eth0\nip -n {space} link set eth0 up\n",
                mac(node),
                ip(node)
            );
        }
        // Neighbours are written down: an entry that aged during a cut would make the cut outlast its end.
        for (from, to) in (0..=nodes).flat_map(|from| (0..=nodes).map(move |to| (from, to))).filter(|(a, b)| a != b) {
            let (space, device) =
                if from == 0 { (String::new(), "lab") } else { (format!("-n {}", name(from)), "eth0") };
            script += &format!("ip {space} neigh replace {} lladdr {} nud permanent dev {device}\n", ip(to), mac(to));
        }
        run("sh", &script).await?;
        run("nft", &rules()).await?;
        Ok(Bridge { nodes })
    }

    pub fn address(plane: Plane, node: Place) -> SocketAddr {
        SocketAddr::from((ip(node), port(plane)))
    }

    /// A command that runs on a node.
    pub fn command(&self, node: Place, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(node)]).arg(program);
        command
    }

    /// One transaction: the kernel sees the old cuts or the new ones, never a mixture.
    pub async fn cut(&self, cuts: &Cuts) -> Result<()> {
        let mut script = String::new();
        for plane in [Plane::Clients, Plane::Peers, Plane::Admin] {
            script += &format!("flush set bridge lab {}\n", set(plane));
        }
        for cut in cuts {
            ensure!(cut.from <= self.nodes && cut.to <= self.nodes, "no such place: {cut:?}");
            script += &format!("add element bridge lab {} {{ {} . {} }}\n", set(cut.plane), ip(cut.from), ip(cut.to));
        }
        run("nft", &script).await
    }

    pub async fn reset(&self, node: Place, peers_only: bool) -> Result<usize> {
        let peers = port(Plane::Peers);
        let mut filter = format!("( sport = :{peers} or dport = :{peers}");
        if !peers_only {
            filter += &format!(" or sport = :{}", port(Plane::Clients));
        }
        filter += " )";
        let mut command = self.command(node, Path::new("ss"));
        // Listening sockets are not among those that are shown without `-l`.
        let output = command.args(["-H", "-t", "-K", &filter]).stdin(Stdio::null()).output().await?;
        ensure!(output.status.success(), "ss -K: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    }

    pub async fn lose(&self, percent: u8) -> Result<()> {
        let rule = if percent == 0 {
            String::new()
        } else {
            format!("add rule bridge lab loss ip protocol tcp numgen random mod 100 < {percent} drop\n")
        };
        run("nft", &format!("flush chain bridge lab loss\n{rule}")).await
    }
}

fn set(plane: Plane) -> &'static str {
    match plane {
        Plane::Clients => "clients",
        Plane::Peers => "peers",
        Plane::Admin => "admin",
    }
}

/// Frames between nodes pass `forward`, those from and to the controller `input` and `output`.
fn rules() -> String {
    let mut text = String::from("add table bridge lab\n");
    for plane in [Plane::Clients, Plane::Peers, Plane::Admin] {
        text += &format!("add set bridge lab {} {{ type ipv4_addr . ipv4_addr; }}\n", set(plane));
    }
    text += "add chain bridge lab loss\nadd chain bridge lab cuts\n";
    for plane in [Plane::Clients, Plane::Peers, Plane::Admin] {
        for side in ["dport", "sport"] {
            let (port, set) = (port(plane), set(plane));
            text += &format!("add rule bridge lab cuts tcp {side} {port} ip saddr . ip daddr @{set} counter drop\n");
        }
    }
    text += "add rule bridge lab cuts jump loss\n";
    for hook in ["forward", "input", "output"] {
        text += &format!("add chain bridge lab on{hook} {{ type filter hook {hook} priority 0; policy accept; }}\n");
        text += &format!("add rule bridge lab on{hook} jump cuts\n");
    }
    text
}

/// Feeds a script to `sh` or `nft`.
async fn run(program: &str, script: &str) -> Result<()> {
    let mut command = Command::new(program);
    if program == "nft" {
        command.args(["-f", "-"]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe was asked for")?.write_all(script.as_bytes()).await?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{program}: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
