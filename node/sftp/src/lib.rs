//! SFTP version 3 without SSH: the byte codec, the engine that turns packets into calls on a session's files, and an adapter over byte streams.
//!
//! The engine sits in the SSH session loop (`performance.md` 6.1): it never waits for output. Start reading at [`engine`].

pub mod codec;
pub mod engine;
pub mod status;
pub mod stream;

pub use engine::{Budget, CloseReason, Config, Engine, Feed, Gone, InlineOut, Out};
pub use stream::serve_stream;
