//! The peer network: mutual TLS, a hello on every connection, three connections per peer.

mod append_stream;
mod calls;
mod connect;
mod factory;
mod hello;
mod join;
mod memory;
mod messages;
mod peers;
mod server;
mod service;
mod tls;

pub use calls::{CallError, Calls};
pub use connect::reach;
pub use factory::NetworkFactory;
pub use hello::Introduction;
pub use join::{Desk, DeskSlot, JoinAnswer, JoinError, JoinRequest, VERSION as JOIN_VERSION, Welcome, join};
pub use memory::PeerMemory;
pub use messages::{Manage, Managed};
pub use peers::Peers;
pub use server::PeerServer;
pub use service::PeerService;
pub use tls::Tls;

/// The generated client and server (`proto/peer.proto`); a test checks that they are current.
#[allow(clippy::all, clippy::pedantic, unused_qualifications, rust_2018_idioms, missing_docs)]
pub mod wire {
    include!("gen/flotilla.peer.v1.rs");
}
