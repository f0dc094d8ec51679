//! What the tests share.

pub mod disk;
pub mod gated;
pub mod packet;
pub mod rig;
