//! The network between clients, nodes and administration, and what can be cut in it.
//!
//! Three planes, told apart by port, so that each can be cut alone: clients (SFTP), peers, administration. Where the machine
//! allows it, nodes live in network namespaces on one bridge; otherwise all share loopback with a switch of TCP relays of our
//! own between each two nodes.

pub mod balancer;
pub mod bridge;
pub mod relay;
pub mod switch;
pub mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use bridge::Bridge;
use switch::Switch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    Clients,
    Peers,
    Admin,
}

/// The clients and the controller stand at place 0, node `n` at place `n`.
pub type Place = usize;

/// Packets of a plane from one place to another are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cut {
    pub plane: Plane,
    pub from: Place,
    pub to: Place,
}

/// What is cut at one time.
pub type Cuts = BTreeSet<Cut>;

/// Both directions of a plane between two places.
pub fn both(plane: Plane, a: Place, b: Place) -> [Cut; 2] {
    [Cut { plane, from: a, to: b }, Cut { plane, from: b, to: a }]
}

pub enum Network {
    Bridge(Bridge),
    Switch(Switch),
}

impl Network {
    /// Exactly these cuts are in force from now on.
    pub async fn cut(&self, cuts: &Cuts) -> Result<()> {
        match self {
            Network::Bridge(bridge) => bridge.cut(cuts).await,
            Network::Switch(switch) => {
                switch.cut(cuts);
                Ok(())
            }
        }
    }

    /// Loses this share of the packets between any two places, in percent; 0 ends it.
    pub async fn lose(&self, percent: u8) -> Result<()> {
        match self {
            Network::Bridge(bridge) => bridge.lose(percent).await,
            Network::Switch(_) => anyhow::bail!("loss of packets needs namespaces: the switch relays streams"),
        }
    }

    /// Resets the TCP connections of a node, of its peers' plane only or of clients as well; how many ends there were.
    pub async fn reset(&self, node: Place, peers_only: bool) -> Result<usize> {
        match self {
            Network::Bridge(bridge) => bridge.reset(node, peers_only).await,
            Network::Switch(_) => anyhow::bail!("resets need namespaces: on loopback they would reset the switch"),
        }
    }

    /// Where clients and administration reach a node's plane.
    pub fn address(&self, plane: Plane, node: Place) -> SocketAddr {
        match self {
            Network::Bridge(_) => Bridge::address(plane, node),
            Network::Switch(switch) => switch.address(plane, node),
        }
    }
}
