//! The SSH front end: listeners, the guarded socket, and russh with our own SFTP engine inside its data callback.
//!
//! No russh type leaves this crate, and no permission or quota is decided here. Start reading at [`server`]; a connection's life is
//! in `connection`, what a client may ask for in `handler`.

mod accept;
mod cidr;
mod config;
mod connection;
mod handler;
mod host_keys;
mod listener;
mod penalties;
mod policy;
mod proxy;
mod server;
mod sock;
mod startups;
mod throttle;

#[cfg(test)]
mod plain_tests;

pub use cidr::{Cidr, InvalidCidr};
pub use config::{Config, Limits, Listen, ProxyProtocol, Reloadable};
pub use host_keys::{ExportedKey, HostKeyError, HostKeys, generate_host_keys};
pub use penalties::PenaltyRules;
pub use server::{Error, Handle, SshServer};
