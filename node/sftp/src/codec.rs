//! SFTP v3 packets (draft-ietf-secsh-filexfer-02): requests in, replies out. Names are bytes; nothing is trusted or converted.

mod attributes;
mod frame;
mod long_name;
pub mod numbers;
mod parse;
mod read;
pub mod reply;
mod request;

pub use attributes::read_attributes;
pub use frame::{Assembler, Frame, FrameTooLong};
pub use long_name::long_name;
pub use parse::parse;
pub use request::{Extended, Malformed, Request};

/// What one SFTP packet may hold behind its length field, as OpenSSH has it.
pub const MAX_PACKET: usize = 256 * 1024;
/// Clients whose largest WRITE leaves no room for its head go a little over.
pub const PACKET_SLACK: usize = 1024;
/// The largest READ answered and the largest WRITE announced: a packet less a head of 1 KiB, as OpenSSH has it.
pub const MAX_TRANSFER: usize = MAX_PACKET - 1024;
