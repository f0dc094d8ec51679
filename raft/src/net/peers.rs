//! The peers of this node with their connections: control (votes, heartbeats, renewals), append, bulk (snapshots, forwarding).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_model::NodeId;
use tonic::transport::Channel;

use super::connect;
use super::hello::Introduction;
use super::server::MESSAGE_MAX;
use super::tls::Tls;
use super::wire::peer_client::PeerClient;
use crate::config::Route;

pub type Client = PeerClient<Channel>;

/// One peer's three connections.
#[derive(Clone)]
pub struct PeerChannels {
    address: String,
    pub control: Client,
    pub append: Client,
    pub bulk: Client,
}

pub struct Peers {
    tls: Tls,
    us: Arc<Introduction>,
    connect_within: Duration,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    route: Route,
    channels: Mutex<BTreeMap<NodeId, PeerChannels>>,
    runtime: tokio::runtime::Handle,
}

impl Peers {
    pub fn new(
        tls: Tls,
        us: Arc<Introduction>,
        connect_within: Duration,
        addresses: BTreeMap<NodeId, String>,
        route: Route,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let addresses = Mutex::new(addresses);
        Arc::new(Peers { tls, us, connect_within, addresses, route, channels: Mutex::default(), runtime })
    }

    pub fn us(&self) -> &Introduction {
        &self.us
    }

    /// The membership's address of a node replaces the configured one.
    pub fn set_address(&self, node: NodeId, address: &str) {
        self.addresses.lock().expect("no panic while addresses are locked").insert(node, address.to_owned());
    }

    /// Drops the connections to nodes that are no members any more.
    pub fn retain(&self, member: impl Fn(NodeId) -> bool) {
        self.channels.lock().expect("no panic while channels are locked").retain(|node, _| member(*node));
        self.addresses.lock().expect("no panic while addresses are locked").retain(|node, _| member(*node));
    }

    /// The node's connections, made anew when its address has changed.
    pub fn channels(&self, node: NodeId) -> Option<PeerChannels> {
        let address = self.addresses.lock().expect("no panic while addresses are locked").get(&node)?.clone();
        let mut channels = self.channels.lock().expect("no panic while channels are locked");
        if let Some(found) = channels.get(&node).filter(|found| found.address == address) {
            return Some(found.clone());
        }
        let made = self.connect(node, address);
        channels.insert(node, made.clone());
        Some(made)
    }

    fn connect(&self, node: NodeId, address: String) -> PeerChannels {
        // A lazy channel spawns its worker on the current runtime, which may be a caller's.
        let _entered = self.runtime.enter();
        let target = (self.route)(node, &address);
        let client = || {
            let channel = connect::channel(&self.tls, &self.us, node, &target, self.connect_within);
            PeerClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
        };
        PeerChannels { control: client(), append: client(), bulk: client(), address }
    }
}
