//! What the front end is told: where it listens, its keys, its bounds.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cidr::Cidr;
use crate::host_keys::HostKeys;
use crate::penalties::PenaltyRules;

/// Everything of `[sftp]`.
pub struct Config {
    pub listen: Vec<Listen>,
    /// Peers whose PROXY header is believed. Others are closed at a listener that requires one.
    pub trusted_proxies: Vec<Cidr>,
    pub host_keys: HostKeys,
    /// Shown before the login, if not empty.
    pub login_banner: String,
    pub limits: Limits,
    pub engine: flotilla_sftp::Config,
}

/// What can change while the front end runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloadable {
    pub trusted_proxies: Vec<Cidr>,
    pub login_grace: Duration,
    pub connections: usize,
}

impl Config {
    pub(crate) fn reloadable(&self) -> Reloadable {
        Reloadable {
            trusted_proxies: self.trusted_proxies.clone(),
            login_grace: self.limits.login_grace,
            connections: self.limits.connections,
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    pub proxy_protocol: ProxyProtocol,
}

/// Whether connections begin with a PROXY header. Waiting for an optional one would delay our identification string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    Off,
    Required,
}

/// Bounds of the front end. Every one has a default that suits a node of a few thousand users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From this many connections without a login on, some are dropped at random, before key exchange.
    pub startups_begin: usize,
    /// Percent of new connections that are dropped at `startups_begin`; it rises to all of them at `startups_full`.
    pub startups_percent: u32,
    pub startups_full: usize,
    /// Connections without a login from one source address (IPv6: /64).
    pub startups_per_source: usize,
    /// For sources whose connections come to nothing.
    pub penalties: PenaltyRules,
    /// Connections of this node, logged in or not.
    pub connections: usize,
    /// From the connection to the end of the login.
    pub login_grace: Duration,
    /// For the PROXY header, and again for the client's identification string.
    pub first_bytes: Duration,
    /// One credential: the wait for an election, for ghosts.
    pub authentication: Duration,
    /// What a client may send before its login is accepted, in bytes: key exchange, offers and passwords fit many times.
    pub handshake_bytes: usize,
    pub password_attempts: usize,
    pub key_offers: usize,
    pub channels_per_connection: usize,
    /// Renew keys after so many bytes in either direction; at most 1 GiB.
    pub rekey_bytes: usize,
    /// Nothing at all from the client, keepalive answers included.
    pub inactivity: Duration,
    /// After a drain began, for transfers to finish. Who transfers nothing is cut sooner.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            startups_begin: 128,
            startups_percent: 30,
            startups_full: 512,
            startups_per_source: 256,
            penalties: PenaltyRules::default(),
            connections: 8192,
            login_grace: Duration::from_secs(30),
            first_bytes: Duration::from_secs(10),
            authentication: Duration::from_secs(8),
            handshake_bytes: 64 * 1024,
            password_attempts: 6,
            key_offers: 20,
            channels_per_connection: 10,
            rekey_bytes: 1 << 30,
            inactivity: Duration::from_secs(600),
            drain: Duration::from_secs(30),
        }
    }
}
