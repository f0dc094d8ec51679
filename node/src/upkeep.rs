//! What a node does about itself while it runs: tells the cluster its addresses, renews its certificate in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use flotilla_cluster::{Cluster, new_request_id};
use flotilla_model::command::PutNode;
use flotilla_model::{Command, CommandId, NodeId};
use flotilla_raft::pki;

use crate::config::Config;
use crate::desk::NodeDesk;
use crate::reload::Running;

const LOOK: Duration = Duration::from_secs(30);
const WITHIN: Duration = Duration::from_secs(10);

/// Name and addresses as the configuration says; the id is still to be filled in.
pub fn addresses(config: &Config) -> PutNode {
    let sftp = config.sftp.listen.first().map(|listen| listen.address.to_string()).unwrap_or_default();
    PutNode {
        node: NodeId(0),
        name: crate::init::node_name(config),
        public_key: Vec::new(),
        peer_address: config.peers.address(),
        admin_address: config.admin.listen.to_string(),
        sftp_address: sftp,
    }
}

/// Until it is aborted.
pub async fn run(desk: Arc<NodeDesk>, running: Arc<Running>, tls: Option<Arc<flotilla_api::Tls>>) {
    let mut every = tokio::time::interval(LOOK.min(desk.certificate_life / 6));
    loop {
        every.tick().await;
        if let Err(error) = announce(&desk, &running.now()).await {
            tracing::debug!(
                sender = "node",
                error = format!("{error:#}"),
                "the node's addresses are not in the log yet"
            );
        }
        let (own, shown, tls) = (Arc::clone(&desk), Arc::clone(&running), tls.clone());
        let renewed =
            running.apply(move || if renew(&own)? { show_admin(&shown.now(), tls.as_deref()) } else { Ok(()) });
        if let Err(error) = renewed.await {
            tracing::error!(
                sender = "node",
                error = format!("{error:#}"),
                "the node's certificate could not be renewed"
            );
        }
    }
}

/// Changed addresses go into the log; the leader makes Raft use them.
async fn announce(desk: &NodeDesk, config: &Config) -> Result<()> {
    if !desk.handle.status().caught_up {
        return Ok(());
    }
    let node = desk.handle.node();
    let state = desk.handle.state();
    let Some(row) = state.node(node).filter(|row| !row.leaving) else { return Ok(()) };
    let own = PutNode { node, ..addresses(config) };
    let known = (&row.name, &row.peer_address, &row.admin_address, &row.sftp_address);
    if known == (&own.name, &own.peer_address, &own.admin_address, &own.sftp_address) {
        return Ok(());
    }
    let id = CommandId::Request(new_request_id());
    let submitted = desk.handle.submit(id, &format!("node {node}"), Command::PutNode(own), WITHIN).await?;
    submitted.reply.map_err(anyhow::Error::from).map(|_| ())
}

/// The admin listener may show the same certificate: what holds now, not what held at the start.
fn show_admin(config: &Config, tls: Option<&flotilla_api::Tls>) -> Result<()> {
    if let (Some(tls), Some(material)) = (tls, crate::admin_tls::load(config)?) {
        tls.replace(&material)?;
    }
    Ok(())
}

/// Whether the certificate was renewed: when a third of its life is left.
fn renew(desk: &NodeDesk) -> Result<bool> {
    let shown = desk.handle.certificate();
    let left = pki::valid_until(&shown)?.duration_since(SystemTime::now()).unwrap_or_default();
    if left > desk.certificate_life / 3 {
        return Ok(false);
    }
    desk.renew_own()?;
    tracing::info!(sender = "node", left_s = left.as_secs(), "the node's certificate was renewed");
    Ok(true)
}
