//! `flotilla cluster …` and `flotilla ping`.

use std::time::Duration;

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Format, Output};
use super::progress::{self, Followed};
use crate::join_token::JoinToken;

#[derive(Subcommand, Clone, Debug)]
pub enum ClusterCommand {
    /// Shows the nodes, who leads, and how far each is. Works without a quorum, and says so.
    Status {
        /// Shows it again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Makes a join token: it lets one machine in, once, and pins the cluster's CA.
    Token {
        /// How long it may be used, in seconds (at most a day).
        #[arg(long, default_value_t = 3_600)]
        life: u32,
    },
    /// Moves leadership, to a node or to the one that is furthest.
    Transfer { node: Option<u64> },
    /// Has a node drain and end: not ready, no new sessions, transfers finish up to a limit.
    Drain {
        node: u64,
        /// Waits until its process has ended.
        #[arg(long)]
        wait: bool,
        /// How long `--wait` waits, in seconds: longer than the node's `sftp.drain_seconds`.
        #[arg(long, default_value_t = 90, requires = "wait")]
        within: u64,
    },
    /// Waits until a node that joined has caught up and its part in votes is settled.
    Wait {
        node: u64,
        /// Seconds to wait at most.
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
    },
    /// Makes this machine's node a cluster of one, when a quorum is lost FOR GOOD. Its process must have ended.
    ///
    /// What only the lost nodes had is lost. If one of them is only away and comes back, the two would differ for ever:
    /// wipe their data folders. Refused while enough nodes answer to make a quorum.
    Recover {
        /// The node's configuration file.
        #[arg(long)]
        config: std::path::PathBuf,
        /// Say that the other nodes are lost and their data folders will be wiped.
        #[arg(long)]
        others_are_lost: bool,
    },
    /// Puts a node out for good. It is refused at once; its number is never used again.
    Remove { node: u64 },
}

const COLUMNS: &[&str] = &["id", "name", "role", "state", "address", "applied_index", "sftp_address", "version"];
const WATCH: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, command: ClusterCommand, format: Format) -> Result<Output, Failure> {
    match command {
        ClusterCommand::Status { watch: false } => status(client).await,
        ClusterCommand::Status { watch: true } => watch(client, format).await,
        ClusterCommand::Token { life } => token(client, life).await,
        ClusterCommand::Transfer { node } => {
            let request = v1::TransferLeadershipRequest { node: node.unwrap_or(0) };
            let leader = client.membership().transfer_leadership(request).await?.into_inner().leader;
            Ok(Output::done(format!("node {leader} leads")))
        }
        ClusterCommand::Drain { node, wait, within } => drain(client, node, wait.then_some(within)).await,
        ClusterCommand::Wait { node, timeout } => wait(client, node, Duration::from_secs(timeout)).await,
        ClusterCommand::Remove { node } => remove(client, node).await,
        ClusterCommand::Recover { config, others_are_lost } => recover(&config, others_are_lost).await,
    }
}

async fn status(client: &Client) -> Result<Output, Failure> {
    let status = client.cluster().get_status(v1::GetStatusRequest {}).await?.into_inner();
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    let whole = json!({
        "cluster_id": status.cluster_id,
        "node": status.node,
        "leader": (status.leader > 0).then_some(status.leader),
        "term": status.term,
        "log_index": status.log_index,
        "applied_index": status.applied_index,
        "nodes": nodes,
        "notes": status.notes,
    });
    let table = Data::Many(COLUMNS, nodes).text(Format::Table);
    let mut output = Output::drawn(whole, table);
    output.notes = status.notes;
    Ok(output)
}

/// A node that cannot be reached for a moment is said and asked again.
async fn watch(client: &Client, format: Format) -> Result<Output, Failure> {
    loop {
        match status(client).await {
            Ok(output) => {
                if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                    print!("\x1b[2J\x1b[H");
                }
                let _ = output.print(format);
            }
            Err(failure) => eprintln!("flotilla: {failure}"),
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Output::done(String::new())),
        }
    }
}

/// The secret is made here and printed once: the cluster gets its hash.
async fn token(client: &Client, life: u32) -> Result<Output, Failure> {
    let mut token = JoinToken::new(String::new(), [0; 32], Vec::new());
    let request = v1::CreateJoinTokenRequest {
        hash: token.hash().to_vec(),
        life_seconds: life,
        request_id: client.request_id.clone(),
    };
    let answer = client.membership().create_join_token(request).await;
    let again = "run it again; a token that nobody has ends by itself";
    let answer = answer.map_err(|status| Failure::of_secret(status, again))?.into_inner();
    token.cluster_id = answer.cluster_id;
    token.addresses = answer.addresses;
    token.ca_fingerprint = answer
        .ca_fingerprint
        .try_into()
        .map_err(|_| Failure::other("the node named no fingerprint of its CA: is it of another version?"))?;
    let mut output = Output::changed(&format!("the join token is valid for {life} s and one machine"), answer.result);
    output.notes.push("on that machine: flotilla join TOKEN (see flotilla join --help)".to_owned());
    Ok(output.with(Data::Line(token.text())))
}

async fn drain(client: &Client, node: u64, within: Option<u64>) -> Result<Output, Failure> {
    let asked = client.cluster().get_status(v1::GetStatusRequest {}).await?.into_inner().node;
    client.membership().drain_node(v1::DrainNodeRequest { node }).await?;
    let Some(within) = within else { return Ok(Output::done(format!("node {node} drains and ends"))) };
    let mut last = None;
    let down = async {
        loop {
            match client.cluster().get_status(v1::GetStatusRequest {}).await {
                Ok(status) => {
                    last = None;
                    if status.into_inner().nodes.iter().all(|row| row.id != node || row.state != "alive") {
                        return;
                    }
                }
                Err(status) if asked == node && nobody_listens(&status) => return,
                Err(status) => last = Some(status),
            }
            tokio::time::sleep(WATCH / 4).await;
        }
    };
    let request = v1::WatchNodeRequest { node, goal: v1::NodeGoal::Gone.into() };
    let told = client.cluster().watch_node(request).await;
    let down = tokio::time::timeout(Duration::from_secs(within), down);
    let ended = progress::beside(&format!("node {node}"), told, down).await;
    match (ended, last) {
        (Ok(()), _) => Ok(Output::done(format!("node {node} has drained and ended"))),
        (Err(_), None) => Err(Failure::other(format!(
            "node {node} drains and is still there after {within} s: its transfers may run for its sftp.drain_seconds"
        ))),
        (Err(_), Some(status)) => Err(Failure::other(format!(
            "node {node} drains; whether it has ended is not known after {within} s: {}",
            status.message()
        ))),
    }
}

/// The process that was asked is gone: its address or socket takes no connection. Any other failure says nothing of it.
pub(super) fn nobody_listens(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn wait(client: &Client, node: u64, time: Duration) -> Result<Output, Failure> {
    let request = v1::WatchNodeRequest { node, goal: v1::NodeGoal::Unspecified.into() };
    let told = client.cluster().watch_node(request).await?.into_inner();
    match progress::follow(&format!("node {node}"), told, time).await? {
        Followed::Ended(progress) => Ok(Output::done(format!("node {node} is {}", progress.stage))),
        Followed::Goes(progress) => Err(Failure::other(format!(
            "node {node} is not ready after {} s: {} ({} of {} {})",
            time.as_secs(),
            progress.stage,
            progress.done,
            progress.total,
            progress.unit
        ))),
    }
}

async fn remove(client: &Client, node: u64) -> Result<Output, Failure> {
    let request = v1::RemoveNodeRequest { node, request_id: client.request_id.clone() };
    let answer = client.membership().remove_node(request).await;
    let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
    let mut output = Output::changed(&format!("node {node} is removed"), answer.result);
    if !answer.gone {
        output.notes.push("its sessions hold their slots until its lease is over, about 7 s".to_owned());
    }
    output.notes.extend(answer.notes);
    Ok(output)
}

/// On this machine's data folder: asks no node for permission, since none can give it.
pub(super) async fn recover(config: &std::path::Path, others_are_lost: bool) -> Result<Output, Failure> {
    if !others_are_lost {
        return Err(Failure::usage(
            "this makes the node a cluster of its own and drops all others FOR GOOD: what only they had is lost. \
             If a quorum can be started again, start it instead. Otherwise wipe the data folders of the lost nodes and \
             repeat with --others-are-lost",
        ));
    }
    let recovered = crate::serve::recover(config).await.map_err(|error| Failure::other(format!("{error:#}")))?;
    let dropped: Vec<String> = recovered.dropped.iter().map(ToString::to_string).collect();
    let mut output = Output::done(format!(
        "this node is a cluster of one now, with everything up to log index {}; dropped for good: nodes {}",
        recovered.index,
        dropped.join(", ")
    ));
    output.notes.push("start it: flotilla serve. Then wipe the others' data folders and let them join anew".to_owned());
    output.notes.push(
        "storages: files that the lost nodes had accepted and this node's log does not know of are counted by a scan"
            .to_owned(),
    );
    Ok(output)
}

pub(super) async fn ping(client: &Client) -> Result<Output, Failure> {
    let answer = client.cluster().ping(v1::PingRequest {}).await?.into_inner();
    Ok(Output::one(json!({"node": answer.node, "version": answer.version, "log_index": answer.log_index})))
}

fn node(node: &v1::NodeStatus) -> Value {
    json!({
        "id": node.id,
        "name": node.name,
        "role": node.role,
        "state": node.state,
        "address": node.address,
        "applied_index": node.applied_index,
        "admin_address": node.admin_address,
        "sftp_address": node.sftp_address,
        "version": node.version,
    })
}
